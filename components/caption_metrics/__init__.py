"""TFMA metrics over captions."""
