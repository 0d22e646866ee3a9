"""Pixel formats: the native formats that pictures are stored in, their planes, and colour conversion."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

LIMITED_RANGE, FULL_RANGE = 1, 2  # AVCOL_RANGE_MPEG, AVCOL_RANGE_JPEG
COLOR_UNSPECIFIED = 2  # AVCOL_SPC_, AVCOL_PRI_ and AVCOL_TRC_UNSPECIFIED alike
BT709 = 1  # as matrix, primaries and transfer alike

# Luma weights of red and blue by AVColorSpace (H.273 table 4). Untagged video is read as BT.601, as FFmpeg does.
LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}
BT601_WEIGHTS = (0.299, 0.114)
SWSCALE_MATRIX = {1: 1, 4: 4, 7: 7, 9: 9, 10: 9}  # AVColorSpace -> SWS_CS
SWSCALE_BT601 = 5

CHROMA_SHIFTS = {"420": (1, 1), "422": (1, 0), "444": (0, 0), "440": (0, 1), "411": (2, 0), "410": (2, 2)}
NATIVE_PATTERN = re.compile(r"(?:yuv(?P<chroma>\d{3})p|(?P<rgb>gbrp))(?P<depth>9|10|12|14|16)?(?P<little>le)?")

# The same samples in another memory layout: swscale only moves them.
REARRANGED = {
    "nv12": "yuv420p", "nv21": "yuv420p", "nv16": "yuv422p", "nv24": "yuv444p", "nv42": "yuv444p",
    "p010": "yuv420p10le", "p012": "yuv420p12le", "p016": "yuv420p16le", "nv20": "yuv422p10le",
    "p210": "yuv422p10le", "p212": "yuv422p12le", "p216": "yuv422p16le",
    "p410": "yuv444p10le", "p412": "yuv444p12le", "p416": "yuv444p16le",
    "yuyv422": "yuv422p", "uyvy422": "yuv422p", "yvyu422": "yuv422p", "uyyvyy411": "yuv411p",
    "y210": "yuv422p10le", "y212": "yuv422p12le", "y216": "yuv422p16le",
    "ayuv": "yuv444p", "vuya": "yuv444p", "vuyx": "yuv444p", "uyva": "yuv444p", "vyu444": "yuv444p",
    "ayuv64": "yuv444p16le", "xv30": "yuv444p10le", "xv36": "yuv444p12le", "xv48": "yuv444p16le",
}  # fmt: skip
RGB_DEPTHS = (8, 9, 10, 12, 14, 16)

UNSCALED = Interpolation.BILINEAR
SHRINKING = Interpolation.AREA
ENLARGING = Interpolation.BICUBIC


@dataclass(frozen=True)
class ColorTags:
    """Colour range, matrix (space), primaries and transfer, in FFmpeg's numbers (ITU-T H.273)."""

    range: int = 0
    space: int = COLOR_UNSPECIFIED
    primaries: int = COLOR_UNSPECIFIED
    transfer: int = COLOR_UNSPECIFIED

    @classmethod
    def of_frame(cls, frame: av.VideoFrame) -> ColorTags:
        """Read a frame's tags; the old yuvj formats are full range by name."""
        full = frame.format.name.startswith("yuvj")
        return cls(
            FULL_RANGE if full else int(frame.color_range),
            int(frame.colorspace),
            int(frame.color_primaries),
            int(frame.color_trc),
        )

    @property
    def is_full_range(self) -> bool:
        """Whether samples use the full range; untagged YUV does not."""
        return self.range == FULL_RANGE

    @property
    def luma_weights(self) -> tuple[float, float]:
        """Weights of red and blue in luma."""
        return LUMA_WEIGHTS.get(self.space, BT601_WEIGHTS)

    @property
    def swscale(self) -> tuple[int, int]:
        """Matrix and range in swscale's numbers."""
        return SWSCALE_MATRIX.get(self.space, SWSCALE_BT601), FULL_RANGE if self.is_full_range else LIMITED_RANGE


@dataclass(frozen=True)
class NativeFormat:
    """A planar format that pictures are stored in: three planes, little-endian.

    Attributes:
        name: FFmpeg's name of the pixel format.
        depth: bits per sample.
        is_rgb: whether the planes are green, blue and red.
        chroma_shift: log2 of the pixels per chroma sample, across and down.
    """

    name: str
    depth: int
    is_rgb: bool
    chroma_shift: tuple[int, int]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of one sample."""
        return np.dtype("u1") if self.depth == 8 else np.dtype("<u2")

    @property
    def grid(self) -> tuple[int, int]:
        """Pixels per chroma sample, across and down."""
        return 1 << self.chroma_shift[0], 1 << self.chroma_shift[1]

    @property
    def transposed(self) -> NativeFormat:
        """The format after swapping rows and columns; 4:4:4 where there is none, as for 4:1:1."""
        across, down = self.chroma_shift
        for chroma, shift in CHROMA_SHIFTS.items():
            if shift == (down, across) and not self.is_rgb:
                return parse_native(self.name.replace(self.name[3:6], chroma))
        return self if self.is_rgb else parse_native(self.name.replace(self.name[3:6], "444"))

    def plane_region(self, plane: int, region: tuple[int, int, int, int]) -> tuple[slice, slice]:
        """Return the rows and columns that a region (x1, y1, x2, y2 in pixels) covers in one plane."""
        across, down = self.chroma_shift if plane and not self.is_rgb else (0, 0)
        x1, y1, x2, y2 = region
        return slice(y1 >> down, -(-y2 >> down)), slice(x1 >> across, -(-x2 >> across))


@lru_cache
def parse_native(name: str) -> NativeFormat:
    """Parse the name of a native format.

    Raises:
        ValueError: the format is not native.
    """
    match = NATIVE_PATTERN.fullmatch(name)
    if not match or (match["chroma"] and match["chroma"] not in CHROMA_SHIFTS):
        raise ValueError(f"pix_fmt: expected a planar YUV or GBR format, got {name}. Convert it with to_native")
    shift = (0, 0) if match["rgb"] else CHROMA_SHIFTS[match["chroma"]]
    return NativeFormat(name, int(match["depth"] or 8), bool(match["rgb"]), shift)


@lru_cache
def nearest_native(name: str) -> NativeFormat:
    """Choose the native format that represents every sample of an FFmpeg pixel format."""
    plain = re.sub(r"[lb]e$", "", name)
    if plain in REARRANGED:
        return parse_native(REARRANGED[plain])
    if plain.startswith(("gray", "ya")) and "f" not in plain:
        return parse_native(_planar("yuv420p", _depth(name)))
    planar = re.sub(r"^yuv[ja]", "yuv", re.sub(r"^gbrap", "gbrp", plain))
    if NATIVE_PATTERN.fullmatch(planar):
        return parse_native(planar if planar.endswith("p") else planar + "le")
    return parse_native(_planar("gbrp", min(depth for depth in RGB_DEPTHS if depth >= min(_depth(name), 16))))


def has_alpha(name: str) -> bool:
    """Return whether a pixel format has an alpha channel."""
    return bool(re.search(r"^(yuva|gbrap|ya\d|rgba|bgra|argb|abgr|ayuv|vuya|uyva|pal8)", name))


def is_transparent(frame: av.VideoFrame) -> bool:
    """Return whether any pixel of a frame is not opaque."""
    if not has_alpha(frame.format.name):
        return False
    alpha = convert(frame, "rgba", ColorTags()).to_ndarray()[..., 3]
    return bool(alpha.min() < 255)


def plane_array(frame: av.VideoFrame, plane: int, native: NativeFormat) -> np.ndarray:
    """View one plane of a native frame as a writable array [h, w], uint8 or little-endian uint16."""
    source = frame.planes[plane]
    shape, itemsize = (source.height, source.width), native.dtype.itemsize
    return np.ndarray(shape, native.dtype, buffer=memoryview(source), strides=(source.line_size, itemsize))


def convert(
    frame: av.VideoFrame,
    format_name: str,
    tags: ColorTags,
    size: tuple[int, int] | None = None,
    target: ColorTags | None = None,
) -> av.VideoFrame:
    """Convert a frame with swscale.

    Args:
        frame: the frame; its own tags are ignored.
        format_name: pixel format of the result.
        tags: colour tags of the frame.
        size: width and height of the result; the frame's own if absent.
        target: colour tags of the result; the frame's own if absent.
    """
    width, height = size or (frame.width, frame.height)
    source_matrix, source_range = tags.swscale
    target_matrix, target_range = (target or tags).swscale
    return _reformatter().reformat(
        frame, width, height, format_name, source_matrix, target_matrix, _interpolation(frame, width, height),
        source_range, target_range, threads=1,
    )  # fmt: skip


def to_native(frame: av.VideoFrame, tags: ColorTags) -> av.VideoFrame:
    """Convert a decoded frame to its native format; most frames are in it already and are returned unchanged."""
    name = frame.format.name
    native = nearest_native(name)
    if name == native.name:
        return frame
    if name.startswith(("yuvj", "yuva")) and not name.endswith("be"):
        return _copy_planes(frame, native, 3)
    if re.match(r"(gray|ya)\d*(le)?$", name):
        return _gray_to_native(frame, native, tags)
    if re.match(r"gbrap(\d+le)?$", name):
        return _planes_on_black(frame, native)
    if has_alpha(name) and native.is_rgb:
        frame = _on_black(frame, tags)
    return convert(frame, native.name, tags)


class ColorMatrix:
    """The linear part of the conversion from RGB to a native format."""

    def __init__(self, native: NativeFormat, tags: ColorTags) -> None:
        """Prepare for samples of this format with these tags."""
        self._native = native
        self._tags = tags

    @cached_property
    def weights(self) -> np.ndarray:
        """float32 [3, 3] matrix from 8-bit RGB to the samples of planes 0, 1, 2."""
        top = float((1 << self._native.depth) - 1)
        if self._native.is_rgb:  # the planes are green, blue, red
            return np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], np.float32) * np.float32(top / 255)
        red, blue = self._tags.luma_weights
        luma = np.array([red, 1 - red - blue, blue])
        chroma_blue = (np.array([0, 0, 1]) - luma) / (2 * (1 - blue))
        chroma_red = (np.array([1, 0, 0]) - luma) / (2 * (1 - red))
        limited = float(1 << (self._native.depth - 8))
        luma_scale, chroma_scale = (top, top) if self._tags.is_full_range else (219 * limited, 224 * limited)
        rows = [luma * luma_scale, chroma_blue * chroma_scale, chroma_red * chroma_scale]
        return (np.stack(rows) / 255).astype(np.float32)

    def legal(self, plane: int) -> tuple[int, int]:
        """Return the lowest and highest legal sample of a plane."""
        if self._native.is_rgb or self._tags.is_full_range:
            return 0, (1 << self._native.depth) - 1
        return 16 << (self._native.depth - 8), (240 if plane else 235) << (self._native.depth - 8)

    def project(self, change: np.ndarray) -> np.ndarray:
        """Convert a difference in RGB, float32 [h, w, 3], to one in full-size planes, float32 [h, w, 3]."""
        return cv2.transform(change, self.weights)


def _interpolation(frame: av.VideoFrame, width: int, height: int) -> Interpolation:
    if (width, height) == (frame.width, frame.height):
        return UNSCALED
    return ENLARGING if width >= frame.width and height >= frame.height else SHRINKING


_local = threading.local()


def _reformatter() -> VideoReformatter:
    if not hasattr(_local, "reformatter"):  # threads must not share swscale contexts
        _local.reformatter = VideoReformatter()
    reformatter: VideoReformatter = _local.reformatter
    return reformatter


def _planar(prefix: str, depth: int) -> str:
    return prefix if depth == 8 else f"{prefix}{depth}le"


def _depth(name: str) -> int:
    return max([8, *(component.bits for component in av.VideoFormat(name).components)])


def _copy_planes(frame: av.VideoFrame, native: NativeFormat, count: int) -> av.VideoFrame:
    copied = av.VideoFrame(frame.width, frame.height, native.name)
    for plane in range(count):
        plane_array(copied, plane, native)[:] = plane_array(frame, plane, native)
    return copied


def _gray_to_native(frame: av.VideoFrame, native: NativeFormat, tags: ColorTags) -> av.VideoFrame:
    if frame.format.name.startswith("ya"):
        frame = convert(frame, "gray" if native.depth == 8 else "gray16le", tags)
    copied = _copy_planes(frame, native, 1)
    for plane in (1, 2):
        plane_array(copied, plane, native)[:] = 1 << (native.depth - 1)
    return copied


def _planes_on_black(frame: av.VideoFrame, native: NativeFormat) -> av.VideoFrame:
    """Do as `_on_black` in the samples' own depth, which keeps opaque ones as they are."""
    top = (1 << native.depth) - 1
    alpha = plane_array(frame, 3, native).astype(np.uint64)
    opaque = av.VideoFrame(frame.width, frame.height, native.name)
    for plane in range(3):
        plane_array(opaque, plane, native)[:] = (plane_array(frame, plane, native) * alpha + top // 2) // top
    return opaque


def _on_black(frame: av.VideoFrame, tags: ColorTags) -> av.VideoFrame:
    deep = _depth(frame.format.name) > 8
    rgba = convert(frame, "rgba64le" if deep else "rgba", replace(tags, range=FULL_RANGE)).to_ndarray()
    top = 65535 if deep else 255
    opaque = (rgba[..., :3].astype(np.uint32) * rgba[..., 3:] + top // 2) // top
    if deep:
        return av.VideoFrame.from_ndarray(opaque.astype(np.uint16), "rgb48le")
    return av.VideoFrame.from_ndarray(opaque.astype(np.uint8), "rgb24")
