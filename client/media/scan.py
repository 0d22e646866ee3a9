"""Samples frames of a video before the job at a bounded cost: evenly spaced, or in short bursts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

from client.media.reader import VideoReader
from client.media.source import SourceFrame, VideoSource

MAX_SCANNED_FRAMES = 64  # however long the clip
ALL = sys.maxsize  # timestamp before which frames that no others refer to are skipped
BURST = 8  # consecutive frames, enough to see a mouth move
MANY_PER_SAMPLE = 3  # frames for each one yielded; encoders refer to every second one or more
FRAMES_READ_PER_FRAME_YIELDED = 8  # at most; longer clips are sampled by seeking


def scan_frames(
    path: str | Path, start: float = 0.0, end: float | None = None, max_frames: int = MAX_SCANNED_FRAMES
) -> Iterator[SourceFrame]:
    """Yield at most max_frames frames that represent a video, in order.

    Short clips are sampled at equal distances; if the frames that others refer to are enough, no others are decoded.
    Longer ones are sampled in bursts of consecutive frames at key frames spread over the clip or, if the file is not
    seekable, in bursts within its first frames. The index of a frame may be an estimate.

    Args:
        path: the file.
        start: seconds at which the span begins.
        end: seconds at which it ends; None for the end of the file.
        max_frames: maximum number of frames.

    Raises:
        MediaError: the file cannot be used.
    """
    source = VideoSource(path, start, end)
    effort = max_frames * FRAMES_READ_PER_FRAME_YIELDED
    estimate = source.frame_estimate
    if estimate is not None and estimate <= effort:
        referenced = _evenly_referenced(source, estimate, max_frames)
        first = next(referenced, None)
        yield from _evenly(source, estimate, max_frames) if first is None else chain([first], referenced)
        return
    count = max(1, max_frames // BURST)
    bursts, last_pts = 0, None
    with source.open_reader() as reader:
        for wanted_s in _spread(source, count):
            burst = list(_burst(source, reader, wanted_s, last_pts))
            if burst:
                bursts, last_pts = bursts + 1, burst[-1].pts
            yield from burst
        if bursts < 2:
            yield from _read_through(source, reader, last_pts, effort, (count - bursts) * BURST)


def _evenly(source: VideoSource, estimate: int, max_frames: int) -> Iterator[SourceFrame]:
    step = max(1.0, estimate / max_frames)
    yielded = 0
    for frame in source.frames():
        if frame.index >= yielded * step:
            yield frame
            yielded += 1
        if yielded >= max_frames:
            return


def _evenly_referenced(source: VideoSource, estimate: int, max_frames: int) -> Iterator[SourceFrame]:
    """Yield frames at equal distances in time, and decode no frame that no other refers to.

    Nothing is yielded if these may be too few, or if timestamps may jump.
    """
    if estimate < MANY_PER_SAMPLE * max_frames:
        return
    yielded, start_pts, rate = 0, source.pts_at(source.start), float(source.rate * source.time_base)
    with source.open_reader() as reader:
        if reader.clock_may_jump:
            return
        for frame in reader.decode_around(start_pts, ALL) if source.start else reader.decode(ALL):
            if frame.pts is None or not source.holds(frame.pts):
                continue
            if (frame.pts - start_pts) * rate >= yielded * estimate / max_frames:
                yield source.loose_frame(frame)
                yielded += 1
            if yielded >= max_frames:
                return


def _spread(source: VideoSource, count: int) -> list[float]:
    duration = source.duration
    return [] if duration is None else [source.start + duration * number / count for number in range(count)]


def _burst(source: VideoSource, reader: VideoReader, wanted_s: float, last_pts: int | None) -> Iterator[SourceFrame]:
    """Yield the frames from the key frame before a time on, unless they were yielded before."""
    if not reader.seek_near(source.pts_at(wanted_s)):
        return
    for frame in islice(reader.decode(), BURST):
        if frame.pts is None or (last_pts is not None and frame.pts <= last_pts) or not source.holds(frame.pts):
            return
        yield source.loose_frame(frame)


def _read_through(
    source: VideoSource, reader: VideoReader, last_pts: int | None, effort: int, wanted: int
) -> Iterator[SourceFrame]:
    """Yield bursts out of a bounded number of frames from the start of the span."""
    spacing = BURST * max(1, effort // max(wanted, 1))
    reader.reopen()
    frames = (frame for frame in reader.decode() if frame.pts is not None and source.holds(frame.pts))
    chosen = (frame for number, frame in enumerate(islice(frames, effort)) if number % spacing < BURST)
    loose = map(source.loose_frame, chosen)
    yield from islice((frame for frame in loose if last_pts is None or frame.pts > last_pts), wanted)
