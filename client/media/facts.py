"""What the header and the first frames of a video tell. Knows nothing of spans."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.video.stream import VideoStream

from client.media.carried.chroma import read_chroma_location
from client.media.carried.hdr import StaticHdr, frame_data
from client.media.carried.picture_facts import PictureFacts
from client.media.carried.stereo import Stereo
from client.media.geometry import Orientation
from client.media.pixels import BT709, ColorTags, NativeFormat, is_transparent, nearest_native
from client.media.reader import VideoReader

ALPHA_MODE = "alpha_mode"  # metadata of VP8 and VP9, whose transparency is a second stream that is not decoded
LOST = {  # side data of frames that a new encode of changed pictures cannot keep
    "DOVI_RPU_BUFFER": "Dolby Vision",
    "DOVI_METADATA": "Dolby Vision",
    "DYNAMIC_HDR_PLUS": "HDR10+",
    "DYNAMIC_HDR_VIVID": "HDR Vivid",
    "SPHERICAL": "its spherical projection",
    "A53_CC": "closed captions",
}


@dataclass(frozen=True)
class VideoFacts:
    """What the header and the first frames of a video tell.

    Attributes:
        coded_width: width as stored, in pixels.
        coded_height: height as stored, in pixels.
        pix_fmt: FFmpeg's name of the decoded pixel format.
        native: the format that pictures are converted to.
        tags: colour tags.
        pictures: what its pictures say about themselves beside that.
        lost: what is said about its pictures that no output can hold.
        orientation: how the coded picture is made upright.
        sample_aspect_ratio: width by height of a pixel.
        time_base: seconds per tick.
        rate: average frames per second.
        start_pts: timestamp of the first frame, in ticks.
        stated_duration_s: length according to the header; None if it states none.
        states_own_duration: whether that is the video's own length, and not that of a longer sound beside it.
        stated_frames: number of frames according to the header; 0 if it states none.
        is_still: whether there is only one frame.
    """

    coded_width: int
    coded_height: int
    pix_fmt: str
    native: NativeFormat
    tags: ColorTags
    pictures: PictureFacts
    lost: tuple[str, ...]
    orientation: Orientation
    sample_aspect_ratio: Fraction
    time_base: Fraction
    rate: Fraction
    start_pts: int
    stated_duration_s: float | None
    states_own_duration: bool
    stated_frames: int
    is_still: bool


def read_facts(reader: VideoReader, frames: list[av.VideoFrame], warn: Callable[[str], None]) -> VideoFacts:
    """Read a video's facts.

    Args:
        reader: the open video.
        frames: its first frames, two unless it has only one.
        warn: is told what the user should know.
    """
    _warn_about_look(frames[0], reader.stream, warn)
    first, stream = frames[0], reader.stream
    native = nearest_native(first.format.name)
    return VideoFacts(
        coded_width=first.width,
        coded_height=first.height,
        pix_fmt=first.format.name,
        native=native,
        tags=_tags(first, native),
        pictures=PictureFacts(
            hdr=StaticHdr.of_frame(first),
            chroma_location=read_chroma_location(stream) if native.chroma_shift == (1, 1) else None,
            stereo=Stereo.of_frame(first),
        ),
        lost=tuple(LOST[name] for name in frame_data(first) if name in LOST),
        orientation=_orientation(first, warn) if reader.grid is None else reader.grid.orientation,
        sample_aspect_ratio=Fraction(stream.sample_aspect_ratio or 1),
        time_base=reader.time_base,
        rate=reader.rate,
        start_pts=reader.timestamps().next(first.pts, 0),
        stated_duration_s=reader.stated_duration_s,
        states_own_duration=reader.states_own_duration,
        stated_frames=stream.frames,
        is_still=len(frames) == 1,
    )


def _tags(frame: av.VideoFrame, native: NativeFormat) -> ColorTags:
    tags = ColorTags.of_frame(frame)
    if not native.is_rgb:
        return tags
    return ColorTags(range=2, space=BT709, primaries=tags.primaries, transfer=tags.transfer)


def _orientation(frame: av.VideoFrame, warn: Callable[[str], None]) -> Orientation:
    try:
        matrix = bytes(frame.side_data["DISPLAYMATRIX"])  # type: ignore[typeddict-item]  # missing in PyAV's stub
    except KeyError:
        return Orientation()
    except ValueError:  # PyAV cannot list side data newer than its enum (EXIF), but still reads the angle
        return Orientation.from_rotation(frame.rotation)
    if frame.rotation % 90:
        warn(f"its rotation of {frame.rotation} degrees was rounded to a quarter turn")
    return Orientation.from_matrix(np.frombuffer(matrix, "<i4").tolist())


def _has_hidden_alpha(stream: VideoStream) -> bool:
    return any(key.lower() == ALPHA_MODE and value == "1" for key, value in stream.metadata.items())


def _warn_about_look(frame: av.VideoFrame, stream: VideoStream, warn: Callable[[str], None]) -> None:
    if is_transparent(frame) or _has_hidden_alpha(stream):
        warn("its transparency is not kept")
    if frame.interlaced_frame:
        warn("it is interlaced and is treated as progressive; deinterlace it first for better results")
