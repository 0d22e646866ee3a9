"""One decoded picture in its own pixel format: reads it as RGB, and applies changes made in RGB."""

from __future__ import annotations

import math

import av
import cv2
import numpy as np

from client.media.geometry import Orientation, Region, check_region, fit_long_side, grow_to_grid
from client.media.pixels import ColorMatrix, ColorTags, NativeFormat, convert, parse_native, plane_array

PLANES = 3  # of every native format


class Picture:
    """A picture that is read and changed upright, and stored as decoded.

    Attributes:
        frame: the samples, in a native format and coded orientation.
        native: the format of the samples.
        tags: colour range, matrix, primaries and transfer of the samples.
        orientation: how the coded picture is made upright.
        shared: whether several timeline frames refer to this object, so that it must be copied before a change.
    """

    def __init__(self, frame: av.VideoFrame, tags: ColorTags, orientation: Orientation | None = None) -> None:
        """Wrap a frame in a native format."""
        self.frame = frame
        self.native: NativeFormat = parse_native(frame.format.name)
        self.tags = tags
        self.orientation = orientation or Orientation()
        self.shared = False

    @property
    def width(self) -> int:
        """Width of the upright picture, in pixels."""
        return self.orientation.size(self.frame.width, self.frame.height)[0]

    @property
    def height(self) -> int:
        """Height of the upright picture, in pixels."""
        return self.orientation.size(self.frame.width, self.frame.height)[1]

    def rgb(self, region: Region | None = None, *, long_side: int | None = None) -> np.ndarray:
        """Read the picture, or a part of it, as RGB.

        Args:
            region: x1, y1, x2, y2 in upright pixels, anywhere inside the picture; the whole picture if absent.
            long_side: scale the result down so that its longer side has at most this many pixels.

        Returns:
            uint8 RGB [h, w, 3], upright. In 8-bit 4:2:0 of even size and in 4:4:4, a region is exactly that part of
            the whole picture; in other formats chroma may differ by a few levels along its edge.

        Raises:
            ValueError: the region is empty or leaves the picture.
        """
        if region is None:
            return self._read(self._bare() if long_side else self.frame, long_side)
        check_region(region, self.width, self.height)
        wanted = self.orientation.coded_region(region, self.width, self.height)
        aligned = grow_to_grid(wanted, *self.native.grid, self.frame.width, self.frame.height)
        if aligned == wanted:
            return self._read(self._crop(aligned), long_side)
        left, top, right, bottom = (there - here for there, here in zip(wanted, aligned, strict=True))
        height, width = aligned[3] - aligned[1], aligned[2] - aligned[0]
        inner = (slice(top, height + bottom), slice(left, width + right))
        exact = self.orientation.coded(self._read(self._crop(aligned), None))[inner]
        rgb = np.ascontiguousarray(self.orientation.upright(exact))
        return rgb if long_side is None else _shrink(rgb, long_side)

    def apply(self, region: Region, before: np.ndarray, after: np.ndarray) -> None:
        """Add the difference between two RGB images, in the picture's own format.

        Adding the difference instead of writing the result keeps what 8-bit RGB cannot represent: bit depth, headroom
        and full chroma detail. Samples stay bit-identical where the images are equal (chroma: where they are equal in
        all pixels that share the sample), and changed ones do not leave the format's legal range.

        Args:
            region: x1, y1, x2, y2 in upright pixels, anywhere inside the picture.
            before: uint8 RGB [h, w, 3], the region as `rgb` returned it.
            after: uint8 RGB [h, w, 3], the region as it should become.

        Raises:
            ValueError: the region leaves the picture, an image differs from it in size, or the picture is shared.
        """
        check_region(region, self.width, self.height)
        expected = (region[3] - region[1], region[2] - region[0], 3)
        for name, image in (("before", before), ("after", after)):
            if image.shape != expected or image.dtype != np.uint8:
                raise ValueError(f"{name}: expected uint8 {list(expected)}, got {image.dtype} {list(image.shape)}")
        if self.shared:
            raise ValueError(
                "picture: expected one that is not shared, got one that is shown several times. Call copy() first"
            )
        box = _changed_box(before, after)
        if box is not None:
            x1, y1, x2, y2 = box
            change = after[y1:y2, x1:x2].astype(np.float32) - before[y1:y2, x1:x2]
            self._add(change, (region[0] + x1, region[1] + y1, region[0] + x2, region[1] + y2))

    def thumbnail(self, side: int) -> np.ndarray:
        """Return the picture in grey, float32 [side, side], 0 to 255: coded, not upright; luma, or green of RGB."""
        plane = plane_array(self.frame, 0, self.native)
        sampled = cv2.resize(plane, (4 * side, 4 * side), interpolation=cv2.INTER_LINEAR)
        grey = cv2.resize(sampled, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
        low, high = ColorMatrix(self.native, self.tags).legal(0)
        return (grey - low) * np.float32(255 / (high - low))

    def copy(self) -> Picture:
        """Return a deep copy."""
        frame = av.VideoFrame(self.frame.width, self.frame.height, self.native.name)
        for plane in range(PLANES):
            plane_array(frame, plane, self.native)[:] = plane_array(self.frame, plane, self.native)
        return Picture(frame, self.tags, self.orientation)

    def align_region(self, region: Region, multiple: int = 1) -> Region:
        """Grow a region to the chroma grid and to a multiple of pixels, within the picture."""
        return align_region(region, (self.width, self.height), self.native, self.orientation, multiple)

    def _read(self, frame: av.VideoFrame, long_side: int | None) -> np.ndarray:
        size = fit_long_side(frame.width, frame.height, long_side)
        if size != (frame.width, frame.height):  # in one step swscale takes twice as long
            frame = convert(frame, self.native.name, self.tags, size)
        rgb = convert(frame, "rgb24", self.tags).to_ndarray()
        return np.ascontiguousarray(self.orientation.upright(rgb))

    def _bare(self) -> av.VideoFrame:
        """Return the samples alone: swscale scales by a decoded frame's chroma siting, which copies cannot have."""
        return self._crop((0, 0, self.frame.width, self.frame.height))

    def _crop(self, region: Region) -> av.VideoFrame:
        cropped = av.VideoFrame(region[2] - region[0], region[3] - region[1], self.native.name)
        for plane in range(PLANES):
            source = plane_array(self.frame, plane, self.native)
            plane_array(cropped, plane, self.native)[:] = source[self.native.plane_region(plane, region)]
        return cropped

    def _add(self, change: np.ndarray, region: Region) -> None:
        coded_region = self.orientation.coded_region(region, self.width, self.height)
        change = np.ascontiguousarray(self.orientation.coded(change))
        matrix = ColorMatrix(self.native, self.tags)
        aligned = grow_to_grid(coded_region, *self.native.grid, self.frame.width, self.frame.height)
        change = _pad(matrix.project(change), coded_region, aligned)
        self.frame.make_writable()  # decoders still use reference frames
        for plane in range(PLANES):
            steps = (1, 1) if plane == 0 or self.native.is_rgb else self.native.grid
            samples = plane_array(self.frame, plane, self.native)[self.native.plane_region(plane, aligned)]
            _add_clipped(samples, _block_mean(change[..., plane], *steps), *matrix.legal(plane))


def align_region(
    region: Region, size: tuple[int, int], native: NativeFormat, orientation: Orientation, multiple: int = 1
) -> Region:
    """Grow a region so that its edges fall on chroma samples. Aligned regions are cheaper to read and change.

    Args:
        region: x1, y1, x2, y2 in upright pixels.
        size: width and height of the upright picture.
        native: the picture's format.
        orientation: the picture's orientation.
        multiple: edges also fall on multiples of this many pixels of the coded picture.
    """
    width, height = size
    coded = orientation.coded_region(region, width, height)
    across, down = (math.lcm(step, multiple) for step in native.grid)
    grown = grow_to_grid(coded, across, down, *orientation.size(width, height))
    return orientation.upright_region(grown, width, height)


def _changed_box(before: np.ndarray, after: np.ndarray) -> Region | None:
    changed = cv2.absdiff(before, after).reshape(len(before), -1)  # three columns for a pixel
    x, y, width, height = cv2.boundingRect(changed)
    return (x // 3, y, (x + width - 1) // 3 + 1, y + height) if width else None


def _pad(change: np.ndarray, inner: Region, outer: Region) -> np.ndarray:
    (left, top, right, bottom) = (abs(a - b) for a, b in zip(inner, outer, strict=True))
    if not (left or top or right or bottom):
        return change
    return np.pad(change, ((top, bottom), (left, right), (0, 0)))


def _block_mean(change: np.ndarray, across: int, down: int) -> np.ndarray:
    height, width = change.shape
    if height % down or width % across:  # the picture's own edge cuts the last chroma block
        change = np.pad(change, ((0, -height % down), (0, -width % across)), mode="edge")
    if (across, down) == (1, 1):
        return change
    size = (change.shape[1] // across, change.shape[0] // down)
    return cv2.resize(change, size, interpolation=cv2.INTER_AREA)


def _add_clipped(samples: np.ndarray, change: np.ndarray, low: int, high: int) -> None:
    present = samples.astype(np.float32)
    wanted = np.rint(change)
    wanted += present
    np.maximum(wanted, np.minimum(present, low), out=wanted)
    np.minimum(wanted, np.maximum(present, high), out=wanted)
    samples[:] = wanted


def _shrink(rgb: np.ndarray, long_side: int) -> np.ndarray:
    frame = av.VideoFrame.from_ndarray(rgb, "rgb24")
    return convert(frame, "rgb24", ColorTags(), fit_long_side(frame.width, frame.height, long_side)).to_ndarray()
