"""Scores of a result: picture, flicker, and SyncNet."""
