"""Static HDR metadata (HDR10): the mastering display and the light levels, from frames to encoders' parameters."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

import av
from av.sidedata.sidedata import SideData

from client.media.carried.parameters import with_parameters

CHROMATICITY_UNITS = 50_000  # per unit of CIE 1931 x and y, as SMPTE ST 2086 counts
LUMINANCE_UNITS = 10_000  # per candela per square metre
MOST_UNITS = 2**32 - 1  # of luminance
MOST_LIGHT = 2**16 - 1  # candela per square metre, of light levels

# AVMasteringDisplayMetadata: ten rationals (x and y of red, green, blue and white, lowest and highest luminance), then
# whether there are primaries and luminance. AVContentLightMetadata: two numbers.
MASTERING_LAYOUT = struct.Struct("=20i2i")
LIGHT_LAYOUT = struct.Struct("=2I")

Point = tuple[Fraction, Fraction]

PARAMETERS = {  # encoder -> its names of mastering display and light levels
    "libx264": ("mastering-display", "cll"),
    "libx265": ("master-display", "max-cll"),
    "libsvtav1": ("mastering-display", "content-light"),
}
DECIMAL_ENCODERS = ("libsvtav1",)  # that count in x, y and candela per square metre


@dataclass(frozen=True)
class MasteringDisplay:
    """The display that a video was graded on.

    Attributes:
        red, green, blue, white: CIE 1931 x and y.
        lowest, highest: luminance, in candela per square metre.
    """

    red: Point
    green: Point
    blue: Point
    white: Point
    lowest: Fraction
    highest: Fraction

    @property
    def is_possible(self) -> bool:
        """Whether there can be such a display; x264 refuses others."""
        points = (*self.red, *self.green, *self.blue, *self.white)
        return (
            all(0 <= part <= 1 for part in points) and 0 <= self.lowest < self.highest <= MOST_UNITS / LUMINANCE_UNITS
        )

    def text(self, *, decimal: bool) -> str:
        """Write it as encoders read it, in decimal numbers or in ST 2086's units."""
        colour, light = (1, 1) if decimal else (CHROMATICITY_UNITS, LUMINANCE_UNITS)
        points = {"G": self.green, "B": self.blue, "R": self.red, "WP": self.white}
        parts = [f"{name}({_number(x * colour, decimal)},{_number(y * colour, decimal)})" for name, (x, y) in
                 points.items()]  # fmt: skip
        return "".join(parts) + f"L({_number(self.highest * light, decimal)},{_number(self.lowest * light, decimal)})"


@dataclass(frozen=True)
class StaticHdr:
    """What HDR10 says about a whole video.

    Attributes:
        display: the mastering display; None if it is not stated.
        light: highest and highest average light level (MaxCLL, MaxFALL), in candela per square metre; None likewise.
    """

    display: MasteringDisplay | None = None
    light: tuple[int, int] | None = None

    @classmethod
    def of_frame(cls, frame: av.VideoFrame) -> StaticHdr:
        """Read a frame's HDR metadata; impossible values are dropped."""
        data = frame_data(frame)
        display = data.get("MASTERING_DISPLAY_METADATA", b"")
        light = data.get("CONTENT_LIGHT_LEVEL", b"")
        return cls(_display(display), _light(light))

    @property
    def is_stated(self) -> bool:
        """Whether there is anything to carry over."""
        return self.display is not None or self.light is not None

    def kept_by(self, encoder: str) -> bool:
        """Return whether an encoder writes it into its stream."""
        return not self.is_stated or encoder in PARAMETERS

    def add_to(self, options: Mapping[str, str], encoder: str) -> dict[str, str]:
        """Return an encoder's options with these facts among its parameters."""
        if not self.is_stated or encoder not in PARAMETERS:
            return dict(options)
        display_name, light_name = PARAMETERS[encoder]
        parameters: list[str] = []
        if self.display is not None:
            parameters.append(f"{display_name}={self.display.text(decimal=encoder in DECIMAL_ENCODERS)}")
        if self.light is not None:
            parameters.append(f"{light_name}={self.light[0]},{self.light[1]}")
        return with_parameters(options, encoder, *parameters)


def frame_data(frame: av.VideoFrame) -> dict[str, bytes]:
    """Return a frame's side data by name; nothing where it holds data newer than PyAV's list of names."""
    try:
        return {data.type.name: bytes(data) for data in _every(frame)}
    except ValueError:
        return {}


def _every(frame: av.VideoFrame) -> Iterator[SideData]:
    """Yield a frame's side data by index, which works with PyAV 18 and 19; iterating gives types in 19."""
    for index in itertools.count():
        try:
            yield frame.side_data[index]  # type: ignore[literal-required]  # PyAV's stub
        except IndexError:
            return


def _display(data: bytes) -> MasteringDisplay | None:
    if len(data) < MASTERING_LAYOUT.size:
        return None
    *rationals, has_primaries, has_luminance = MASTERING_LAYOUT.unpack_from(data)
    pairs = list(zip(rationals[::2], rationals[1::2], strict=True))
    if not (has_primaries and has_luminance) or not all(below for _, below in pairs):
        return None
    values = [Fraction(above, below) for above, below in pairs]
    red, green, blue, white = ((values[i], values[i + 1]) for i in range(0, 8, 2))
    display = MasteringDisplay(red, green, blue, white, lowest=values[8], highest=values[9])
    return display if display.is_possible else None


def _light(data: bytes) -> tuple[int, int] | None:
    if len(data) < LIGHT_LAYOUT.size:
        return None
    highest, average = LIGHT_LAYOUT.unpack_from(data)
    return (highest, average) if max(highest, average) <= MOST_LIGHT else None


def _number(value: Fraction, decimal: bool) -> str:
    return f"{float(value):.5f}" if decimal else str(round(value))
