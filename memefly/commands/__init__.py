"""The command line: one module a family, each command's arguments beside what it does."""
