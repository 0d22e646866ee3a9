"""Why a frame's mouth is not changed: numbers on the wire, keys in JSON, texts for people."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Reason(IntEnum):
    """Why a frame's mouth is not changed; the numbers travel in the tensor `reasons`.

    A new reason is one line here and one in `REASON_TEXTS`; clients that do not know it yet say OTHER.
    """

    CHANGED = 0  # it is changed, in full or in part
    NO_FACE = 1
    OUTSIDE = 2
    TURNED = 3
    COVERED = 4
    TOO_SMALL = 5
    SILENCE = 6
    NOT_SPEAKING = 7
    LEFT_ALONE = 8
    OTHER = 99

    @classmethod
    def from_code(cls, code: int) -> Reason:
        """Return the reason with this number; OTHER if it is unknown here."""
        return cls(code) if code in cls.__members__.values() else cls.OTHER

    @property
    def key(self) -> str:
        """Its name in JSON, such as no_face."""
        return self.name.lower()

    @property
    def text(self) -> str:
        """Its name for people, such as no face."""
        return REASON_TEXTS[self]


REASON_TEXTS = {
    Reason.CHANGED: "changed",
    Reason.NO_FACE: "no usable face",
    Reason.OUTSIDE: "mouth outside the picture",
    Reason.TURNED: "head turned too far",
    Reason.COVERED: "mouth covered",
    Reason.TOO_SMALL: "mouth too small",
    Reason.SILENCE: "nobody speaks",
    Reason.NOT_SPEAKING: "somebody else speaks",
    Reason.LEFT_ALONE: "left alone as asked",
    Reason.OTHER: "another reason",
}


def reasons_of(strengths: np.ndarray, reasons: np.ndarray) -> list[Reason]:
    """Read a model's answer: CHANGED where the strength is above 0.

    Args:
        strengths: float32 [F].
        reasons: int32 [F].
    """
    pairs = zip(strengths.tolist(), reasons.tolist(), strict=True)
    return [Reason.CHANGED if strength > 0 else _unchanged(code) for strength, code in pairs]


def _unchanged(code: int) -> Reason:
    reason = Reason.from_code(code)
    return Reason.OTHER if reason is Reason.CHANGED else reason
