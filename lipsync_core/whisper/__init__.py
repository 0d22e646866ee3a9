"""Whisper's audio front end."""
