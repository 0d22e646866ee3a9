"""Turns published weights into the files that Triton loads: `python -m export --help`."""
