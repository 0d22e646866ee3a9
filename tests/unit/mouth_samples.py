"""A face for the mouth's tests: scikit-image's astronaut, and her landmarks as numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import skimage.data

from lipsync_core.audio.lip_shapes import fitted_regressor
from lipsync_core.mouth import SHAPE_SIZE

MIDDLE_PAIRS = ((25, 35), (24, 34), (26, 36))  # of the inner lips, in `LIPS`
# One pass of the face_landmarks model of this repository over the photograph; float32 [468, 3].
LANDMARKS = np.load(Path(__file__).parent.parent / "data" / "astronaut_landmarks.npy")


def shape(opening: float = 0.0, closure: float = 0.0) -> np.ndarray:
    """One mouth shape, float32 [7]: opened by so many eye spans more than on average, by the strongest component."""
    basis = fitted_regressor().basis
    strongest = np.zeros(SHAPE_SIZE, np.float32)
    strongest[0] = opening / np.mean([basis[0, lower, 1] - basis[0, upper, 1] for upper, lower in MIDDLE_PAIRS])
    strongest[-1] = closure
    return strongest


def astronaut() -> tuple[np.ndarray, np.ndarray]:
    """Frame, uint8 RGB [512, 512, 3], and landmarks; she smiles and shows her teeth."""
    return skimage.data.astronaut(), LANDMARKS.copy()


def enlarged(factor: float) -> tuple[np.ndarray, np.ndarray]:
    """The face alone, enlarged."""
    import cv2

    frame, landmarks = astronaut()
    face = frame[20:276, 90:346]
    size = round(256 * factor)
    shift = np.array([90, 20, 0], np.float32)
    return cv2.resize(face, (size, size)), (landmarks - shift) * np.float32(factor)
