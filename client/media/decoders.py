"""Chooses what decodes a video: the processor, or a graphics card that gives exactly the same.

No card has been at hand yet. So that one can be trusted all the same, both decode the first frames of each video.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.codec.hwaccel import HWAccel

from client.errors import UsageError, ref
from client.media.facts import VideoFacts
from client.media.nvdec import CardDecoder, planar_format
from client.media.picture import PLANES
from client.media.pixels import plane_array
from client.media.reader import VideoReader

DecoderKind = Literal["cpu", "auto", "nvdec"]
FORMATS = ("yuv420p", "yuvj420p", "yuv420p10le")  # that cards are asked for
COMPARED_FRAMES = 4


def choose_decoder(path: Path, facts: VideoFacts, kind: DecoderKind) -> tuple[CardDecoder | None, list[str]]:
    """Have a graphics card decode a video where that is asked for and possible.

    Args:
        path: the video.
        facts: what is known of it.
        kind: cpu for the processor; auto falls back to it; nvdec insists on a card.

    Returns:
        The card's decoder, None for the processor, and what the user should know.

    Raises:
        UsageError: nvdec was asked for, and cannot be used.
    """
    if kind == "cpu":
        return None, []
    card = CardDecoder(HWAccel("cuda", allow_software_fallback=False), facts.pix_fmt)
    problem = _problem(path, facts, card)
    if problem is None:
        return card, []
    if kind == "nvdec":
        raise UsageError(
            option="decoder",
            expected="a graphics card that decodes the video",
            got=problem,
            advice=f"Choose {ref('decoder')} cpu, or auto",
        )
    return None, [f"{ref('decoder')}: the processor decoded, not a graphics card: {problem}"]


def _problem(path: Path, facts: VideoFacts, card: CardDecoder) -> str | None:
    """Return why a card cannot decode this; None if it can."""
    if facts.is_still:
        return "cards decode videos, not pictures"
    if card.pix_fmt not in FORMATS:
        return f"cards are asked for {', '.join(FORMATS)}, not {card.pix_fmt}"
    try:
        with VideoReader(path, 1) as reader:
            card.accelerator.create(reader.stream.codec_context.codec)
            expected = list(islice(reader.decode(), COMPARED_FRAMES))
        with VideoReader(path, 1, card) as reader:
            found = list(islice(reader.decode(), COMPARED_FRAMES))
    except (av.FFmpegError, NotImplementedError, ValueError) as error:
        return f"its decoder does not open ({getattr(error, 'strerror', None) or error})"
    if len(found) == len(expected) and all(map(_are_equal, found, expected)):
        return None
    return "it does not give what the processor gives"


def _are_equal(frame: av.VideoFrame, other: av.VideoFrame) -> bool:
    ours, theirs = ((it.pts, it.duration, it.opaque, it.format.name, it.width, it.height) for it in (frame, other))
    if ours != theirs:
        return False
    native = planar_format(frame.format.name)
    return all(
        np.array_equal(plane_array(frame, plane, native), plane_array(other, plane, native)) for plane in range(PLANES)
    )
