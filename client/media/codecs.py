"""The video codecs that outputs can be encoded with: one record each. Opens no file.

To add a codec, add a record to `CODECS`: what it may be called, which containers hold it and how `auto` chooses it
all follow from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import cv2

PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
DEFAULT_PRESET = "veryfast"  # 0.4 s per second of 1080x1920 with 2 threads; medium takes 0.9 for files as large
MAX_CRF = 51  # the lowest quality on x264's scale
DEFAULT_CRF = 18
AUTOMATIC = "auto"
AVX_512F = 13  # OpenCV's number of the processor feature

LOOKAHEAD = 10  # frames; each holds a picture, and more gains little at constant quality
LOOKAHEAD_PIXELS = LOOKAHEAD * 4096 * 2304  # in all; for larger pictures, memory counts more than small files
VPX_MAX_CRF = 63  # the lowest quality on the scale of VP9 and AV1
VPX_MAX_GOOD_SPEED = 5  # with the "good" deadline
SVT_PRESETS = dict(zip(PRESETS, (12, 11, 10, 9, 8, 7, 5, 4, 2), strict=True))
VPX_SPEEDS = dict(zip(PRESETS, (8, 7, 6, 5, 4, 3, 2, 1, 0), strict=True))

Output = Literal["8-bit", "deep", "lossless 8-bit", "lossless deep"]  # deep: more than 8 bits per sample


@dataclass(frozen=True)
class EncoderSettings:
    """What the user asks of an encoder.

    Attributes:
        crf: constant quality on x264's scale, 0 to 51; smaller is better.
        preset: speed, one of `PRESETS`.
        lossless: whether every sample is kept.
        threads: encoder threads.
        pixels: pixels per frame.
    """

    crf: int
    preset: str
    lossless: bool
    threads: int
    pixels: int

    @property
    def lookahead(self) -> int:
        """Frames that the encoder may hold to decide on a frame."""
        return max(1, min(LOOKAHEAD, LOOKAHEAD_PIXELS // self.pixels))

    @property
    def saves_memory(self) -> bool:
        """Whether pictures are so large that the encoder holds as few of them as it can."""
        return self.lookahead < LOOKAHEAD

    @property
    def vpx_crf(self) -> str:
        """The same quality on the scale of VP9 and AV1."""
        return str(round(self.crf * VPX_MAX_CRF / MAX_CRF))


@dataclass(frozen=True)
class Codec:
    """One video codec.

    Attributes:
        name: what users call it.
        title: what a form calls it.
        encoder: FFmpeg's name of its encoder.
        containers: muxers of the containers that hold it.
        options: encoder options for the user's settings.
        lossless_depth: most bits per sample that it keeps exactly; 0 if it is never lossless.
        automatic: the kinds of output that `auto` uses it for, each with its rank; the lowest rank is chosen among
            the codecs that the container holds.
        only_by_name: muxers of containers in which `auto` never uses it.
        tags: codec tag by muxer, where players insist on one.
        lossless_rgb_encoder: encoder for lossless RGB, where it is another one.
        keeps_rgb: whether RGB pictures stay RGB even when they are not asked to be lossless.
        keeps_aspect_ratio: whether its own header stores the shape of oblong pixels.
        needs_even_size: whether width and height must be multiples of the chroma grid.
    """

    name: str
    title: str
    encoder: str
    containers: tuple[str, ...]
    options: Callable[[EncoderSettings], dict[str, str]]
    lossless_depth: int = 0
    automatic: Mapping[Output, int] = field(default_factory=dict)
    only_by_name: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    lossless_rgb_encoder: str | None = None
    keeps_rgb: bool = False
    keeps_aspect_ratio: bool = False
    needs_even_size: bool = False


def _h264_options(settings: EncoderSettings) -> dict[str, str]:
    quality = {"qp": "0"} if settings.lossless else {"crf": str(settings.crf)}
    held = {"refs": "1", "bf": "0"} if settings.saves_memory else {}
    return {"preset": settings.preset, "rc-lookahead": str(settings.lookahead), **quality, **held, **_h264_machine()}


def _h264_machine() -> dict[str, str]:
    """Keep x264 from AVX-512: its lookahead then reads memory that nobody wrote, and the same job gives other files."""
    return {"x264-params": "asm=avx2"} if cv2.checkHardwareSupport(AVX_512F) else {}


def _hevc_options(settings: EncoderSettings) -> dict[str, str]:
    params = f"log-level=none:pools={settings.threads}:frame-threads=1:rc-lookahead={settings.lookahead}"
    if settings.saves_memory:
        params += ":ref=1:bframes=0"
    if settings.lossless:
        return {"preset": settings.preset, "x265-params": f"{params}:lossless=1"}
    return {"preset": settings.preset, "crf": str(settings.crf), "x265-params": params}


def _av1_options(settings: EncoderSettings) -> dict[str, str]:
    preset = str(SVT_PRESETS[settings.preset])
    params = f"lp={settings.threads}"
    if settings.saves_memory:
        params += f":lookahead={settings.lookahead}"
    return {"preset": preset, "crf": settings.vpx_crf, "svtav1-params": params}


def _vp9_options(settings: EncoderSettings) -> dict[str, str]:
    quality = {"lossless": "1"} if settings.lossless else {"crf": settings.vpx_crf, "b": "0"}
    speed, lag = min(VPX_SPEEDS[settings.preset], VPX_MAX_GOOD_SPEED), settings.lookahead
    return {"deadline": "good", "cpu-used": str(speed), "row-mt": "1", "lag-in-frames": str(lag), **quality}


def _ffv1_options(settings: EncoderSettings) -> dict[str, str]:  # noqa: ARG001  # always lossless
    return {"level": "3", "slicecrc": "1"}  # it chooses how many slices, as few sizes can be cut into a given number


def _prores_options(settings: EncoderSettings) -> dict[str, str]:  # noqa: ARG001  # the pixel format chooses the profile
    return {}


CODECS = (
    Codec(
        "h264",
        "H.264",
        "libx264",
        ("mp4", "mov", "matroska", "avi", "mpegts", "flv"),
        _h264_options,
        lossless_depth=8,
        automatic={"8-bit": 0, "deep": 2, "lossless 8-bit": 1},
        lossless_rgb_encoder="libx264rgb",
        keeps_aspect_ratio=True,
        needs_even_size=True,
    ),
    Codec(
        "hevc",
        "HEVC (H.265)",
        "libx265",
        ("mp4", "mov", "matroska", "mpegts"),
        _hevc_options,
        lossless_depth=16,
        automatic={"deep": 0, "lossless deep": 1},
        tags={"mp4": "hvc1", "mov": "hvc1"},
        keeps_aspect_ratio=True,
        needs_even_size=True,
    ),
    Codec(
        "av1",
        "AV1",
        "libsvtav1",
        ("mp4", "matroska", "webm"),
        _av1_options,
        automatic={"deep": 1},
        needs_even_size=True,
    ),
    Codec(
        "vp9",
        "VP9",
        "libvpx-vp9",
        ("mp4", "matroska", "webm"),
        _vp9_options,
        lossless_depth=16,
        automatic={"8-bit": 1, "lossless 8-bit": 2, "lossless deep": 2},
    ),
    Codec(
        "ffv1",
        "FFV1, lossless",
        "ffv1",
        ("mov", "matroska", "avi"),
        _ffv1_options,
        lossless_depth=16,
        automatic={"lossless 8-bit": 0, "lossless deep": 0},
        only_by_name=("mov",),  # players that open mov files do not know it
        keeps_rgb=True,
    ),
    Codec("prores", "ProRes", "prores_ks", ("mov", "matroska"), _prores_options, needs_even_size=True),
)


def codecs_in(muxer: str) -> list[Codec]:
    """List the codecs that a container holds."""
    return [codec for codec in CODECS if muxer in codec.containers]


def automatic_codec(muxer: str, depth: int, *, lossless: bool) -> Codec:
    """Choose a container's codec for pictures of some bits per sample."""
    output = _output_kind(depth, lossless=lossless)
    held = codecs_in(muxer)
    ranked = [codec for codec in held if output in codec.automatic and muxer not in codec.only_by_name]
    return min(ranked, key=lambda codec: codec.automatic[output], default=held[0])


def _output_kind(depth: int, *, lossless: bool) -> Output:
    if lossless:
        return "lossless 8-bit" if depth == 8 else "lossless deep"
    return "8-bit" if depth == 8 else "deep"
