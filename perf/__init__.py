"""Measurements: how fast jobs run and how well mouths follow the speech."""
