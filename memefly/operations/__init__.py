"""What operators ask of a ROOT, from what its runs left there: which runs there were, how two differ, what was live."""
