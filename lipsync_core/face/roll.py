"""Turns detections the right way up: the detector also takes lying and upside-down faces for upright ones.

It is unsure of such faces, and its keypoints on them are guesses: an eye for the mouth, the mouth for a brow. In a crop
that is turned the right way up it is sure again.

Source: measured on 17 faces turned in steps of 15 degrees; docs/specs/face.md, "Rolled faces".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lipsync_core.face.detection import Detections, Detector, decode_detections, merge_overlapping
from lipsync_core.face.networks import RunDetector
from lipsync_core.face.regions import crop_regions, turned_regions

CROP_BOXES = 2.0  # side of the crop, in sides of the face's box
SURE_SCORE = 0.9  # most upright faces score more, rolled ones at most 0.89
SURE_ANGLE = 45.0  # degrees, of the line through the eyes
TURN_MARGIN = (
    0.05  # by how much another turn must beat the upright one; with heads tilted by up to 30 degrees none does
)
WEAK_MARGIN = 0.2  # by how much any turn must beat the first detection; small faces are often placed badly at first


def turn_upright(
    frames: np.ndarray, found: Sequence[Detections], run_detector: RunDetector, detector: Detector
) -> list[Detections]:
    """Search around doubtful faces again in all four quarter turns, and take another turn if it scores clearly better.

    All other faces, and those that are upright after all, stay exactly as they were found.

    Args:
        frames: uint8 RGB [F, H, W, 3].
        found: The faces of each frame.
        run_detector: The network; called once for all doubtful faces, if there are any.
        detector: The network's properties.

    Returns:
        The faces of each frame, in the same order.
    """
    doubtful = [(index, face) for index, faces in enumerate(found) for face in np.flatnonzero(~_are_sure(faces))]
    if not doubtful:
        return list(found)
    turns = [turned_regions(found[index].boxes[face], CROP_BOXES) for index, face in doubtful]
    crops = [
        crop_regions(frames[index], regions, detector.image_size, replicate_border=False)
        for (index, _), regions in zip(doubtful, turns, strict=True)
    ]
    regressors, logits = run_detector(np.concatenate(crops))
    upright = [Detections(*(values.copy() for values in faces)) for faces in found]
    outputs = zip(np.split(regressors, len(doubtful)), np.split(logits, len(doubtful)), turns, strict=True)
    for (index, face), output in zip(doubtful, outputs, strict=True):
        better = _better_turn(detector, *output, score=float(found[index].scores[face]))
        if better is not None:
            for values, new in zip(upright[index], better, strict=True):
                values[face] = new[0]
    return upright


def _are_sure(faces: Detections) -> np.ndarray:
    """Return which faces need no second look, bool [K]."""
    along = faces.keypoints[:, 1] - faces.keypoints[:, 0]
    angles = np.degrees(np.arctan2(along[:, 1], along[:, 0]))
    return np.asarray((faces.scores >= SURE_SCORE) & (np.abs(angles) <= SURE_ANGLE))


def _better_turn(
    detector: Detector, regressors: np.ndarray, logits: np.ndarray, regions: np.ndarray, score: float
) -> Detections | None:
    """Return what was found in the best turn; None if this is the upright one, or not clearly better than `score`."""
    turns = [
        merge_overlapping(decode_detections(detector, *output))
        for output in zip(regressors, logits, regions, strict=True)
    ]
    scores = [float(faces.scores[0]) if len(faces.scores) else 0.0 for faces in turns]
    best = int(np.argmax(scores))
    needed = min(scores[0] + TURN_MARGIN, score + WEAK_MARGIN)
    return turns[best] if best and scores[best] >= needed else None
