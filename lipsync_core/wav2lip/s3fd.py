"""Decodes the outputs of the S3FD face detector: anchors to boxes, overlapping boxes removed.

Source: docs/specs/wav2lip.md, "S3FD". SyncNet's detector differs as perf/scores/syncnet/s3fd.py says.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

STRIDES = (4, 8, 16, 32, 64, 128)  # pixels between two anchors, level by level
ANCHOR_SCALE = 4  # edge length of an anchor, in strides
CENTRE_VARIANCE, SIZE_VARIANCE = np.float32(0.1), np.float32(0.2)
PAD_CELLS = 4  # added to the fourth level by one convolution's padding
CANDIDATE_SCORE = 0.05
MIN_SCORE = 0.5
MIN_IOU = 0.3  # boxes that overlap more are the same face
EDGE = 1  # pixel: boxes include their last row and column
MIN_IMAGE_SIDE = 32  # pixels; the network's last level would be empty below this


Grids = tuple[tuple[int, int], ...]  # rows and columns of anchors, level by level


class Candidates(NamedTuple):
    """Possible faces of one image: float32 boxes [K, 4] (x1, y1, x2, y2) in pixels, scores [K]."""

    boxes: np.ndarray
    scores: np.ndarray


def enlarge_small(frames: np.ndarray) -> np.ndarray:
    """Extend frames that are too small for the network by repeating edge pixels, uint8 [F, H, W, 3]."""
    missing = [max(0, MIN_IMAGE_SIDE - side) for side in frames.shape[1:3]]
    return np.pad(frames, ((0, 0), *((0, count) for count in missing), (0, 0)), mode="edge") if any(missing) else frames


def decode(logits: np.ndarray, offsets: np.ndarray, grids: Grids) -> Candidates:
    """Decode the outputs for one image to candidates, in the order of the anchors.

    Args:
        logits: float32 [A, 2], background and face.
        offsets: float32 [A, 4].
        grids: Anchor grids of the image; see `anchor_grids`.
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
    """Keep the best of each group of overlapping boxes (non-maximum suppression).

    Args:
        boxes: float [K, 4].
        scores: float [K].
        min_iou: Boxes that overlap more are the same face.
        edge: 1 if boxes include their last row and column, else 0.

    Returns:
        int64 [kept], indices into `boxes`, best first.
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
    """Find the faces of one image, best first.

    Args:
        logits: float32 [A, 2], background and face.
        offsets: float32 [A, 4].
        height: Height of the image, in pixels.
        width: Width of the image, in pixels.
    """
    candidates = decode(logits, offsets, anchor_grids(height, width))
    likely = candidates.scores > MIN_SCORE  # a worse box never removes a better one, so the rest can be dropped first
    boxes, scores = candidates.boxes[likely], candidates.scores[likely]
    kept = remove_overlapping(boxes, scores)
    return Candidates(boxes[kept], scores[kept])


def anchor_grids(height: int, width: int) -> Grids:
    """Return the rows and columns of anchors of each level, for an image of this size in pixels."""

    def cells(side: int) -> list[int]:
        fourth = side // STRIDES[3] + PAD_CELLS
        fifth = -(-fourth // 2)
        return [side // STRIDES[0], side // STRIDES[1], side // STRIDES[2], fourth, fifth, -(-fifth // 2)]

    return tuple(zip(cells(height), cells(width), strict=True))


@functools.lru_cache(maxsize=4)  # a clip has one size; 1080p takes 2.8 MB
def _anchors(grids: Grids) -> np.ndarray:
    """Return centre and size of every anchor, float32 [A, 4] (x, y, w, h)."""
    levels = []
    for stride, (rows, columns) in zip(STRIDES, grids, strict=True):
        y, x = np.mgrid[:rows, :columns].reshape(2, -1)
        centres = np.stack([x, y], axis=1) * stride + stride / 2
        levels.append(np.pad(centres, ((0, 0), (0, 2)), constant_values=stride * ANCHOR_SCALE))
    return np.concatenate(levels).astype(np.float32)
