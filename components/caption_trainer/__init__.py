"""What TFX's Trainer runs here: the attention captioner, W&B, the exported model."""
