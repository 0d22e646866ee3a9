"""Puts the source's frames on the output's timeline until the audio ends."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from typing import Final, Literal

from client.media.frame_stack import FrameStack
from client.media.picture import Picture
from client.media.reader import DEFAULT_RATE
from client.media.source import SourceFrame, VideoSource

IfAudioLonger = Literal["bounce", "loop", "hold", "cut", "stretch", "original"]
IfAudioShorter = Literal["keep", "cut", "stretch", "original"]
ORIGINAL: Final = "original"
STRETCH: Final = "stretch"
ENDS_WITH_VIDEO = ("cut", STRETCH)
STILL_RATE = DEFAULT_RATE
RETIMED_TIME_BASE = Fraction(1, 90_000)  # a frame of any common rate lasts a whole number of these ticks
ROUNDING_S = 1e-6  # one frame's end and the next one's start differ by less than this
STILL_TIME_BASE = Fraction(1, 12_800)  # finer than any rate, and what mp4 muxers use themselves


@dataclass(frozen=True)
class TimelineFrame:
    """One frame of the output.

    Attributes:
        picture: its pixels; the same object again while a picture is held (then it is marked as shared).
        pts: when it is shown, in ticks of `output_time_base`; the first one's is `VideoSource.picture_delay`.
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

    @property
    def middle_s(self) -> float:
        """The middle of its time on screen, in seconds."""
        return self.time_s + self.duration_s / 2


def output_time_base(source: VideoSource, rate: Fraction | None = None) -> Fraction:
    """Return the timeline's seconds per tick: the source's own, which keeps its timestamps exact, unless retimed."""
    if rate is not None:
        return RETIMED_TIME_BASE
    return STILL_TIME_BASE if source.is_still else source.time_base


def estimate_frames(
    source: VideoSource,
    audio_duration: float,
    if_audio_longer: IfAudioLonger,
    if_audio_shorter: IfAudioShorter,
    original_end_s: float = 0.0,
) -> int:
    """Estimate how many frames the timeline will have, for the progress display; arguments as for `timeline`."""
    rate = STILL_RATE if source.is_still else source.rate
    delay_s = source.picture_delay * source.time_base
    spoken = max(1, round((audio_duration - delay_s) * rate))
    original = math.ceil((original_end_s - delay_s) * rate - ROUNDING_S) + 1
    extended = original if if_audio_longer == ORIGINAL else spoken
    own = extended if source.is_still else source.frame_estimate
    if own is None or (own < extended and if_audio_longer not in ENDS_WITH_VIDEO):
        return extended
    shortened = {"keep": own, "cut": spoken, STRETCH: own, ORIGINAL: original}[if_audio_shorter]
    return min(own, shortened)


def at_rate(frames: Iterable[TimelineFrame], rate: Fraction) -> Iterator[TimelineFrame]:
    """Retime frames to a constant rate: each new frame is the one that is on the screen at that time.

    Args:
        frames: frames from `timeline`.
        rate: frames per second; pts and duration then count `output_time_base(source, rate)`.
    """
    number: int | None = None
    ticks = 1 / (rate * RETIMED_TIME_BASE)
    for frame in frames:
        if number is None:
            number = math.ceil((frame.time_s - ROUNDING_S) * rate)
        end_s = frame.time_s + frame.duration_s - ROUNDING_S
        while number / rate < end_s:
            pts, after = round(number * ticks), round((number + 1) * ticks)
            moment = float(number / rate)
            yield replace(frame, pts=pts, duration=after - pts, time_s=moment, duration_s=float(1 / rate))
            number += 1


def from_first_frame(frames: Iterable[TimelineFrame]) -> Iterator[TimelineFrame]:
    """Count times from the first frame instead of the speech, as `SourceFrame.time_s` does; pts stay as they are."""
    first_s: float | None = None
    for frame in frames:
        first_s = frame.time_s if first_s is None else first_s
        yield replace(frame, time_s=frame.time_s - first_s)


def stop_as_original(
    frames: Iterable[TimelineFrame], end_s: float, if_audio_shorter: IfAudioShorter
) -> Iterator[TimelineFrame]:
    """End a timeline as the original does: the first frame shown at a time or later is the last one.

    Args:
        frames: frames from `timeline`, or `at_rate` after it.
        end_s: that time, in seconds.
        if_audio_shorter: original ends the source's own frames so; else only repeated ones end.
    """
    reached = False
    for frame in frames:
        if reached and (frame.repeated or if_audio_shorter == ORIGINAL):
            return
        yield frame
        reached = frame.time_s >= end_s - ROUNDING_S


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
            repeats its last frame, cut and stretch end with the video (stretch has fitted the audio to it before);
            original plays it backward and forward without an end, showing the frames at which it turns twice, for
            `stop_as_original`.
        if_audio_shorter: keep and stretch play the video to its end, cut ends with the audio; original is for
            `stop_as_original`.

    Raises:
        MediaError: no frame can be decoded.
    """
    end = Fraction(audio_duration).limit_denominator(1_000_000) / output_time_base(source)
    repeats_end = math.inf if if_audio_longer == ORIGINAL else end
    own_end = end if if_audio_shorter == "cut" else math.inf
    for frame in _extended(source, if_audio_longer, repeats_end):
        is_first = frame.pts == source.picture_delay
        if frame.pts >= (repeats_end if frame.repeated else own_end) and not is_first:
            return
        yield frame


def _extended(source: VideoSource, mode: IfAudioLonger, end: Fraction | float) -> Iterator[TimelineFrame]:
    """Yield the source's frames, and behind them repeated ones for as long as they are asked for."""
    if source.is_still:
        yield from _hold(source, next(source.frames()), 0)
    clock = source.picture_delay
    for frame, is_last in _mark_last(source.frames()):
        held = is_last and clock + frame.duration < end and (mode == "hold" or source.frames_read == 1)
        frame.picture.shared = held
        yield _at(source, frame, clock, frame.duration, repeated=False)
        clock += frame.duration
        if held:
            yield from _hold(source, frame, clock)
    if clock < end and mode not in ENDS_WITH_VIDEO:
        yield from _replay(source, _loop(source) if mode == "loop" else _bounce(source, mode), clock)


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


def _bounce(source: VideoSource, mode: IfAudioLonger) -> Iterator[SourceFrame]:
    """Yield frames backward from the last but one, forward from the second, and so on, with mirrored durations.

    Original begins with the last one and the first one.
    """
    twice = mode == ORIGINAL
    while True:
        yield from _descending(source, source.frames_read) if twice else _backward(source)
        yield from islice(source.frames(), 0 if twice else 1, None)


def _backward(source: VideoSource) -> Iterator[SourceFrame]:
    """Yield the frames from the last but one to the first, with mirrored durations."""
    for frame in _descending(source, source.frames_read - 1):
        before = max(frame.index - 1, 0)
        yield replace(frame, duration=source.pts_of(before + 1) - source.pts_of(before))


def _descending(source: VideoSource, count: int) -> Iterator[SourceFrame]:
    """Yield the first frames of the source from the last to the first, decoding blocks of them forward."""
    with source.open_reader() as reader, FrameStack(source.frame_bytes, count) as stack:
        for last in range(count, 0, -stack.capacity):
            for frame in source.block(max(0, last - stack.capacity), last, reader):
                stack.push(frame)
            while stack:
                yield stack.pop()
