"""Puts the source's frames on the output's timeline until the audio ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from client.media.frame_stack import FrameStack
from client.media.picture import Picture
from client.media.reader import DEFAULT_RATE
from client.media.source import SourceFrame, VideoSource

IfAudioLonger = Literal["bounce", "loop", "hold", "cut"]
IfAudioShorter = Literal["keep", "cut"]
STILL_RATE = DEFAULT_RATE
RETIMED_TIME_BASE = Fraction(1, 90_000)  # a frame of any common rate lasts a whole number of these ticks
ROUNDING_S = 1e-6  # one frame's end and the next one's start differ by less than this
STILL_TIME_BASE = Fraction(1, 12_800)  # finer than any rate, and what mp4 muxers use themselves


@dataclass(frozen=True)
class TimelineFrame:
    """One frame of the output.

    Attributes:
        picture: its pixels; the same object again while a picture is held (then it is marked as shared).
        pts: when it is shown, in ticks of `output_time_base`, from 0.
        duration: for how long, in ticks.
        index: number of the source frame, counted from the start of the span.
        time_s: when it is shown, in seconds.
        duration_s: for how long, in seconds.
        repeated: whether the source has already ended, so that the frame is shown again.
    """

    picture: Picture
    pts: int
    duration: int
    index: int
    time_s: float
    duration_s: float
    repeated: bool = False


def output_time_base(source: VideoSource, rate: Fraction | None = None) -> Fraction:
    """Return the timeline's seconds per tick: the source's own, which keeps its timestamps exact, unless retimed."""
    if rate is not None:
        return RETIMED_TIME_BASE
    return STILL_TIME_BASE if source.is_still else source.time_base


def estimate_frames(
    source: VideoSource, audio_duration: float, if_audio_longer: IfAudioLonger, if_audio_shorter: IfAudioShorter
) -> int:
    """Estimate how many frames the timeline will have, for the progress display."""
    rate = STILL_RATE if source.is_still else source.rate
    spoken = max(1, round(audio_duration * rate))
    own = spoken if source.is_still else source.frame_estimate
    if own is None or (own < spoken and if_audio_longer != "cut"):
        return spoken
    return own if own < spoken or if_audio_shorter == "keep" else spoken


def at_rate(frames: Iterable[TimelineFrame], rate: Fraction) -> Iterator[TimelineFrame]:
    """Retime frames to a constant rate: each new frame is the one that is on the screen at that time.

    Args:
        frames: frames from `timeline`.
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
        audio_duration: length of the audio in seconds.
        if_audio_longer: bounce plays the video backward and forward until the audio ends, loop starts it again, hold
            repeats its last frame, cut ends with the video.
        if_audio_shorter: keep plays the video to its end, cut ends with the audio.

    Raises:
        MediaError: no frame can be decoded.
    """
    end = Fraction(audio_duration).limit_denominator(1_000_000) / output_time_base(source)
    for frame in _extended(source, if_audio_longer, end):
        if frame.pts >= end and (if_audio_shorter == "cut" or frame.repeated) and frame.pts > 0:
            return
        yield frame


def _extended(source: VideoSource, mode: IfAudioLonger, end: Fraction) -> Iterator[TimelineFrame]:
    """Yield the source's frames, and behind them repeated ones for as long as they are asked for."""
    if source.is_still:
        yield from _hold(source, next(source.frames()), 0)
    clock = 0
    for frame, is_last in _mark_last(source.frames()):
        held = is_last and clock + frame.duration < end and (mode == "hold" or source.frames_read == 1)
        frame.picture.shared = held
        yield _at(source, frame, clock, frame.duration, repeated=False)
        clock += frame.duration
        if held:
            yield from _hold(source, frame, clock)
    if clock < end and mode != "cut":
        yield from _replay(source, _bounce(source) if mode == "bounce" else _loop(source), clock)


def _at(source: VideoSource, frame: SourceFrame, pts: int, duration: int, *, repeated: bool) -> TimelineFrame:
    """Show a source frame at a time of the output, in ticks."""
    time_base = output_time_base(source)
    return TimelineFrame(
        frame.picture, pts, duration, frame.index, float(pts * time_base), float(duration * time_base), repeated
    )


def _mark_last(frames: Iterator[SourceFrame]) -> Iterator[tuple[SourceFrame, bool]]:
    pending = next(frames)
    for frame in frames:
        yield pending, False
        pending = frame
    yield pending, True


def _replay(source: VideoSource, frames: Iterator[SourceFrame], clock: int) -> Iterator[TimelineFrame]:
    for frame in frames:
        yield _at(source, frame, clock, frame.duration, repeated=True)
        clock += frame.duration


def _hold(source: VideoSource, last: SourceFrame, clock: int) -> Iterator[TimelineFrame]:
    rate = STILL_RATE if source.is_still else source.rate
    ticks = 1 / (rate * output_time_base(source))
    last.picture.shared = True
    count = 0
    while True:
        begin, count = clock + round(count * ticks), count + 1
        yield _at(source, last, begin, clock + round(count * ticks) - begin, repeated=True)


def _loop(source: VideoSource) -> Iterator[SourceFrame]:
    while True:
        yield from source.frames()


def _bounce(source: VideoSource) -> Iterator[SourceFrame]:
    """Yield frames backward from the last but one, forward from the second, and so on, with mirrored durations."""
    while True:
        yield from _backward(source)
        frames = source.frames()
        next(frames)
        yield from frames


def _backward(source: VideoSource) -> Iterator[SourceFrame]:
    """Yield the frames from the last but one to the first, decoding blocks of them forward."""
    count = source.frames_read - 1
    with source.open_reader() as reader, FrameStack(source.frame_bytes, count) as stack:
        for last in range(count, 0, -stack.capacity):
            for frame in source.block(max(0, last - stack.capacity), last, reader):
                stack.push(frame)
            while stack:
                frame = stack.pop()
                before = max(frame.index - 1, 0)
                mirrored = source.pts_of(before + 1) - source.pts_of(before)
                yield replace(frame, duration=mirrored)
