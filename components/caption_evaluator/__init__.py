"""The gate: TFX's Evaluator with captions."""
