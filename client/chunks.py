"""From frames to lip-synced frames: finds faces, follows one, sends chunks, pastes the changes. Opens no files."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from client.errors import RequestRejected
from client.flow import batched, ordered_map, prefetch
from client.media import Picture, Region, TimelineFrame
from client.pipeline import LipGenerator
from client.report import StageClock
from client.servers.calls import InferRequest, LargeOutput, TritonCalls
from client.tracking.faces import FaceChoice
from client.tracking.finder import FaceFinder, FixedFace, follow
from client.tracking.follow import Observation

IN_FLIGHT = 2  # requests of each kind in flight per server: one is computed while the next one is transferred
MAX_CHUNK_FRAMES = 16
REGION_STEP = 32  # pixels: few different request sizes keep the server's shared memory from fragmenting
HELD_BYTES = 60_000_000  # of decoded frames between decoder and encoder
HELD_CHUNKS = 2 * IN_FLIGHT + 2  # decoded ahead, searched for faces, being lip-synced, being written
FAN_OUT_BYTES = 200_000_000  # of decoded frames in requests of one kind, if several servers share them

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class SyncedFrame:
    """A finished frame.

    Attributes:
        shown: the frame of the timeline.
        picture: its finished picture.
        synced: whether it went through the generator; else the picture is the timeline's.
    """

    shown: TimelineFrame
    picture: Picture
    synced: bool


@dataclass(frozen=True, eq=False)
class Chunk:
    """Frames that are sent in one request.

    Attributes:
        frames: all frames of the chunk, in order.
        rows: positions of the frames that have a face.
        region: the part of these frames that is sent; None if none is.
        inputs: the generator's inputs except that part of the frames.
    """

    frames: list[TimelineFrame]
    rows: list[int]
    region: Region | None
    inputs: dict[str, np.ndarray]


def chunk_frames(frame_bytes: int) -> int:
    """Choose the number of frames per request, so that the frames held at once for one server fit into HELD_BYTES.

    It does not depend on the number of servers, so that neither do the result and the parts kept in a work folder.
    """
    return max(1, min(MAX_CHUNK_FRAMES, HELD_BYTES // (HELD_CHUNKS * max(frame_bytes, 1))))


def requests_in_flight(server_count: int, chunk_bytes: int) -> int:
    """Choose the number of requests of one kind in flight, so that their frames fit into FAN_OUT_BYTES."""
    return max(IN_FLIGHT, min(IN_FLIGHT * server_count, FAN_OUT_BYTES // max(chunk_bytes, 1)))


def region_around(extent: tuple[float, float, float, float], picture: Picture) -> Region | None:
    """Return the part of a picture that an extent (x1, y1, x2, y2 in pixels) covers; None if it lies outside.

    Its edges are grown to multiples of REGION_STEP, within the picture.
    """
    size = np.array([picture.width, picture.height])
    x1, y1 = np.clip(np.floor(extent[:2]), 0, size).astype(int).tolist()
    x2, y2 = np.clip(np.ceil(extent[2:]), 0, size).astype(int).tolist()
    return picture.align_region((x1, y1, x2, y2), REGION_STEP) if x1 < x2 and y1 < y2 else None


@dataclass(frozen=True, kw_only=True)
class Synchroniser:
    """Lip-syncs a stream of frames, with all stages overlapped.

    Attributes:
        triton: the server or servers.
        generator: prepares the requests.
        finder: finds the faces.
        choice: which of several faces is lip-synced.
        frame_bytes: size of one decoded frame, in bytes.
        clock: measures how long each stage takes.
    """

    triton: TritonCalls
    generator: LipGenerator
    finder: FaceFinder | FixedFace
    choice: FaceChoice
    frame_bytes: int
    clock: StageClock

    def sync(self, shown: Iterable[TimelineFrame]) -> Generator[SyncedFrame, None, None]:
        """Decode, find faces, follow one and lip-sync it; yields all frames in order, with bounded memory."""
        window_size = chunk_frames(self.frame_bytes)
        chunk_size = self.generator.chunk_frames or window_size
        windows = prefetch(batched(self.clock.time_items("decode", shown), window_size), ahead=1)
        with closing(self._overlap(self.finder.find, windows, window_size)) as searched:
            followed = follow((found for window in searched for found in window), self.choice)
            chunks = (self._prepare(batch) for batch in batched(self.generator.smooth(followed), chunk_size))
            with closing(self._overlap(self._sync_chunk, chunks, chunk_size)) as synced:
                for finished in synced:
                    yield from finished

    def _overlap(
        self, call: Callable[[Item], Result], items: Iterable[Item], frames_per_item: int
    ) -> Generator[Result, None, None]:
        in_flight = requests_in_flight(self.triton.server_count, frames_per_item * self.frame_bytes)
        return ordered_map(call, items, in_flight, self.triton.cancel)

    def _prepare(self, observations: Sequence[Observation[TimelineFrame]]) -> Chunk:
        """Make a chunk of the next frames; called in their order."""
        frames = [observation.frame for observation in observations]
        seen = [(i, o.face, o.track) for i, o in enumerate(observations) if o.face is not None]
        if not seen:
            return Chunk(frames, [], None, {})
        rows, faces, tracks = (list(column) for column in zip(*seen, strict=True))
        with self.clock.time("prepare"):
            request = self.generator.request([frames[i] for i in rows], faces, tracks)
            region = region_around(request.extent, frames[rows[0]].picture)
            return Chunk(frames, rows, region, {} if region is None else request.inputs_for(region))

    def _sync_chunk(self, chunk: Chunk) -> list[SyncedFrame]:
        """Lip-sync one chunk; may be called for several chunks at once."""
        finished = [SyncedFrame(shown, shown.picture, synced=False) for shown in chunk.frames]
        if chunk.region is None:
            return finished
        pictures = [chunk.frames[i].picture for i in chunk.rows]
        with self.clock.time("convert"):
            before = np.stack([picture.rgb(chunk.region) for picture in pictures])
        with self.clock.time("generate"):
            after = self._generate(before, chunk.inputs)
        with self.clock.time("paste"):
            for i, picture, old, new in zip(chunk.rows, pictures, before, after, strict=True):
                copy = picture.copy()
                copy.apply(chunk.region, old, new)
                finished[i] = SyncedFrame(chunk.frames[i], copy, synced=True)
        return finished

    def _generate(self, frames: np.ndarray, inputs: dict[str, np.ndarray]) -> np.ndarray:
        model = self.generator.model
        large = {"synced_frames": LargeOutput(frames.dtype, frames.shape)}
        request = InferRequest(model, {"frames": frames, **inputs}, large)
        synced_frames = self.triton.infer(request)["synced_frames"]
        if synced_frames.shape != frames.shape:
            raise RequestRejected(
                about=model,
                expected=f"synced_frames {list(frames.shape)}",
                got=list(synced_frames.shape),
                advice="Check that the server serves this version of the model",
            )
        return synced_frames
