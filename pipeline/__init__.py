"""Wiring: what runs after what, and where. No machine learning here."""
