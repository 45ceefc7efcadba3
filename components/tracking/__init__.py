"""Tracking: W&B lineage and tables, and the gallery that the report shows."""
