"""Pairs each frame of a result with the source's frame of the same time, and follows the speaker's face in both."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import zip_longest

from client.chunks import IN_FLIGHT, chunk_frames
from client.flow import batched, ordered_map, prefetch, split
from client.media import IfAudioLonger, SourceFrame, TimelineFrame, VideoSource, from_first_frame, timeline
from client.report import StageClock
from client.servers.connection import TritonConnection
from client.tracking.faces import Face, FaceChoice
from client.tracking.finder import FaceFinder, FoundFrame, follow
from client.tracking.follow import Observation, smooth_landmarks

ENDLESS_S = 1e6  # the source is repeated for as long as the result lasts

FoundPair = tuple[list[FoundFrame[TimelineFrame]], list[FoundFrame[SourceFrame]]]


@dataclass(frozen=True)
class Pair:
    """A frame of the result with the source's frame of the same time; None after the end of the source."""

    source: TimelineFrame | None
    result: SourceFrame


@dataclass(frozen=True)
class Moment:
    """A pair of frames with the followed face in each.

    Attributes:
        pair: The two frames.
        source_face: The face in the source's frame; None without one.
        result_face: The face in the result's frame; None without one.
        before: The pair before it, if it belongs to the same shot in both videos.
    """

    pair: Pair
    source_face: Face | None
    result_face: Face | None
    before: Pair | None


def follow_pairs(
    connection: TritonConnection,
    source: VideoSource,
    result: VideoSource,
    choice: FaceChoice,
    if_audio_longer: IfAudioLonger,
) -> Generator[Moment, None, None]:
    """Yield every frame of the result with its counterpart and the face in both.

    Args:
        connection: A server with the model `faces`.
        source: The video before lip-sync.
        result: The video after it.
        choice: Which of several faces is the speaker's.
        if_audio_longer: How the source was extended for a longer result.

    Raises:
        LipSyncError: the media cannot be decoded, or the server fails.
    """
    source_finder, result_finder = (FaceFinder(connection, StageClock()) for _ in range(2))

    def find(window: list[Pair]) -> FoundPair:
        shown = [pair.source for pair in window if pair.source is not None]
        return source_finder.find(shown) if shown else [], result_finder.find([pair.result for pair in window])

    pairs = pair_frames(from_first_frame(timeline(source, ENDLESS_S, if_audio_longer)), result.frames())
    windows = batched(pairs, chunk_frames(2 * max(source.frame_bytes, result.frame_bytes)))
    with closing(ordered_map(find, prefetch(windows, ahead=1), IN_FLIGHT)) as found:
        for_source, for_result = split(found, 2)
        sources = smooth_landmarks(follow((frame for window, _ in for_source for frame in window), choice))
        results = smooth_landmarks(follow((frame for _, window in for_result for frame in window), choice))
        yield from _join(sources, results)


def pair_frames(shown: Iterator[TimelineFrame], results: Iterable[SourceFrame]) -> Iterator[Pair]:
    """Find for each frame of the result the source's frame that is shown when it begins, or soon after.

    Args:
        shown: The source's frames on the result's timeline.
        results: The result's frames.
    """
    current = next(shown, None)
    for result in results:
        while current is not None and current.time_s + current.duration_s / 2 <= result.time_s:
            current = next(shown, None)
        yield Pair(current, result)


def _join(
    sources: Iterable[Observation[TimelineFrame]], results: Iterable[Observation[SourceFrame]]
) -> Iterator[Moment]:
    """Bring the observations of both videos together again; those of the source may end sooner."""
    last: tuple[Pair, tuple[int | None, int]] | None = None
    for source, result in zip_longest(sources, results):
        pair = Pair(None if source is None else source.frame, result.frame)
        shot = (None if source is None else source.track, result.track)
        before = last[0] if last is not None and last[1] == shot else None
        yield Moment(pair, None if source is None else source.face, result.face, before)
        last = (pair, shot)
