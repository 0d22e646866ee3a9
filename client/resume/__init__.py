"""Keeps a job's finished parts, so that an interrupted job can continue."""
