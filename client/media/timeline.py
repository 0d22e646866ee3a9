"""Puts the source's frames on the output's timeline until the speech ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from client.media.picture import Picture
from client.media.reader import DEFAULT_RATE
from client.media.shelf import PictureShelf
from client.media.source import SourceFrame, VideoSource

IfAudioLonger = Literal["bounce", "loop", "hold", "cut"]
IfAudioShorter = Literal["keep", "cut"]
STILL_RATE = DEFAULT_RATE
RETIMED_TIME_BASE = Fraction(1, 90_000)  # the common rates are whole numbers of these ticks
ROUNDING_S = 1e-6  # frames that meet do so within this
STILL_TIME_BASE = Fraction(1, 12_800)  # finer than any rate, and what mp4 writers use themselves


@dataclass(frozen=True)
class TimelineFrame:
    """One frame of the output.

    Attributes:
        picture: its pixels; the same object again where a picture stands still (then it is marked as shared).
        pts: when it is shown, in ticks of `output_time_base`, from 0.
        duration: for how long, in ticks.
        index: number of the source frame, counted from the start of the span.
        time_s: when it is shown, in seconds.
        duration_s: for how long, in seconds.
    """

    picture: Picture
    pts: int
    duration: int
    index: int
    time_s: float
    duration_s: float


def output_time_base(source: VideoSource, rate: Fraction | None = None) -> Fraction:
    """Seconds per tick of the timeline: the source's own, so that its timestamps stay exact, unless a rate is given."""
    if rate is not None:
        return RETIMED_TIME_BASE
    return STILL_TIME_BASE if source.is_still else source.time_base


def estimate_frames(
    source: VideoSource, audio_duration: float, if_audio_longer: IfAudioLonger, if_audio_shorter: IfAudioShorter
) -> int:
    """Estimate how many frames the timeline will have, for progress."""
    rate = STILL_RATE if source.is_still else source.rate
    spoken = max(1, round(audio_duration * rate))
    own = spoken if source.is_still else source.frame_estimate
    if own is None or (own < spoken and if_audio_longer != "cut"):
        return spoken
    return own if own < spoken or if_audio_shorter == "keep" else spoken


def at_rate(frames: Iterable[TimelineFrame], rate: Fraction) -> Iterator[TimelineFrame]:
    """Show frames at a constant rate: at each of its moments, the frame that is on the screen then.

    Args:
        frames: as `timeline` gives them.
        rate: frames per second; pts and duration then count `output_time_base(source, rate)`.
    """
    number = 0
    ticks = 1 / (rate * RETIMED_TIME_BASE)
    for frame in frames:
        end_s = frame.time_s + frame.duration_s - ROUNDING_S
        while number / rate < end_s:
            pts, after = round(number * ticks), round((number + 1) * ticks)
            moment = float(number / rate)
            yield replace(frame, pts=pts, duration=after - pts, time_s=moment, duration_s=float(1 / rate))
            number += 1


def timeline(
    source: VideoSource,
    audio_duration: float,
    if_audio_longer: IfAudioLonger = "bounce",
    if_audio_shorter: IfAudioShorter = "keep",
) -> Iterator[TimelineFrame]:
    """Yield the output's frames in order.

    Args:
        source: the video, or a span of it.
        audio_duration: seconds of the speech.
        if_audio_longer: bounce plays backward and forward until the speech ends, loop starts again, hold repeats the
            last frame, cut ends with the video.
        if_audio_shorter: keep plays the video to its end, cut ends with the speech.

    Raises:
        MediaError: nothing can be decoded.
    """
    time_base = output_time_base(source)
    end = Fraction(audio_duration).limit_denominator(1_000_000) / time_base
    for frame in _repeat(source, if_audio_longer, end):
        if frame.pts >= end and (if_audio_shorter == "cut" or frame.repeated) and frame.pts > 0:
            return
        time_s, duration_s = float(frame.pts * time_base), float(frame.duration * time_base)
        yield TimelineFrame(frame.picture, frame.pts, frame.duration, frame.index, time_s, duration_s)


@dataclass(frozen=True)
class _Placed:
    picture: Picture
    pts: int
    duration: int
    index: int
    repeated: bool


def _repeat(source: VideoSource, mode: IfAudioLonger, end: Fraction) -> Iterator[_Placed]:
    if source.is_still:
        yield from _hold(source, next(source.frames()), 0)
    clock = 0
    for frame, is_last in _mark_last(source.frames()):
        stands_still = is_last and clock + frame.duration < end and (mode == "hold" or source.frames_read == 1)
        frame.picture.shared = stands_still
        yield _Placed(frame.picture, clock, frame.duration, frame.index, repeated=False)
        clock += frame.duration
        if stands_still:
            yield from _hold(source, frame, clock)
    if clock < end and mode != "cut":
        yield from _replay(_bounce(source) if mode == "bounce" else _loop(source), clock)


def _mark_last(frames: Iterator[SourceFrame]) -> Iterator[tuple[SourceFrame, bool]]:
    pending = next(frames)
    for frame in frames:
        yield pending, False
        pending = frame
    yield pending, True


def _replay(frames: Iterator[SourceFrame], clock: int) -> Iterator[_Placed]:
    for frame in frames:
        yield _Placed(frame.picture, clock, frame.duration, frame.index, repeated=True)
        clock += frame.duration


def _hold(source: VideoSource, last: SourceFrame, clock: int) -> Iterator[_Placed]:
    rate = STILL_RATE if source.is_still else source.rate
    ticks = 1 / (rate * output_time_base(source))
    last.picture.shared = True
    count = 0
    while True:
        begin, count = clock + round(count * ticks), count + 1
        yield _Placed(last.picture, begin, clock + round(count * ticks) - begin, last.index, repeated=True)


def _loop(source: VideoSource) -> Iterator[SourceFrame]:
    while True:
        yield from source.frames()


def _bounce(source: VideoSource) -> Iterator[SourceFrame]:
    """Backward from the last frame but one, forward from the second, and so on, with mirrored durations."""
    while True:
        yield from _backward(source)
        frames = source.frames()
        next(frames)
        yield from frames


def _backward(source: VideoSource) -> Iterator[SourceFrame]:
    """Yield the frames from the last but one to the first, reading blocks of them forward."""
    count = source.frames_read - 1
    with source.open_reader() as reader, PictureShelf(source.frame_bytes, count) as shelf:
        for last in range(count, 0, -shelf.capacity):
            for frame in source.block(max(0, last - shelf.capacity), last, reader):
                shelf.put(frame)
            while shelf:
                frame = shelf.pop()
                before = max(frame.index - 1, 0)
                mirrored = source.pts_of(before + 1) - source.pts_of(before)
                yield replace(frame, duration=mirrored)
