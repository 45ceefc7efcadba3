"""Data sets: the canonical one (`records`), importers that write it, and the sample memes."""
