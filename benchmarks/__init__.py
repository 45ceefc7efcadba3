"""Measurements, each run as `python -m benchmarks.NAME`; the last line that one prints is a JSON object."""
