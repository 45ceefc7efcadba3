"""What TFX's Transform computes here: vocabulary, token ids, per-channel feature statistics."""
