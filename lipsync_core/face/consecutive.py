"""Faces in frames that follow each other: searched in some of them, and followed through those in between.

Source: measured on moving heads; docs/specs/face.md, "Consecutive frames".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from lipsync_core.face.boxes import iou
from lipsync_core.face.detection import Detections
from lipsync_core.face.landmarks import LANDMARKS, find_landmarks, landmark_detections
from lipsync_core.face.networks import RunLandmarks
from lipsync_core.face.regions import regions_from_landmarks

MAX_GAP = 5  # frames from one key frame to the next
SAME_FACE_IOU = 0.5  # least overlap of a face's boxes in two key frames
FULL_TURN = 2 * math.pi


def key_frames(count: int) -> list[int]:
    """Return which of `count` frames are searched: the first, the last, and evenly spaced ones between them."""
    gaps = math.ceil((count - 1) / MAX_GAP)
    return [int(number) for number in np.linspace(0, count - 1, gaps + 1).round()]


def find_consecutive(count: int, find: Callable[[Sequence[int]], Sequence[Detections]]) -> list[Detections]:
    """Find the faces of frames that follow each other, best first.

    Between two key frames with the same faces, each face is taken to move in a straight line. Between others all
    frames are searched: where a face comes, goes or moves far, and where there is none.

    Args:
        count: The number of frames.
        find: Returns the faces of the frames with these numbers; called once or twice.
    """
    keys = key_frames(count)
    found = dict(zip(keys, find(keys), strict=True))
    for first, last in pairwise(keys):
        partners = _partners(found[first].boxes, found[last].boxes)
        if partners is not None:
            moved = Detections(*(values[partners] for values in found[last]))
            for i in range(first + 1, last):
                found[i] = _between(found[first], moved, (i - first) / (last - first))
    others = [i for i in range(count) if i not in found]
    if others:
        found |= zip(others, find(others), strict=True)
    return [found[i] for i in range(count)]


def landmark_consecutive(
    frames: np.ndarray, frame_indices: np.ndarray, boxes: np.ndarray, regions: np.ndarray, run_landmarks: RunLandmarks
) -> tuple[np.ndarray, np.ndarray]:
    """Find the landmarks of newly detected faces in frames that follow each other.

    A face that two key frames show needs only one pass between them, in a region that moves in a straight line. All
    others, and those that are not seen that way, get two, see `landmark_detections`.

    Args:
        frames: uint8 RGB [F, H, W, 3].
        frame_indices: int [N], the frame of each face, ascending.
        boxes: float [N, 4], of the detections.
        regions: float64 [N, 4], from `regions_from_detections`.
        run_landmarks: The network; called up to five times.

    Returns:
        landmarks, float32 [N, 468, 3]; present, bool [N]. See `find_landmarks`.
    """
    keys = key_frames(len(frames))
    landmarks, present = np.zeros((len(boxes), LANDMARKS, 3), np.float32), np.zeros(len(boxes), bool)
    at_keys = np.flatnonzero(np.isin(frame_indices, keys))
    landmarks[at_keys], present[at_keys] = landmark_detections(
        frames, frame_indices[at_keys], regions[at_keys], run_landmarks
    )
    followed = _regions_between(keys, frame_indices, boxes, regions_from_landmarks(landmarks), present)
    rows = np.array(list(followed), int)
    landmarks[rows], present[rows] = find_landmarks(
        frames, frame_indices[rows], np.array(list(followed.values())), run_landmarks
    )
    rest = np.setdiff1d(np.flatnonzero(~present), at_keys)
    landmarks[rest], present[rest] = landmark_detections(frames, frame_indices[rest], regions[rest], run_landmarks)
    return landmarks, present


def _partners(boxes: np.ndarray, others: np.ndarray) -> list[int] | None:
    """Return which of the others each box is; None if there are none, or they are not the same faces."""
    if not len(boxes) or len(boxes) != len(others):
        return None
    overlaps = np.stack([iou(box, others) for box in boxes])
    partners: list[int] = overlaps.argmax(axis=1).tolist()
    are_same = len(set(partners)) == len(partners) and bool((overlaps.max(axis=1) >= SAME_FACE_IOU).all())
    return partners if are_same else None


def _between(faces: Detections, moved: Detections, share: float) -> Detections:
    """Return the faces at a share of the way from one key frame to the next."""
    boxes, keypoints = ((1 - share) * here + share * there for here, there in zip(faces[:2], moved[:2], strict=True))
    return Detections(boxes, keypoints, np.minimum(faces.scores, moved.scores))


def _regions_between(
    keys: Sequence[int], frame_indices: np.ndarray, boxes: np.ndarray, regions: np.ndarray, present: np.ndarray
) -> dict[int, np.ndarray]:
    """Return the regions, float64 [4], of the faces that both key frames around them show, by their rows."""
    between: dict[int, np.ndarray] = {}
    for first, last in pairwise(keys):
        ends = [np.flatnonzero(present & (frame_indices == key)) for key in (first, last)]
        for row in np.flatnonzero((frame_indices > first) & (frame_indices < last)).tolist():
            here, there = (_same_face(boxes, row, rows) for rows in ends)
            if here is not None and there is not None:
                share = (frame_indices[row] - first) / (last - first)
                between[row] = _region_between(regions[here], regions[there], share)
    return between


def _same_face(boxes: np.ndarray, row: int, rows: np.ndarray) -> int | None:
    """Return which of some rows shows the face of another row; None if none does."""
    if not len(rows):
        return None
    overlaps = iou(boxes[row], boxes[rows])
    best = int(overlaps.argmax())
    return int(rows[best]) if overlaps[best] >= SAME_FACE_IOU else None


def _region_between(region: np.ndarray, moved: np.ndarray, share: float) -> np.ndarray:
    step = moved - region
    step[3] = (step[3] + math.pi) % FULL_TURN - math.pi  # the shorter way round
    return region + share * step
