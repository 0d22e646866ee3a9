"""Detects a covered mouth (a hand, a microphone, a mask) by its colours."""

import cv2
import numpy as np

from lipsync_core.mouth.geometry import (
    LEFT_EYE,
    LOWER_INNER,
    LOWER_OUTER,
    RIGHT_EYE,
    UPPER_INNER,
    UPPER_OUTER,
    FloatArray,
    ramp,
)

# Tuned by pasting hands, microphones, masks and cups over two clips, and by relighting these (tests repeat a part).
SKIN_POINTS = (164, 165, 391, 18, 83, 313, 200, 199, 201, 421)  # face mesh: under the nose, and the chin
REFERENCE_POINTS = (
    50,
    280,
    101,
    330,
    117,
    346,
    9,
    151,
    108,
    337,
    5,
    195,
)  # cheeks, forehead, bridge of the nose
LIP_ZONES = 3  # of each lip, left to right
PATCH = np.array([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)], np.float32) * 0.015  # eye spans: a point is a mean of 5
BLACK_OFFSET = 8  # of 255: keeps ratios of dark colours small
TOLERANCE = 3.0  # standard deviations
LEAST_TOLERANCE = np.array([0.6, 0.1, 0.1], np.float32)  # log units of brightness, red, blue: light changes more
DEVIANT_ZONES = 75  # percentile: a quarter of the zones must differ
COVER_RANGE = (1.4, 1.8)  # tolerances: clean and relit frames reach 1.4, hands and microphones start at 1.9


def lower_face_colours(frame: np.ndarray, landmarks: FloatArray) -> FloatArray:
    """Measure the colours of lips and chin relative to the rest of the face.

    Args:
        frame: uint8 RGB [H, W, 3].
        landmarks: float32 [468, 3].

    Returns:
        float32 [16, 3]: per zone the logarithms of brightness, red over green, blue over green, relative to the face.
    """
    points = landmarks[:, :2]
    lips = [
        (points[list(outer[1:-1])] + points[list(inner[1:-1])]) / 2
        for outer, inner in ((UPPER_OUTER, UPPER_INNER), (LOWER_OUTER, LOWER_INNER))
    ]
    places = np.concatenate([*lips, points[list(SKIN_POINTS)], points[list(REFERENCE_POINTS)]])
    colours = _colours_at(frame, places, float(np.linalg.norm(landmarks[RIGHT_EYE] - landmarks[LEFT_EYE])))
    lip, skin, face = np.split(colours, [18, 18 + len(SKIN_POINTS)])
    zones = np.concatenate([lip.reshape(2 * LIP_ZONES, -1, 3).mean(axis=1), skin])
    ratio = np.log((zones + BLACK_OFFSET) / (np.median(face, axis=0) + BLACK_OFFSET))
    green = ratio[:, 1]
    return np.stack([ratio.mean(axis=1), ratio[:, 0] - green, ratio[:, 2] - green], axis=1)


def usual_colours(samples: FloatArray) -> FloatArray:
    """Compute the usual colours of the lower face.

    Args:
        samples: float32 [N, 16, 3], from `lower_face_colours`; most with uncovered mouths.

    Returns:
        float32 [2, 16, 3]: median and tolerance.
    """
    median = np.median(samples, axis=0)
    deviation = 1.48 * np.median(np.abs(samples - median), axis=0)  # the standard deviation of a normal spread
    return np.stack([median, np.maximum(TOLERANCE * deviation, LEAST_TOLERANCE)]).astype(np.float32)


def visibility(colours: FloatArray, usual: FloatArray) -> float:
    """Compare a mouth's colours with the usual ones.

    Args:
        colours: float32 [16, 3], from `lower_face_colours`.
        usual: float32 [2, 16, 3], from `usual_colours`.

    Returns:
        1 for a visible mouth to 0 for a covered one.
    """
    off = np.sqrt(np.square((colours - usual[0]) / usual[1]).sum(axis=1))
    low, high = COVER_RANGE
    return 1 - ramp((float(np.percentile(off, DEVIANT_ZONES)) - low) / (high - low))


def _colours_at(frame: np.ndarray, places: FloatArray, eye_span: float) -> FloatArray:
    around = (places[:, None] + PATCH * np.float32(eye_span)).astype(np.float32)
    pixels = cv2.remap(frame, around[..., 0], around[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(pixels, np.float32).mean(axis=1)
