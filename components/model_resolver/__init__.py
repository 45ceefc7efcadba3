"""Which model a candidate is measured against."""
