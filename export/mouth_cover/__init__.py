"""Fits the judge of covered mouths on clips of speaking people, over whose mouths covers are drawn."""
