"""Silero's voice activity detector."""
