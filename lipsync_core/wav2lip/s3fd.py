"""What S3FD sees, as faces: anchors decoded, overlaps removed, the best one chosen. Knows no network.

Source: docs/specs/wav2lip.md, "S3FD". SyncNet's detector differs as perf/scores/syncnet/s3fd.py says.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

STRIDES = (4, 8, 16, 32, 64, 128)  # pixels between two anchors, level by level
ANCHOR_SCALE = 4  # an anchor's edge, in strides
CENTRE_VARIANCE, SIZE_VARIANCE = np.float32(0.1), np.float32(0.2)
PAD_CELLS = 4  # by which one convolution's padding enlarges the fourth level
CANDIDATE_SCORE = 0.05
MIN_SCORE = 0.5
MIN_IOU = 0.3  # candidates that overlap more are one face
EDGE = 1  # pixel; edges count as inside
MIN_IMAGE_SIDE = 32  # pixels; below this the network has nothing left to look at


Grids = tuple[tuple[int, int], ...]  # rows and columns of anchors, level by level


class Candidates(NamedTuple):
    """Possible faces of one image: float32 boxes [K, 4] (x1, y1, x2, y2) in pixels, scores [K]."""

    boxes: np.ndarray
    scores: np.ndarray


def enlarge_small(frames: np.ndarray) -> np.ndarray:
    """Repeat the right and lower edges of frames that are too small for the network, [F, H, W, 3]."""
    missing = [max(0, MIN_IMAGE_SIDE - side) for side in frames.shape[1:3]]
    return np.pad(frames, ((0, 0), *((0, count) for count in missing), (0, 0)), mode="edge") if any(missing) else frames


def decode(logits: np.ndarray, offsets: np.ndarray, grids: Grids) -> Candidates:
    """Turn one image's raw outputs into candidates, in the order of the anchors.

    Args:
        logits: float32 [A, 2], background and face.
        offsets: float32 [A, 4].
        grids: of the image, see `anchor_grids`.
    """
    scores = 1 / (1 + np.exp(np.clip(logits[:, 0] - logits[:, 1], -80, 80)))  # softmax of two; exp(88) is too large
    kept = np.flatnonzero(scores > CANDIDATE_SCORE)
    anchors, moved = _anchors(grids)[kept], offsets[kept]
    sizes = anchors[:, 2:]
    centres = anchors[:, :2] + CENTRE_VARIANCE * moved[:, :2] * sizes
    extents = sizes * np.exp(np.clip(SIZE_VARIANCE * moved[:, 2:], -80, 80))
    corners = centres - extents / 2
    return Candidates(np.concatenate([corners, corners + extents], axis=1), scores[kept])


def remove_overlapping(boxes: np.ndarray, scores: np.ndarray, min_iou: float = MIN_IOU, edge: int = EDGE) -> np.ndarray:
    """Choose the best of each group of overlapping boxes; positions, best first.

    Args:
        boxes: float [K, 4].
        scores: float [K].
        min_iou: boxes that overlap more are one face.
        edge: pixels by which a box is larger each way than its coordinates' difference; 1 where edges count as inside.
    """
    order = np.argsort(-scores, kind="stable")
    kept = []
    areas = (boxes[:, 2:] - boxes[:, :2] + edge).prod(axis=1)
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(best)
        low, high = np.maximum(boxes[best, :2], boxes[rest, :2]), np.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = np.maximum(0, high - low + edge).prod(axis=1)
        order = rest[shared / (areas[best] + areas[rest] - shared) <= min_iou]
    return np.array(kept, np.int64)


def find_faces(logits: np.ndarray, offsets: np.ndarray, height: int, width: int) -> Candidates:
    """Turn the raw outputs for one image of this size into its faces, best first. Arrays as for `decode`."""
    candidates = decode(logits, offsets, anchor_grids(height, width))
    likely = candidates.scores > MIN_SCORE  # a worse box never removes a better one, so these suffice
    boxes, scores = candidates.boxes[likely], candidates.scores[likely]
    kept = remove_overlapping(boxes, scores)
    return Candidates(boxes[kept], scores[kept])


def whole_boxes(boxes: np.ndarray) -> np.ndarray:
    """Bring boxes to whole pixels as the original does: not below 0, cut off; float [..., 4] -> int64 [..., 4]."""
    return np.maximum(0, boxes).astype(np.int64)


def anchor_grids(height: int, width: int) -> Grids:
    """Say how many rows and columns of anchors each level has for an image of this size in pixels."""

    def cells(side: int) -> list[int]:
        fourth = side // STRIDES[3] + PAD_CELLS
        fifth = -(-fourth // 2)
        return [side // STRIDES[0], side // STRIDES[1], side // STRIDES[2], fourth, fifth, -(-fifth // 2)]

    return tuple(zip(cells(height), cells(width), strict=True))


@functools.lru_cache(maxsize=4)  # one clip has one size; 1080p takes 2.8 MB
def _anchors(grids: Grids) -> np.ndarray:
    """Centre and size of every anchor, float32 [A, 4] (x, y, w, h)."""
    levels = []
    for stride, (rows, columns) in zip(STRIDES, grids, strict=True):
        y, x = np.mgrid[:rows, :columns].reshape(2, -1)
        centres = np.stack([x, y], axis=1) * stride + stride / 2
        levels.append(np.pad(centres, ((0, 0), (0, 2)), constant_values=stride * ANCHOR_SCALE))
    return np.concatenate(levels).astype(np.float32)
