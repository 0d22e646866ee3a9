"""The sound of the video itself: where it lies on the output's timeline, and how long the pictures go on."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from client.errors import MediaError
from client.media import VideoSource
from client.media.audio_reader import AudioReader
from client.media.choosing import choose_stream
from client.media.opening import clock_may_jump, open_media
from client.media.source import MAX_LEAD_S
from client.sound.blocks import in_channels, placed


@dataclass
class FileSound:
    """The sound of a file at a place of the output's timeline.

    Attributes:
        path: the file.
        rate: samples per second.
        channels: number of channels.
        start_s: the timestamp of its first sample in the file, in seconds.
        shift_s: when that sample is heard in the output; negative for sounds whose beginning is left out.
        warnings: what the user should know about the file, as found so far.
    """

    path: Path
    rate: int
    channels: int
    start_s: float
    shift_s: float = 0.0
    warnings: tuple[str, ...] = ()

    @classmethod
    def probe(cls, path: Path) -> FileSound:
        """Read the first samples of a file.

        Raises:
            MediaError: it cannot be used, or has no sound.
        """
        reader = AudioReader(path)
        with closing(reader.frames()) as frames:
            first = next(frames, None)
            if first is None:
                raise MediaError(
                    about=path, expected="a file with sound", got="audio of zero length", advice="Choose another file"
                )
            return cls(path, first.sample_rate, first.layout.nb_channels, reader.start_s)

    def blocks(self, channels: int) -> Generator[np.ndarray, None, None]:
        """Yield its samples [S, channels], from the beginning of the output."""
        reader = AudioReader(self.path)
        try:
            with closing(reader.frames()) as frames:
                yield from placed(in_channels(frames, channels), round(self.shift_s * self.rate))
        finally:
            self.warnings = tuple(f"{self.path.name}: {line}" for line in reader.damage.warnings())


def sound_of(video: VideoSource) -> FileSound | None:
    """Return the video's own sound in its place; None if it has none that can be read."""
    try:
        sound = FileSound.probe(video.path)
    except MediaError:
        return None
    picture_s = float(video.facts.start_pts * video.time_base)
    starts_together = video.is_still or abs(picture_s - sound.start_s) > MAX_LEAD_S
    sound.shift_s = (picture_s if starts_together else sound.start_s) - video.origin_s
    return sound


def picture_end_s(video: VideoSource) -> float | None:
    """Return when the used part of a video ends on the output's timeline, in seconds; None for a still picture.

    Reads the file's packets, and decodes it only where these have no usable timestamps.
    """
    if video.is_still:
        return None
    end_s = _stated_end_s(video)
    if end_s is None:
        for _ in video.frames():
            pass
        return float(video.picture_delay * video.time_base) + (video.duration or 0.0)
    if video.end is not None:
        end_s = min(end_s, float(video.pts_at(video.end) * video.time_base))
    return end_s - video.origin_s


def _stated_end_s(video: VideoSource) -> float | None:
    """Return the end of the last packet of the pictures, as a time in the file."""
    end_s: Fraction | None = None
    with open_media(video.path) as container:
        stream = choose_stream(container, "video", video.path)
        if clock_may_jump(container):
            return None
        for packet in container.demux(stream):
            if not packet.size or packet.is_discard:
                continue
            if packet.pts is None or packet.is_corrupt:
                return None
            shown_s = packet.pts * packet.time_base + ((packet.duration or 0) * packet.time_base or 1 / video.rate)
            end_s = shown_s if end_s is None else max(end_s, shown_s)
    return None if end_s is None else float(end_s)
