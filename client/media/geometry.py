"""Coded and upright orientation of a picture, and regions on its chroma grid. Does not depend on PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Region = tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels; x2 and y2 are exclusive

FIXED_POINT_ONE = 1 << 16  # display matrices are 16.16 fixed point...
DISPLAY_MATRIX_W = 1 << 30  # ...except for their last column, which is 2.30


@dataclass(frozen=True)
class Orientation:
    """How a coded picture is made upright: rows and columns are swapped first, then mirrored."""

    transposed: bool = False
    mirrored_x: bool = False
    mirrored_y: bool = False

    @classmethod
    def from_matrix(cls, matrix: Sequence[int]) -> Orientation:
        """Read a display matrix (9 integers); its angle is rounded to a quarter turn."""
        a, b, c, d = (int(matrix[index]) for index in (0, 1, 3, 4))
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    @classmethod
    def from_rotation(cls, degrees: float) -> Orientation:
        """Convert a counter-clockwise rotation in degrees."""
        quarter = round(degrees / 90) % 4
        return (cls(), cls(True, False, True), cls(False, True, True), cls(True, True, False))[quarter]

    @property
    def is_turned(self) -> bool:
        """Whether the coded picture is not upright."""
        return self.transposed or self.mirrored_x or self.mirrored_y

    @property
    def rotation(self) -> int:
        """Clockwise rotation in degrees (0, 90, 180, 270) that makes it upright, after mirroring along x if need be."""
        if self.transposed:
            return 90 if self.mirrored_x else 270
        return 180 if self.mirrored_y else 0

    @property
    def matrix(self) -> tuple[int, ...]:
        """The display matrix as containers store it: 9 integers."""
        x, y = (-FIXED_POINT_ONE if mirrored else FIXED_POINT_ONE for mirrored in (self.mirrored_x, self.mirrored_y))
        a, b, c, d = (0, y, x, 0) if self.transposed else (x, 0, 0, y)
        return (a, b, 0, c, d, 0, 0, 0, DISPLAY_MATRIX_W)

    def upright(self, coded: np.ndarray) -> np.ndarray:
        """View a coded array [h, w, ...] upright."""
        turned = coded.swapaxes(0, 1) if self.transposed else coded
        return turned[self._rows, self._columns]

    def coded(self, upright: np.ndarray) -> np.ndarray:
        """View an upright array [h, w, ...] in coded orientation; the inverse of `upright`."""
        turned = upright[self._rows, self._columns]
        return turned.swapaxes(0, 1) if self.transposed else turned

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Convert a coded size to the upright one, or back."""
        return (height, width) if self.transposed else (width, height)

    def coded_region(self, region: Region, width: int, height: int) -> Region:
        """Convert a region of the upright picture (width x height) to coded pixels."""
        x1, y1, x2, y2 = region
        if self.mirrored_x:
            x1, x2 = width - x2, width - x1
        if self.mirrored_y:
            y1, y2 = height - y2, height - y1
        return (y1, x1, y2, x2) if self.transposed else (x1, y1, x2, y2)

    def upright_region(self, region: Region, width: int, height: int) -> Region:
        """Convert a region in coded pixels to the upright picture (width x height)."""
        x1, y1, x2, y2 = region
        if self.transposed:
            x1, y1, x2, y2 = y1, x1, y2, x2
        if self.mirrored_x:
            x1, x2 = width - x2, width - x1
        if self.mirrored_y:
            y1, y2 = height - y2, height - y1
        return (x1, y1, x2, y2)

    @property
    def _rows(self) -> slice:
        return slice(None, None, -1 if self.mirrored_y else 1)

    @property
    def _columns(self) -> slice:
        return slice(None, None, -1 if self.mirrored_x else 1)


def check_region(region: Region, width: int, height: int) -> None:
    """Check that a region is not empty and lies within the picture.

    Raises:
        ValueError: it does not.
    """
    x1, y1, x2, y2 = region
    if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
        raise ValueError(f"region: expected x1 < x2 and y1 < y2 inside {width}x{height}, got {region}. Clip it first")


def relative_to(region: Region, coordinates: np.ndarray) -> np.ndarray:
    """Convert coordinates in a picture's pixels to pixels of a region of it.

    Args:
        region: x1, y1, x2, y2 in pixels.
        coordinates: points float32 [..., 2] or [..., 3] (x, y and depth), or boxes float32 [..., 4] (x1, y1, x2, y2).

    Returns:
        Float32 of the same shape.
    """
    x, y = region[:2]
    offset = {2: (x, y), 3: (x, y, 0), 4: (x, y, x, y)}[coordinates.shape[-1]]
    return coordinates - np.array(offset, np.float32)


def grow_to_grid(region: Region, step_x: int, step_y: int, width: int, height: int) -> Region:
    """Grow a region to multiples of the steps, within the picture."""
    x1, y1, x2, y2 = region
    return (
        x1 // step_x * step_x,
        y1 // step_y * step_y,
        min(-(-x2 // step_x) * step_x, width),
        min(-(-y2 // step_y) * step_y, height),
    )


def fit_long_side(width: int, height: int, long_side: int | None) -> tuple[int, int]:
    """Scale a size down so that its longer side is at most long_side pixels; never up."""
    longest = max(width, height)
    if long_side is None or longest <= long_side:
        return width, height
    return max(1, round(width * long_side / longest)), max(1, round(height * long_side / longest))
