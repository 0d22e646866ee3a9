"""Words with numbers."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as `1 frame` or `2 frames`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
