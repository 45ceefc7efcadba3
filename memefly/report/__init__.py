"""The HTML report of a run: the page, its pictures and its curves."""
