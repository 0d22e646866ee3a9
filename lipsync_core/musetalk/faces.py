"""Crops faces for the networks: for the VAE, masked and whole, and the larger square that the parser sees.

Frames are uint8 RGB. Faces that lie on their side are turned upright by whole quarters, which costs no sharpness.

Source: docs/specs/musetalk.md, "Crop and latents" and "Pasting back".
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from lipsync_core.musetalk.boxes import Box, turn_box
from lipsync_core.musetalk.sizes import FACE_SIZE, IMAGES_PER_FACE, MASKED_FROM

SURROUNDINGS = 1.5  # side of the square that is parsed and pasted, over the longer side of the box
SMALLEST_BOX = 4  # pixels, longer edge; the square around a smaller one would not contain it
HALF_WHITE = np.float32(127.5)


class PlacedFace(NamedTuple):
    """A face within the frame that is turned until the face is upright.

    Attributes:
        upright: the turned frame, a view of uint8 RGB [h, w, 3].
        box: its box there; it may reach beyond the right and lower edge.
    """

    upright: np.ndarray
    box: Box


def place_face(frame: np.ndarray, box: np.ndarray, turns: int) -> PlacedFace | None:
    """Turn a frame so that its face is upright; None without a box, and if it is outside the frame or tiny.

    Args:
        frame: uint8 RGB [H, W, 3].
        box: float [4], whole pixels of the frame; NaN for no face.
        turns: Number of quarter turns by which the face is turned clockwise.
    """
    height, width = frame.shape[:2]
    if not np.isfinite(box).all():
        return None
    x1, y1, x2, y2 = np.trunc(np.clip(box, -1e6, 1e6)).astype(int).tolist()
    x1, y1 = max(x1, 0), max(y1, 0)
    if not (x1 < min(x2, width) and y1 < min(y2, height)) or max(x2 - x1, y2 - y1) < SMALLEST_BOX:
        return None
    moved = turn_box(np.array([x1, y1, x2, y2], np.float64), turns, height, width).astype(int).tolist()
    return PlacedFace(np.rot90(frame, turns), (max(moved[0], 0), max(moved[1], 0), moved[2], moved[3]))


def place_faces(frames: np.ndarray, boxes: np.ndarray, turns: np.ndarray) -> list[PlacedFace | None]:
    """Place the face of each frame; see `place_face`."""
    return [place_face(frame, box, int(turn)) for frame, box, turn in zip(frames, boxes, turns, strict=True)]


def encoder_images(faces: list[PlacedFace | None]) -> np.ndarray:
    """Crop faces and convert them to the VAE's input.

    Returns:
        float32 RGB [2 F, 3, 256, 256], -1 to 1: each face with its lower half black, then whole; -1 without a face.
    """
    images = np.full((len(faces), IMAGES_PER_FACE, 3, FACE_SIZE, FACE_SIZE), -1, np.float32)
    for pair, face in zip(images, faces, strict=True):
        if face is not None:
            pair[:] = (crop_face(face) / HALF_WHITE - 1).transpose(2, 0, 1)
            pair[0, :, MASKED_FROM:] = -1
    return images.reshape(-1, 3, FACE_SIZE, FACE_SIZE)


def crop_face(face: PlacedFace) -> np.ndarray:
    """Crop a face and resize it, uint8 RGB [256, 256, 3]; what lies beyond the frame is left out, not filled."""
    x1, y1, x2, y2 = face.box
    crop = np.ascontiguousarray(face.upright[y1:y2, x1:x2])
    return np.asarray(cv2.resize(crop, (FACE_SIZE, FACE_SIZE), interpolation=cv2.INTER_LANCZOS4), np.uint8)


def surroundings(box: Box) -> Box:
    """Return the square around a box that is parsed and pasted; it may reach beyond the frame on all sides."""
    x1, y1, x2, y2 = box
    centre_x, centre_y = (x1 + x2) // 2, (y1 + y2) // 2
    half = int(max(x2 - x1, y2 - y1) // 2 * SURROUNDINGS)
    return centre_x - half, centre_y - half, centre_x + half, centre_y + half


def crop_surroundings(face: PlacedFace) -> np.ndarray:
    """Crop the square around a face, uint8 RGB [s, s, 3]; black beyond the frame."""
    x1, y1, x2, y2 = surroundings(face.box)
    height, width = face.upright.shape[:2]
    crop = np.zeros((y2 - y1, x2 - x1, 3), np.uint8)
    rows, columns = slice(max(y1, 0), min(y2, height)), slice(max(x1, 0), min(x2, width))
    crop[rows.start - y1 : rows.stop - y1, columns.start - x1 : columns.stop - x1] = face.upright[rows, columns]
    return crop


def faces_extent(boxes: np.ndarray) -> tuple[float, float, float, float]:
    """Bound the pixels that cropping, parsing and pasting faces reads: x1, y1, x2, y2 around boxes, float [F, 4]."""
    squares = np.array([surroundings((x1, y1, x2, y2)) for x1, y1, x2, y2 in boxes.astype(int).tolist()])
    squares = np.concatenate([squares, boxes])
    (x1, y1), (x2, y2) = squares[:, :2].min(axis=0).tolist(), squares[:, 2:].max(axis=0).tolist()
    # The square around a face that is turned by quarters may begin and end a pixel later: its centre is rounded down
    # in the turned frame.
    return x1, y1, x2 + 1, y2 + 1
