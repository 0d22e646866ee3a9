"""Turns detections the right way up: the detector also takes lying and upside-down faces for upright ones.

It is unsure of such faces, and its keypoints on them are guesses: an eye for the mouth, the mouth for a brow. In a crop
that is turned the right way up it is sure again.

Source: measured on 17 faces turned in steps of 15 degrees; docs/specs/face.md, "Rolled faces".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

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
    """Search around doubtful faces again, and take another quarter turn if it scores clearly better.

    All other faces, and those that are upright after all, stay exactly as they were found. The turns are searched only
    where the crop is not so surely upright that no turn can beat it.

    Args:
        frames: uint8 RGB [F, H, W, 3].
        found: The faces of each frame.
        run_detector: The network; called at most twice: for all doubtful faces, and for the turns of some.
        detector: The network's properties.

    Returns:
        The faces of each frame, in the same order.
    """
    places = [(index, face) for index, faces in enumerate(found) for face in np.flatnonzero(~_are_sure(faces)).tolist()]
    squares = [turned_regions(found[index].boxes[face], CROP_BOXES) for index, face in places]
    doubtful = [_Doubtful(*place, turns) for place, turns in zip(places, squares, strict=True)]
    for quarters in (slice(0, 1), slice(1, 4)):
        doubtful = [face for face in doubtful if face.best_score < 1 - TURN_MARGIN]
        _search_turns(frames, doubtful, quarters, run_detector, detector)
    upright = [Detections(*(values.copy() for values in faces)) for faces in found]
    for face in doubtful:
        better = face.better_turn(float(found[face.frame].scores[face.position]))
        if better is not None:
            for values, new in zip(upright[face.frame], better, strict=True):
                values[face.position] = new[0]
    return upright


@dataclass
class _Doubtful:
    """A face that may be turned.

    Attributes:
        frame: its frame.
        position: which of the frame's faces it is.
        turns: float64 [4, 4], the regions to search, the upright one first.
        found: what those that were searched show.
    """

    frame: int
    position: int
    turns: np.ndarray
    found: list[Detections] = field(default_factory=list)

    @property
    def scores(self) -> list[float]:
        """Best score in each turn that was searched."""
        return [float(faces.scores[0]) if len(faces.scores) else 0.0 for faces in self.found]

    @property
    def best_score(self) -> float:
        """Best score of all of them; 0 before any."""
        return max(self.scores, default=0.0)

    def better_turn(self, score: float) -> Detections | None:
        """Return what the best turn shows; None if it is the upright one, or not clearly better than `score`."""
        scores = self.scores
        best = int(np.argmax(scores))
        needed = min(scores[0] + TURN_MARGIN, score + WEAK_MARGIN)
        return self.found[best] if best and scores[best] >= needed else None


def _search_turns(
    frames: np.ndarray, faces: Sequence[_Doubtful], quarters: slice, run_detector: RunDetector, detector: Detector
) -> None:
    """Search some turns of all faces with one call of the network."""
    if not faces:
        return
    crops = [
        crop_regions(frames[face.frame], face.turns[quarters], detector.image_size, replicate_border=False)
        for face in faces
    ]
    outputs = (np.split(values, len(faces)) for values in run_detector(np.concatenate(crops)))
    for face, *found in zip(faces, *outputs, strict=True):
        for regressors, logits, region in zip(*found, face.turns[quarters], strict=True):
            face.found.append(merge_overlapping(decode_detections(detector, regressors, logits, region)))


def _are_sure(faces: Detections) -> np.ndarray:
    """Return which faces need no second look, bool [K]."""
    along = faces.keypoints[:, 1] - faces.keypoints[:, 0]
    angles = np.degrees(np.arctan2(along[:, 1], along[:, 0]))
    return np.asarray((faces.scores >= SURE_SCORE) & (np.abs(angles) <= SURE_ANGLE))
