"""Converts published weights to the files that Triton loads; see `python -m export --help`."""
