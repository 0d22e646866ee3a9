"""The mark's pattern: cells of the picture that get lighter or darker by a fixed code, in pairs of frames.

The picture's longer side has CELLS cells. In each pair of frames a cell is a little lighter in one and a little darker
in the other; which comes first is a bit of the code. So the mark's mean over time is zero, it is at the same place
whatever the scale, and the difference between neighbouring frames, in which a picture's own content nearly vanishes,
shows it. The code is fixed and public: the mark says that this program made a mouth, not who ran it.
"""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np

CELLS = 80  # along the longer side
PAIRS = 64  # pairs of frames until the code starts again: 5 s at 25 frames per second
FRAMES = 2 * PAIRS
KEY = b"lipsync-triton mark 1"


def grid_size(width: int, height: int) -> tuple[int, int]:
    """Return the number of cells across and down of an upright picture."""
    longer = max(width, height)
    return max(1, round(CELLS * width / longer)), max(1, round(CELLS * height / longer))


@cache
def code() -> np.ndarray:
    """Return the code, int8 [PAIRS, CELLS, CELLS], each -1 or 1: the sign in a pair's first frame."""
    bits = hashlib.shake_256(KEY).digest(PAIRS * CELLS * CELLS // 8)
    signs = np.unpackbits(np.frombuffer(bits, np.uint8)).astype(np.int8) * 2 - 1
    return signs.reshape(PAIRS, CELLS, CELLS)


def signs_of_frame(number: int) -> np.ndarray:
    """Return the signs of all cells in a frame, int8 [CELLS, CELLS]."""
    pair = code()[number // 2 % PAIRS]
    return -pair if number % 2 else pair


def cell_numbers(width: int, height: int) -> np.ndarray:
    """Return the cell of each pixel of an upright picture, int16 [height, width], counted in rows of CELLS."""
    across, down = grid_size(width, height)
    columns, rows = np.arange(width) * across // width, np.arange(height) * down // height
    return (rows[:, None] * CELLS + columns[None]).astype(np.int16)
