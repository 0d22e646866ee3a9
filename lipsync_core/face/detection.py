"""Finds faces in frames: decodes anchors, merges overlapping detections, finds small faces by tiles."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lipsync_core.face.boxes import box_areas, iou
from lipsync_core.face.networks import RunDetector
from lipsync_core.face.regions import crop_regions, tile_regions

KEYPOINTS = 6  # eye at the image's left, eye at its right, nose tip, mouth, tragion left, tragion right
MIN_IOU = 0.3  # detections that overlap more are one face
LETTERBOX_PARTS = 1
TILE_PARTS = (2, 3)  # where the letterbox shows no face, tiles of a half, then a third of the longer side


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
        region: float64 [4], the upright square of the frame that the image shows.
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
    return Detections(boxes * side + np.tile(corner, 2), keypoints * side + corner, scores[kept])


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
    return _stack(faces)


def find_faces(
    frames: np.ndarray, run_detector: RunDetector, detector: Detector = SHORT_RANGE_DETECTOR
) -> list[Detections]:
    """Find the faces of each frame, best first; frames without any are searched again in tiles for small faces.

    Args:
        frames: uint8 RGB [F, H, W, 3].
        run_detector: The network; called once for all whole frames, and once for each tile size that is needed.
        detector: The network's properties.
    """
    found: list[Detections] = [_stack([])] * len(frames)
    for parts in (LETTERBOX_PARTS, *TILE_PARTS):
        missing = [index for index, detections in enumerate(found) if not len(detections.scores)]
        if not missing:
            break
        regions = tile_regions(frames.shape[1], frames.shape[2], parts)
        crops = [crop_regions(frames[index], regions, detector.image_size, replicate_border=False) for index in missing]
        regressors, logits = run_detector(np.concatenate(crops))
        for position, index in enumerate(missing):
            rows = slice(position * len(regions), (position + 1) * len(regions))
            found[index] = _merge_tiles(detector, regressors[rows], logits[rows], regions)
    return found


def largest_faces(detections: Detections, count: int) -> Detections:
    """Keep the `count` largest faces of a frame, largest box first."""
    order = np.argsort(-box_areas(detections.boxes), kind="stable")[:count]
    return Detections(*(values[order] for values in detections))


@functools.cache
def _anchors(detector: Detector) -> np.ndarray:
    """Anchor centres in 0..1 of the image, float64 [anchors, 2], ordered by grid, row, column, anchor."""
    centres = []
    for cells, repeats in detector.grids:
        middles = (np.arange(cells) + 0.5) / cells
        grid_y, grid_x = np.meshgrid(middles, middles, indexing="ij")
        centres.append(np.repeat(np.stack([grid_x, grid_y], axis=-1).reshape(-1, 2), repeats, axis=0))
    return np.concatenate(centres)


def _merge_tiles(detector: Detector, regressors: np.ndarray, logits: np.ndarray, regions: np.ndarray) -> Detections:
    tiles = zip(regressors, logits, regions, strict=True)
    found = [decode_detections(detector, *tile) for tile in tiles]
    return merge_overlapping(Detections(*(np.concatenate(parts) for parts in zip(*found, strict=True))))


def _stack(faces: Sequence[tuple[np.ndarray, np.ndarray, float]]) -> Detections:
    boxes, keypoints, scores = zip(*faces, strict=True) if faces else ((), (), ())
    return Detections(
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(keypoints, np.float64).reshape(-1, KEYPOINTS, 2),
        np.array(scores, np.float64),
    )
