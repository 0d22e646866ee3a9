"""Finds faces in frames and follows one of them over time."""
