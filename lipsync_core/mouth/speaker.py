"""How a speaker's face looks from the front with its mean mouth in speech: what shapes are put onto."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lipsync_core.mouth.contour import mean_mouth
from lipsync_core.mouth.geometry import FloatArray
from lipsync_core.mouth.lips import LIPS, align_lips, frontal_template


class Speaker(NamedTuple):
    """A speaker's face, and the mouths that it was averaged from.

    Attributes:
        template: float32 [468, 3], as `frontal_template`, but the lips are the mean ones.
        lips: float64 [N, 40, 2], each mouth on that template.
    """

    template: FloatArray
    lips: np.ndarray


def measure_speaker(landmarks: FloatArray) -> Speaker:
    """Average a face and its mouth.

    Args:
        landmarks: float32 [N, 468, 3], of one person, without NaN.
    """
    template = frontal_template(landmarks)
    lips = align_lips(landmarks, template)
    template[list(LIPS), :2] = mean_mouth(lips)
    return Speaker(template.astype(np.float32), lips)


def speaker_template(landmarks: FloatArray) -> FloatArray:
    """Return the template of `measure_speaker`, float32 [N, 468, 3] -> float32 [468, 3]."""
    return measure_speaker(landmarks).template
