"""Finds scenes and face tracks as the original evaluators do, in a video at 25 fps.

A box is (x1, y1, x2, y2) in pixels.

Source: docs/specs/syncnet.md, "Tracks and crops".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

CUT_THRESHOLD = 30.0  # mean difference of hue, saturation and value
MIN_SCENE_FRAMES = 15
COMPARED_WIDTH = 256  # frames are subsampled to about this width, in pixels, before they are compared

MAX_STEP = 25  # frames from one detection of a track to the next
MIN_IOU = 0.5  # a larger overlap joins a track
MIN_TRACK = 100  # frames; a track has more detections than this
MIN_FACE_SIZE = 100  # pixels; the mean width or height of a track exceeds this


class SceneCutter:
    """Detects from consecutive frames where a new scene begins."""

    def __init__(self) -> None:
        """Start before the first frame."""
        self._last: np.ndarray | None = None
        self._frames_since_cut = MIN_SCENE_FRAMES

    def is_cut(self, frame: np.ndarray) -> bool:
        """Return whether a frame, uint8 RGB [H, W, 3], begins a new scene; the first frame does not."""
        step = max(1, round(frame.shape[1] / COMPARED_WIDTH))
        thinned = np.ascontiguousarray(frame[::step, ::step])
        last, self._last = self._last, cv2.cvtColor(thinned, cv2.COLOR_RGB2HSV)
        self._frames_since_cut += 1
        if last is None or last.shape != self._last.shape or self._frames_since_cut < MIN_SCENE_FRAMES:
            return False
        if float(cv2.absdiff(last, self._last).mean()) < CUT_THRESHOLD:
            return False
        self._frames_since_cut = 0
        return True


@dataclass(frozen=True)
class Track:
    """One face through consecutive frames.

    Attributes:
        first: Index of its first frame.
        boxes: float64 [F, 4]; gaps are interpolated.
    """

    first: int
    boxes: np.ndarray

    @property
    def end(self) -> int:
        """Index of the frame after its last one."""
        return self.first + len(self.boxes)


def find_tracks(detections: Sequence[np.ndarray], first: int = 0, min_track: int = MIN_TRACK) -> list[Track]:
    """Join the faces in the frames of one scene to tracks.

    Args:
        detections: Boxes of the faces in each frame, float [N, 4], in the detector's order.
        first: Index of the scene's first frame.
        min_track: A track has more detections than this.

    Returns:
        The tracks in the order of discovery, without those that are too short or too small.
    """
    remaining = [list(boxes.astype(np.float64)) for boxes in detections]
    tracks = []
    while members := _take_track(remaining):
        frames = np.array([frame for frame, _ in members])
        boxes = np.array([box for _, box in members])
        wanted = np.arange(frames[0], frames[-1] + 1)
        filled = np.stack([np.interp(wanted, frames, boxes[:, i]) for i in range(4)], axis=1)
        mean_size = (filled[:, 2:] - filled[:, :2]).mean(axis=0)
        if len(members) > min_track and mean_size.max() > MIN_FACE_SIZE:
            tracks.append(Track(first + int(wanted[0]), filled))
    return tracks


def _take_track(remaining: list[list[np.ndarray]]) -> list[tuple[int, np.ndarray]]:
    """Remove the first remaining face and those that join it from their frames; returns (frame, box) of each."""
    members: list[tuple[int, np.ndarray]] = []
    for frame, boxes in enumerate(remaining):
        position = 0
        while position < len(boxes):
            if not members or _joins(members[-1], frame, boxes[position]):
                members.append((frame, boxes.pop(position)))  # skips the next face, as the originals do
            position += 1
        if members and frame - members[-1][0] >= MAX_STEP:
            break  # no later face can join
    return members


def _joins(last: tuple[int, np.ndarray], frame: int, box: np.ndarray) -> bool:
    return frame - last[0] <= MAX_STEP and iou(last[1], box) > MIN_IOU


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Return the intersection over union of two boxes, float [4]."""
    shared = np.maximum(0, np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).prod()
    both = (a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared
    return float(shared / both)
