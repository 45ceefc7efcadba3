"""What TFX's Transform computes here: vocabulary and token ids."""
