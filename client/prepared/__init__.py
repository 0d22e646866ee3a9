"""Clips that were analysed once, so that further speech costs less."""
