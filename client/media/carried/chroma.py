"""Where the chroma samples of 4:2:0 video lie: read from a stream's headers, written by encoders."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import av
from av.bitstream import BitStreamFilterContext

from client.media.carried.parameters import OPTIONS, with_parameters
from client.media.ffmpeg_log import VERBOSE, captured_log
from client.media.geometry import Orientation
from client.shortage import raise_if_short

LEFT = 0  # what players assume where nothing is stated; H.273's numbers of chroma sample locations
TOP_LEFT = 2
OTHER = -1  # a place that H.273 has no number for
# Within the pixels that share a chroma sample: before (-1), at (0) or behind (1) their middle, across and down.
PLACES = {LEFT: (-1, 0), 1: (0, 0), TOP_LEFT: (-1, -1), 3: (0, -1), 4: (-1, 1), 5: (0, 1)}
MAX_HEADER_BYTES = 1 << 16  # of a stream; its log has a line for each field, and for each byte of messages

# How FFmpeg's log states the fields: H.264's and HEVC's are H.273's numbers, AV1 counts otherwise.
STATED = re.compile(r"\d+ +(chroma_sample_loc_type_top_field|chroma_sample_position) .*= (\d+)\s*$")
AV1_LOCATIONS = {1: LEFT, 2: TOP_LEFT}
READABLE = ("h264", "hevc", "av1")

AV1_NAMES = {LEFT: "vertical", TOP_LEFT: "colocated"}


def read_chroma_location(stream: Any) -> int | None:
    """Return where a stream says that its chroma samples lie, as H.273 counts; None if it does not say.

    PyAV has no name for this field; FFmpeg's filter that prints headers does.
    """
    context = stream.codec_context
    header = context.extradata or b""
    if context.codec.canonical_name not in READABLE or not 0 < len(header) <= MAX_HEADER_BYTES:
        return None
    try:
        with captured_log(VERBOSE) as lines:
            BitStreamFilterContext("trace_headers", in_stream=stream)  # prints the stream's header at once
    except (av.FFmpegError, ValueError) as error:
        raise_if_short(error)
        return None
    stated = [match for _, _, line in lines if (match := STATED.match(line))]
    if not stated:
        return None
    name, number = stated[0][1], int(stated[0][2])
    return AV1_LOCATIONS.get(number) if name == "chroma_sample_position" else number


def turned_location(location: int | None, orientation: Orientation) -> int | None:
    """Return where chroma samples lie after the pixels were made upright; OTHER if H.273 has no number for it."""
    if location not in PLACES:
        return location
    across, down = PLACES[location][::-1] if orientation.transposed else PLACES[location]
    place = (-across if orientation.mirrored_x else across, -down if orientation.mirrored_y else down)
    return next((number for number, known in PLACES.items() if known == place), OTHER)


def keeps_chroma_location(location: int | None, encoder: str) -> bool:
    """Return whether an encoder states a location, or need not."""
    if location in (None, LEFT):
        return True
    if location not in PLACES:
        return False
    return encoder in OPTIONS and (encoder != "libsvtav1" or location in AV1_NAMES)


def add_chroma_location(options: Mapping[str, str], location: int | None, encoder: str) -> dict[str, str]:
    """Return an encoder's options with a location among its parameters."""
    if location is None or encoder not in OPTIONS or not keeps_chroma_location(location, encoder):
        return dict(options)
    if encoder == "libsvtav1":
        return with_parameters(options, encoder, f"chroma-sample-position={AV1_NAMES[location]}")
    return with_parameters(options, encoder, f"chromaloc={location}")
