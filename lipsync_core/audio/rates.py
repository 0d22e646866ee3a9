"""The sample rate that every model takes, and exact division for the rates derived from it."""

from __future__ import annotations

AUDIO_SAMPLE_RATE = 16_000  # Hz, mono


def exact_div(dividend: int, divisor: int) -> int:
    """Divide whole numbers that must divide without a remainder.

    Raises:
        ValueError: There is a remainder. At import, this shows that a constant was changed and another was not.
    """
    quotient, remainder = divmod(dividend, divisor)
    if remainder:
        raise ValueError(f"exact_div: expected a multiple of {divisor}, got {dividend}")
    return quotient
