"""Turns the outputs of SyncNet's S3FD into faces. The geometry of the anchors is that of Wav2Lip's detector.

Source: docs/specs/syncnet.md, "S3FD of this pipeline".
"""

from __future__ import annotations

import cv2
import numpy as np

from lipsync_core.wav2lip.s3fd import STRIDES, Candidates, Grids, decode, remove_overlapping

DETECTION_SCALE = 0.25  # size of the network's input, relative to the frame
MIN_SCORE = 0.9
FIRST_MIN_IOU, SECOND_MIN_IOU = 0.3, 0.1  # boxes that overlap more are one face; applied one after the other
NO_EDGE = 0  # the size of a box is the difference of its coordinates


def shrink(frame: np.ndarray) -> np.ndarray:
    """Shrink a frame, uint8 [H, W, 3], to the size of the network's input."""
    return cv2.resize(frame, None, fx=DETECTION_SCALE, fy=DETECTION_SCALE, interpolation=cv2.INTER_LINEAR)


def find_faces(logits: np.ndarray, offsets: np.ndarray, height: int, width: int, min_score: float) -> Candidates:
    """Decode the outputs for one shrunken frame; returns its faces, best first, in pixels of that frame.

    Args:
        logits: float32 [A, 2]: background, face.
        offsets: float32 [A, 4].
        height: Height of the shrunken frame, in pixels.
        width: Width of the shrunken frame, in pixels.
        min_score: Faces have higher scores than this.
    """
    candidates = decode(logits, offsets, anchor_grids(height, width))
    # a worse box never removes a better one, so these suffice; far fewer than the 5000 that the original stops at
    likely = candidates.scores > min_score
    return _without_overlaps(Candidates(candidates.boxes[likely], candidates.scores[likely]), FIRST_MIN_IOU)


def faces_in_frame(faces: Candidates, shrunken: tuple[int, ...], frame: tuple[int, ...]) -> Candidates:
    """Scale faces of a shrunken frame to pixels of the whole frame; boxes that overlap even a little become one.

    Args:
        faces: As `find_faces` returns them.
        shrunken: Shape of the shrunken frame: height, width, ...
        frame: Shape of the whole frame: height, width, ...
    """
    scale_x, scale_y = frame[1] / shrunken[1], frame[0] / shrunken[0]
    boxes = faces.boxes * np.array([scale_x, scale_y, scale_x, scale_y])
    return _without_overlaps(Candidates(boxes, faces.scores), SECOND_MIN_IOU)


def anchor_grids(height: int, width: int) -> Grids:
    """Return the rows and columns of anchors at each level, for an image of this size in pixels."""

    def cells(side: int) -> list[int]:
        first = side // STRIDES[0]
        second = -(-first // 2)
        fourth = second // 4
        fifth = -(-fourth // 2)
        return [first, second, second // 2, fourth, fifth, -(-fifth // 2)]

    return tuple(zip(cells(height), cells(width), strict=True))


def _without_overlaps(faces: Candidates, min_iou: float) -> Candidates:
    kept = remove_overlapping(faces.boxes, faces.scores, min_iou, NO_EDGE)
    return Candidates(faces.boxes[kept], faces.scores[kept])
