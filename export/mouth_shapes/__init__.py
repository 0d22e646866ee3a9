"""Fits the regressor from speech to lip shapes on clips of speaking people."""
