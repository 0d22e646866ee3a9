"""How well a result closes the lips where phones need it: p, b and m against open vowels, from a clip's alignments.

Source: docs/specs/truth.md, "Phones".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from export.mouth_shapes.phones import OPEN_PHONES, Phone, closed_phones
from perf.truth.closures import opening_range
from perf.truth.curves import Curve

TRULY_OPEN_ABOVE = 0.4  # of the truth's range; other vowels are left out
FALSE_SHARE = 0.10


@dataclass(frozen=True)
class LipPhones:
    """Openings in the middle of phones, over the result's range: phones that close the lips, and truly open ones."""

    closed: tuple[float, ...] = ()
    open: tuple[float, ...] = ()

    def __add__(self, other: LipPhones) -> LipPhones:
        """Return the phones of both."""
        return LipPhones(self.closed + other.closed, self.open + other.open)

    @property
    def auc(self) -> float | None:
        """How often a closed phone is the less open one of a pair, ties by half; None without pairs."""
        if not (self.closed and self.open):
            return None
        difference = np.array(self.open)[:, None] - np.array(self.closed)
        return float(((difference > 0) + 0.5 * (difference == 0)).mean())

    @property
    def recall(self) -> float | None:
        """Share of the closed phones below the opening that 10 % of the open ones stay below; None without pairs."""
        if not (self.closed and self.open):
            return None
        limit = float(np.quantile(self.open, FALSE_SHARE, method="lower"))
        return float((np.array(self.closed) < limit).mean())


def lip_phones(phones: Sequence[Phone], result: Curve, truth: Curve, fps: float) -> LipPhones:
    """Look up how open a result is at each phone.

    Args:
        phones: Those of the clip, in order. Closed ones after silence are left out: lips may rest before speech.
        result: float64 [F], openings.
        truth: float64 [F], openings.
        fps: Frames per second.
    """
    scale, true_range = opening_range(result), opening_range(truth)
    if scale <= 0 or true_range <= 0:
        return LipPhones()
    vowels = [phone for phone in phones if phone.name in OPEN_PHONES]
    truly_open = [phone for phone in vowels if _least(truth, phone, fps) > TRULY_OPEN_ABOVE * true_range]
    closed, opened = (
        tuple(least for phone in chosen if np.isfinite(least := _least(result, phone, fps) / scale))
        for chosen in (closed_phones(phones), truly_open)
    )
    return LipPhones(closed, opened)


def _least(openings: Curve, phone: Phone, fps: float) -> float:
    """Return the smallest opening in the three frames around a phone's middle; NaN without any."""
    middle = int((phone.start_s + phone.end_s) / 2 * fps)
    seen = openings[max(middle - 1, 0) : middle + 2]
    seen = seen[np.isfinite(seen)]
    return float(seen.min()) if len(seen) else float("nan")
