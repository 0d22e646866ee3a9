"""Pastes generated faces back into their frames, through a soft mask below the centre of the box.

Source: docs/specs/musetalk.md, "Pasting back".
"""

from __future__ import annotations

import cv2
import numpy as np

from lipsync_core.fade import faded
from lipsync_core.musetalk.boxes import Box
from lipsync_core.musetalk.faces import PlacedFace, crop_surroundings, surroundings
from lipsync_core.musetalk.resize import resize_square
from lipsync_core.overflow import overflow_error

WHITE = 255
ORIGINAL_FEATHER = 0.05  # blur of the mask, over the side of the square around the face
FEATHER = 0.1  # as the original's live mode: half as wide, the edge across the nose and cheeks shows


def decoded_faces(decoded: np.ndarray) -> np.ndarray:
    """Convert the VAE's output to pictures, float32 RGB [F, 3, 256, 256], about -1 to 1 -> uint8 RGB [F, 256, 256, 3].

    Raises:
        FloatingPointError: A value is NaN or infinite.
    """
    if not np.isfinite(decoded).all():
        raise overflow_error("decoded", "from the VAE's decoder")
    shares = np.clip(decoded / 2 + np.float32(0.5), 0, 1)
    return np.rint(shares * np.float32(WHITE)).astype(np.uint8).transpose(0, 2, 3, 1)


def resize_mask(mask: np.ndarray, box: Box) -> np.ndarray:
    """Resize the mask of a parsed face, uint8 [512, 512], to the square around its box, uint8 [s, s]."""
    _, y1, _, y2 = surroundings(box)
    return resize_square(mask, y2 - y1, "bicubic")


def soft_mask(mask: np.ndarray, box: Box, feather: float) -> np.ndarray:
    """Keep what lies in the lower half of the square and inside the box, and blur its edge.

    Args:
        mask: uint8 [s, s], of the square around the face.
        box: The face's box.
        feather: Width of the blur, over the side of the square.

    Returns:
        uint8 [s, s].
    """
    kept = keep_lower_face(mask, box)
    size = blur_size(len(mask), feather)
    return np.asarray(cv2.GaussianBlur(kept, (size, size), 0), np.uint8) if size > 1 else kept


def keep_lower_face(mask: np.ndarray, box: Box) -> np.ndarray:
    """Clear a mask, uint8 [s, s], outside the box and above the middle of the square."""
    left, top, _, _ = surroundings(box)
    x1, y1, x2, y2 = box
    kept = np.zeros_like(mask)
    part = slice(max(y1 - top, len(mask) // 2), y2 - top), slice(x1 - left, x2 - left)
    kept[part] = mask[part]
    return kept


def blur_size(side: int, feather: float) -> int:
    """Return the size of the blur's kernel, an odd number of pixels."""
    return int(feather * side // 2 * 2) + 1


def paste_face(face: PlacedFace, generated: np.ndarray, mask: np.ndarray, strength: float = 1.0) -> None:
    """Paste a generated face into its frame; pixels where the mask is 0 keep their value.

    Args:
        face: The frame, which is changed, and the face's place in it.
        generated: uint8 RGB [256, 256, 3].
        mask: uint8 [s, s], from `soft_mask`.
        strength: How much of the face is shown, 0 to 1.
    """
    x1, y1, x2, y2 = face.box
    left, top, right, bottom = surroundings(face.box)
    height, width = face.upright.shape[:2]
    rows, columns = slice(max(top, 0), min(bottom, height)), slice(max(left, 0), min(right, width))
    crop = crop_surroundings(face)
    crop[y1 - top : y2 - top, x1 - left : x2 - left] = cv2.resize(generated, (x2 - x1, y2 - y1))
    inside = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
    before = face.upright[rows, columns]
    before[:] = faded(before, mixed(before, crop[inside], mask[inside]), strength)


def mixed(below: np.ndarray, above: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mix two pictures, uint8 [h, w, 3], by a mask, uint8 [h, w], rounded as the original's library does."""
    weights = mask[..., None].astype(np.int32)
    total = above * weights + below * (WHITE - weights) + (WHITE + 1) // 2
    return ((total + (total >> 8)) >> 8).astype(np.uint8)
