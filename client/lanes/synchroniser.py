"""From frames to lip-synced frames: finds faces, follows the speakers', and draws lane after lane. Opens no files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import TypeVar

from client.chunks import requests_in_flight
from client.flow import ordered_map, prefetch, split
from client.lanes.lane import Lane, LinkKey
from client.lanes.stage import DrawnFrame, LaneGroup, LaneStage
from client.media import TimelineFrame
from client.report import StageClock
from client.servers.calls import TritonCalls
from client.tracking.finder import FindsFaces, FoundFrame
from client.tracking.follow import bridge_gaps
from client.tracking.people import link_people

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Synchroniser:
    """Lip-syncs a stream of frames, with all stages overlapped.

    Attributes:
        triton: the server or servers.
        lanes: what is drawn, in this order.
        finder: finds the faces.
        frame_bytes: size of one decoded frame, in bytes.
        window_frames: frames per request, where the generators leave it open.
        clock: measures how long each stage takes.
        drawn: which frames are drawn; see `LaneGroup`.
    """

    triton: TritonCalls
    lanes: Sequence[Lane]
    finder: FindsFaces
    frame_bytes: int
    window_frames: int
    clock: StageClock
    drawn: range = range(sys.maxsize)

    def sync(self, shown: Iterable[TimelineFrame]) -> Generator[DrawnFrame, None, None]:
        """Decode, find faces, follow the speakers' and lip-sync them; yields all frames in order, in bounded memory."""
        decoded = self.clock.time_items("decode", shown)
        windows = prefetch(self.finder.windows(decoded, self.window_frames), ahead=1)
        with ExitStack() as stack:
            searched = stack.enter_context(closing(self._overlap(self.finder.find, windows, self.window_frames)))
            frames: Iterator[DrawnFrame] = self.follow(found for window in searched for found in window)
            for group in self._groups():
                chunks = group.chunks(frames)
                drawn = stack.enter_context(closing(self._overlap(group.draw, chunks, group.chunk_frames)))
                frames = (frame for chunk in drawn for frame in chunk)
            for frame in frames:
                own = [seen[0] for seen in frame.seen]
                faces, tracks = tuple(seen.face for seen in own), tuple(seen.track for seen in own)
                yield replace(frame, seen=(), faces=faces, tracks=tracks)

    def _groups(self) -> list[LaneGroup]:
        """Return the lanes, those that follow each other with chunks of one size together."""
        stages = [
            LaneStage(self.triton, lane, position, self.window_frames, self.clock)
            for position, lane in enumerate(self.lanes)
        ]
        return [LaneGroup(list(group), self.drawn) for _, group in groupby(stages, lambda stage: stage.chunk_frames)]

    def follow(self, found: Iterable[FoundFrame[TimelineFrame]]) -> Iterator[DrawnFrame]:
        """Follow each lane's face, as each of its generators smooths it."""
        links = list(dict.fromkeys(lane.link for lane in self.lanes))
        linked = split(link_people(found, [face for _, face in links], self._wanted(links)), len(links))
        followed = {link: bridge_gaps(map(itemgetter(i), linked[i])) for i, link in enumerate(links)}
        copies = {link: iter(split(followed[link], self._generators_of(link))) for link in links}
        smoothed = [
            zip(*(layer.generator.smooth(next(copies[lane.link])) for layer in lane.layers), strict=True)
            for lane in self.lanes
        ]
        for seen in zip(*smoothed, strict=True):
            shown = seen[0][0].frame
            yield DrawnFrame(shown, shown.picture, seen=seen)

    def _wanted(self, links: Sequence[LinkKey]) -> Callable[[TimelineFrame], list[bool]] | None:
        """Return what tells which of the links a frame needs; None if all frames need all."""
        if all(lane.times.are_always for lane in self.lanes):
            return None
        times = [[lane.times for lane in self.lanes if lane.link == link] for link in links]
        return lambda frame: [any(spans.hold(frame.middle_s) for spans in own) for own in times]

    def _generators_of(self, link: LinkKey) -> int:
        """Return how many generators draw a person."""
        return sum(len(lane.layers) for lane in self.lanes if lane.link == link)

    def _overlap(
        self, call: Callable[[Item], Result], items: Iterable[Item], frames_per_item: int
    ) -> Generator[Result, None, None]:
        in_flight = requests_in_flight(self.triton.server_count, frames_per_item * self.frame_bytes)
        return ordered_map(call, items, in_flight, self.triton.cancel)
