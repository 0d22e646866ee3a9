"""The encoders in NVIDIA's graphics cards: what they are asked for, and whether this machine has one that works.

Cards for computing alone (A100, H100, H200) have none. Not run on a card yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Literal, cast

import av
from av.video.codeccontext import VideoCodecContext

from client.errors import UsageError, ref
from client.media.codecs import PRESETS
from client.media.encoders import EncoderChoice

EncoderKind = Literal["software", "auto", "nvenc"]
NVENC: Mapping[str, str] = {"h264": "h264_nvenc", "hevc": "hevc_nvenc", "av1": "av1_nvenc"}  # by codec
FORMATS = ("yuv420p", "yuv444p")  # that need no conversion; deeper ones are interleaved there
NVENC_PRESETS = dict(zip(PRESETS, ("p1", "p1", "p2", "p3", "p3", "p4", "p5", "p6", "p7"), strict=True))
PROBE_RATE = Fraction(1, 25)


def with_card(
    choice: EncoderChoice, kind: EncoderKind, crf: int, preset: str, size: tuple[int, int]
) -> tuple[EncoderChoice, list[str]]:
    """Have a graphics card encode where that is asked for and possible.

    Args:
        choice: how the processor would encode.
        kind: software leaves it at that; auto falls back to it; nvenc insists on a card.
        crf: constant quality on x264's scale, taken for the card's own constant quality.
        preset: speed, one of `PRESETS`.
        size: width and height of the encoded pictures, in pixels.

    Returns:
        How to encode, and what the user should know.

    Raises:
        UsageError: nvenc was asked for, and cannot be used.
    """
    if kind == "software":
        return choice, []
    on_card = replace(choice, encoder=NVENC.get(choice.codec.name, ""), options=_options(choice, crf, preset))
    problem = _problem(choice, on_card, size)
    if problem is None:
        return on_card, []
    if kind == "nvenc":
        raise UsageError(
            option="encoder",
            expected=f"a graphics card that encodes {choice.codec.title}",
            got=problem,
            advice=f"Choose {ref('encoder')} software, or auto",
        )
    return choice, [f"{ref('encoder')}: the processor encoded, not a graphics card: {problem}"]


def _options(choice: EncoderChoice, crf: int, preset: str) -> dict[str, str]:
    kept = {name: value for name, value in choice.options.items() if name == "bf"}
    return {"preset": NVENC_PRESETS[preset], "rc": "vbr", "cq": str(crf), "b": "0", **kept}


def _problem(choice: EncoderChoice, on_card: EncoderChoice, size: tuple[int, int]) -> str | None:
    """Return why a card cannot encode this; None if it can."""
    if not on_card.encoder:
        return f"cards encode {', '.join(NVENC)}, not {choice.codec.name}"
    if choice.lossless:
        return "cards are asked for lossy video alone"
    if choice.pix_fmt not in FORMATS:
        return f"cards are given {' or '.join(FORMATS)}, not {choice.pix_fmt}"
    try:
        context = cast(VideoCodecContext, av.CodecContext.create(on_card.encoder, "w"))
        context.width, context.height = size
        context.pix_fmt, context.time_base, context.options = choice.pix_fmt, PROBE_RATE, on_card.options
        context.open()
    except (av.FFmpegError, ValueError) as error:
        return f"{on_card.encoder} does not open ({getattr(error, 'strerror', None) or error})"
    return None
