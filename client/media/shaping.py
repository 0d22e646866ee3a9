"""Converts pictures to the size, pixel format and orientation that the encoder and its container accept."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np

from client.media.containers import Container
from client.media.encoders import EncoderChoice, is_exact
from client.media.geometry import Orientation
from client.media.picture import PLANES, Picture
from client.media.pixels import BT709, LIMITED_RANGE, ColorTags, NativeFormat, convert, parse_native, plane_array
from client.media.source import VideoSource

FROM_RGB = ColorTags(LIMITED_RANGE, BT709, BT709, BT709)  # of RGB pictures stored as YUV
RGB_SPACE = 0  # AVCOL_SPC_RGB
MAX_RATIO = 4  # of a pixel's sides; more is a damaged header, and no reason to scale
PICTURE_TYPE_NONE = 0  # the encoder decides


def stored_native(source: VideoSource, container: Container) -> NativeFormat:
    """Return the native format of the stored pictures, which are upright if the container cannot store a rotation."""
    turns = _turns_pixels(source, container) and source.facts.orientation.transposed
    return source.facts.native.transposed if turns else source.facts.native


class FrameShape:
    """Size, pixel format, rotation and colours of the encoded frames, and the conversion to them.

    Attributes:
        width: encoded width, in pixels.
        height: encoded height, in pixels.
        turn: how pixels are turned, where the container cannot state a rotation.
        orientation: rotation that the container states.
        tags: colour tags that encoder and container state.
        sample_aspect_ratio: width by height of an encoded pixel.
        warnings: what the user should know.
    """

    def __init__(self, source: VideoSource, choice: EncoderChoice) -> None:
        """Determine which conversions the source's pictures need for this encoder."""
        facts = source.facts
        self.turn = facts.orientation if _turns_pixels(source, choice.container) else Orientation()
        self._native = stored_native(source, choice.container)
        self._pix_fmt = choice.pix_fmt
        self.orientation = Orientation() if self.turn.is_turned else facts.orientation
        width, height = self.turn.size(facts.coded_width, facts.coded_height)
        ratio = facts.sample_aspect_ratio
        self.sample_aspect_ratio = 1 / ratio if self.turn.transposed and ratio else ratio
        self._ratio_lost = self.sample_aspect_ratio != 1 and not choice.keeps_aspect_ratio
        self._size = (width, height)
        self._squares = self._ratio_lost and not choice.lossless and 1 / MAX_RATIO <= ratio <= MAX_RATIO
        if self._squares:
            self._size = square_size(width, height, self.sample_aspect_ratio)
            self.sample_aspect_ratio = Fraction(1)
        self._padding = _padding(*self._size, choice)
        self.width, self.height = self._size[0] + self._padding[0], self._size[1] + self._padding[1]
        self.tags = self._tags(facts.tags)
        self.warnings = list(self._describe(source, choice))

    def prepare(self, picture: Picture) -> av.VideoFrame:
        """Return the frame to encode; the picture's own if nothing has to change."""
        frame = picture.frame
        if self.turn.is_turned:
            frame = _turned(picture, self._native)
        if (frame.width, frame.height) != self._size:
            frame = convert(frame, self._native.name, picture.tags, self._size)
        if any(self._padding):
            frame = _padded(frame, self._native, *self._padding)
        if frame.format.name != self._pix_fmt:
            frame = convert(frame, self._pix_fmt, picture.tags, target=self.tags)
        frame.pict_type = PICTURE_TYPE_NONE
        frame.color_range, frame.colorspace = self.tags.range, self.tags.space  # ProRes writes those of each frame
        frame.color_primaries, frame.color_trc = self.tags.primaries, self.tags.transfer
        return frame

    def _tags(self, tags: ColorTags) -> ColorTags:
        if not self._native.is_rgb:
            return tags
        if self._pix_fmt.startswith(("bgr", "gbr")):
            return ColorTags(tags.range, RGB_SPACE, tags.primaries, tags.transfer)
        return FROM_RGB

    def _describe_ratio(self, source: VideoSource, choice: EncoderChoice) -> str:
        ratio = source.facts.sample_aspect_ratio
        pixels = f"its oblong pixels ({ratio.numerator}:{ratio.denominator})"
        held = f"{choice.codec.name} in {choice.container.suffixes[0]} files cannot state their shape"
        if self._squares:
            return f"{pixels} were scaled to square ones, {self.width}x{self.height}, because {held}"
        return f"{pixels} will be shown square, because {held}; write a .mov file to keep it"

    def _describe(self, source: VideoSource, choice: EncoderChoice) -> list[str]:
        lines = []
        if self._ratio_lost:
            lines.append(f"{source.path.name}: {self._describe_ratio(source, choice)}")
        if any(self._padding):
            lines.append(
                f"{source.path.name}: its odd size became {self.width}x{self.height}, because {choice.pix_fmt} "
                "needs even sizes; the last row or column is repeated"
            )
        exact = is_exact(source.facts.native, choice.pix_fmt)
        if not exact and not (source.is_still and source.bit_depth == 8):
            lines.append(
                f"{source.path.name}: its {source.facts.native.name} pixels became {choice.pix_fmt}, the "
                f"nearest format that {choice.encoder.removeprefix('lib')} accepts"
            )
        return lines


def square_size(width: int, height: int, ratio: Fraction) -> tuple[int, int]:
    """Return the even size at which square pixels show what pixels of another shape do; no side gets smaller.

    Args:
        width: width, in pixels.
        height: height, in pixels.
        ratio: width by height of a pixel.
    """
    if ratio > 1:
        return 2 * round(width * ratio / 2), height
    return width, 2 * round(height / ratio / 2)


def _turns_pixels(source: VideoSource, container: Container) -> bool:
    return not container.keeps_rotation and source.facts.orientation.is_turned


def _padding(width: int, height: int, choice: EncoderChoice) -> tuple[int, int]:
    if not choice.codec.needs_even_size or choice.pix_fmt.startswith("bgr"):
        return 0, 0
    across, down = parse_native(choice.pix_fmt).grid
    return -width % across, -height % down


def _turned(picture: Picture, native: NativeFormat) -> av.VideoFrame:
    source = picture.frame
    if picture.native.transposed.transposed != picture.native:  # 4:1:1 has no turned counterpart
        source = convert(source, native.name, picture.tags)
    stored = parse_native(source.format.name)
    frame = av.VideoFrame(picture.width, picture.height, native.name)
    for plane in range(PLANES):
        plane_array(frame, plane, native)[:] = picture.orientation.upright(plane_array(source, plane, stored))
    return frame


def _padded(frame: av.VideoFrame, native: NativeFormat, across: int, down: int) -> av.VideoFrame:
    padded = av.VideoFrame(frame.width + across, frame.height + down, native.name)
    for plane in range(PLANES):
        target, samples = plane_array(padded, plane, native), plane_array(frame, plane, native)
        missing = [(0, theirs - ours) for theirs, ours in zip(target.shape, samples.shape, strict=True)]
        target[:] = np.pad(samples, missing, mode="edge")
    return padded
