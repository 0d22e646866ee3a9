"""Which part of an aligned face is kept and which is generated.

Source: the default mask of LatentSync, docs/specs/latentsync.md, "Mask": a bowl over cheeks, mouth, chin and jaw,
with a notch for the nose.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np

from lipsync_core.vae.sizes import PIXELS_PER_LATENT

MASK_SIZE = 256  # pixels, edge length of the original mask
TOP = 95  # first row of the bowl
NOTCH_ROWS, NOTCH_COLUMNS = slice(95, 128), slice(78, 178)  # kept inside the bowl
KEEP = 255

# First and last column of each row of the bowl, as runs of (number of rows, column).
LEFT_EDGE = (
    *((41, 9), (14, 10), (14, 11), (7, 12), (2, 13), (2, 14), (2, 15), (2, 16), (1, 17), (2, 18), (2, 19), (1, 20)),
    *((2, 21), (2, 22), (1, 23), (1, 24), (1, 25), (2, 26), (1, 27), (1, 28), (1, 29), (1, 30), (1, 31), (1, 32)),
    *((1, 33), (2, 34), (1, 35), (1, 36), (1, 37), (1, 38), (1, 39), (1, 40), (1, 42), (1, 43), (1, 44), (1, 45)),
    *((1, 47), (1, 48), (1, 49), (1, 51), (1, 52), (1, 54), (1, 56), (1, 57), (1, 59), (1, 60), (1, 62), (1, 64)),
    *((1, 66), (1, 68), (1, 70), (1, 72), (1, 74), (1, 76), (1, 78), (1, 80), (1, 82), (1, 85), (1, 87), (1, 90)),
    *((1, 93), (1, 95), (1, 99), (1, 104), (1, 108), (1, 131)),
)
RIGHT_EDGE = (
    *((33, 246), (7, 247), (14, 246), (14, 245), (7, 244), (2, 243), (2, 242), (2, 241), (2, 240), (1, 239)),
    *((2, 238), (1, 237), (2, 236), (1, 235), (2, 234), (1, 233), (2, 232), (1, 231), (2, 230), (1, 229), (2, 228)),
    *((1, 227), (1, 226), (1, 225), (1, 224), (2, 223), (1, 222), (1, 221), (1, 220), (1, 219), (1, 218), (1, 217)),
    *((1, 216), (1, 215), (1, 214), (1, 213), (1, 212), (1, 211), (1, 210), (1, 208), (1, 207), (1, 206), (1, 204)),
    *((1, 203), (1, 202), (1, 200), (1, 199), (1, 197), (1, 196), (1, 194), (1, 192), (1, 191), (1, 189), (1, 187)),
    *((1, 185), (1, 183), (1, 180), (1, 178), (1, 175), (1, 173), (1, 171), (1, 168), (1, 166), (1, 164), (1, 160)),
    *((1, 156), (1, 152)),
)


@functools.lru_cache(maxsize=4)
def pixel_mask(resolution: int) -> np.ndarray:
    """Return the mask for faces of this edge length.

    Returns:
        float32 [resolution, resolution], read-only: 1 = keep, 0 = generate; between them only along edges, if resized.
    """
    mask = _original()
    if resolution != MASK_SIZE:
        mask = cv2.resize(mask, (resolution, resolution), interpolation=cv2.INTER_LANCZOS4)
    weights = mask.astype(np.float32) / KEEP
    weights.flags.writeable = False  # shared by all callers
    return weights


def latent_mask(resolution: int) -> np.ndarray:
    """Take every eighth pixel of the mask, float32 [resolution / 8, resolution / 8]."""
    return pixel_mask(resolution)[::PIXELS_PER_LATENT, ::PIXELS_PER_LATENT]


def _original() -> np.ndarray:
    """Return the original mask, uint8 [256, 256], 0 or 255."""
    mask = np.full((MASK_SIZE, MASK_SIZE), KEEP, np.uint8)
    for row, (left, right) in enumerate(zip(_rows(LEFT_EDGE), _rows(RIGHT_EDGE), strict=True), start=TOP):
        mask[row, left : right + 1] = 0
    mask[NOTCH_ROWS, NOTCH_COLUMNS] = KEEP
    return mask


def _rows(runs: tuple[tuple[int, int], ...]) -> list[int]:
    return [column for rows, column in runs for _ in range(rows)]
