"""Decodes a face detector's anchors, and merges overlapping detections."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lipsync_core.face.boxes import iou

KEYPOINTS = 6  # eye at the image's left, eye at its right, nose tip, mouth, tragion left, tragion right
MIN_IOU = 0.3  # detections that overlap more are one face


@dataclass(frozen=True)
class Detector:
    """Fixed properties of a trained face detector.

    Attributes:
        image_size: Edge length of its input, in pixels.
        grids: Cells per side and anchors per cell, in the order of its outputs.
        min_score: The lowest score that counts as a face.
    """

    image_size: int
    grids: tuple[tuple[int, int], ...]
    min_score: float


SHORT_RANGE_DETECTOR = Detector(image_size=128, grids=((16, 2), (8, 6)), min_score=0.5)


class Detections(NamedTuple):
    """Faces of one frame: float64 boxes [K, 4] (x1, y1, x2, y2) and keypoints [K, 6, 2] in pixels, scores [K]."""

    boxes: np.ndarray
    keypoints: np.ndarray
    scores: np.ndarray


def decode_detections(detector: Detector, regressors: np.ndarray, logits: np.ndarray, region: np.ndarray) -> Detections:
    """Decode a detector's outputs for one image, and keep the detections above its threshold.

    Args:
        detector: The detector's properties.
        regressors: float32 [anchors, 16]: the centre's offset from the anchor, width and height, and the offsets of six
            keypoints, in pixels of the detector's image.
        logits: float32 [anchors].
        region: float64 [4], the square of the frame that the image shows; upright, or turned by whole quarters.
    """
    # float64: exp(100) is too large for float32
    scores = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -100, 100)))
    kept = np.flatnonzero((scores >= detector.min_score) & (regressors[:, 2:4] >= 0).all(axis=1))
    values = regressors[kept].astype(np.float64) / detector.image_size
    centres = _anchors(detector)[kept]
    middles, half_sizes = values[:, :2] + centres, values[:, 2:4] / 2
    boxes = np.concatenate([middles - half_sizes, middles + half_sizes], axis=1)
    keypoints = values[:, 4:].reshape(-1, KEYPOINTS, 2) + centres[:, None]
    corner, side = region[:2] - region[2] / 2, region[2]
    upright = Detections(boxes * side + np.tile(corner, 2), keypoints * side + corner, scores[kept])
    return _turned(upright, region[:2], round(region[3] / (math.pi / 2)) % 4)


def merge_overlapping(detections: Detections) -> Detections:
    """Merge detections of the same face by their score-weighted mean (weighted non-maximum suppression), best first.

    Each face keeps the score of its best detection; boxes [K, 4] become [faces, 4], and so on.
    """
    boxes, keypoints, scores = detections
    order = np.argsort(-scores, kind="stable")
    faces: list[tuple[np.ndarray, np.ndarray, float]] = []
    while order.size:
        same = iou(boxes[order[0]], boxes[order]) > MIN_IOU
        same[0] = True  # also where the box is empty and overlaps nothing, itself included
        group = order[same]
        weights = scores[group] / scores[group].sum()
        merged_keypoints = np.tensordot(weights, keypoints[group], axes=1)
        faces.append((weights @ boxes[group], merged_keypoints, scores[group[0]]))
        order = order[~same]
    return stack_faces(faces)


@functools.cache
def _anchors(detector: Detector) -> np.ndarray:
    """Anchor centres in 0..1 of the image, float64 [anchors, 2], ordered by grid, row, column, anchor."""
    centres = []
    for cells, repeats in detector.grids:
        middles = (np.arange(cells) + 0.5) / cells
        grid_y, grid_x = np.meshgrid(middles, middles, indexing="ij")
        centres.append(np.repeat(np.stack([grid_x, grid_y], axis=-1).reshape(-1, 2), repeats, axis=0))
    return np.concatenate(centres)


def _turned(faces: Detections, centre: np.ndarray, quarters: int) -> Detections:
    """Turn detections around a centre by quarter turns, clockwise in the picture."""
    boxes, keypoints, scores = faces
    for _ in range(quarters):
        corners = _quarter_turn(boxes.reshape(-1, 2, 2), centre)
        boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
        keypoints = _quarter_turn(keypoints, centre)
    return Detections(boxes, keypoints, scores)


def _quarter_turn(points: np.ndarray, centre: np.ndarray) -> np.ndarray:
    x, y = np.moveaxis(points - centre, -1, 0)
    return np.stack([-y, x], axis=-1) + centre


def stack_faces(faces: Sequence[tuple[np.ndarray, np.ndarray, float]]) -> Detections:
    """Stack boxes [4], keypoints [6, 2] and scores of faces; there may be none."""
    boxes, keypoints, scores = zip(*faces, strict=True) if faces else ((), (), ())
    return Detections(
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(keypoints, np.float64).reshape(-1, KEYPOINTS, 2),
        np.array(scores, np.float64),
    )
