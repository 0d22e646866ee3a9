"""From frames to lip-synced frames: finds faces, follows one, sends chunks, pastes the changes. Opens no files."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from client.errors import RequestRejected
from client.flow import batched, ordered_map, prefetch, split
from client.media import Picture, Region, TimelineFrame
from client.pipeline import Layer, Observations
from client.report import StageClock
from client.servers.calls import InferRequest, LargeOutput, TritonCalls
from client.tracking.faces import FaceChoice
from client.tracking.finder import FindsFaces, follow
from client.tracking.follow import Observation
from lipsync_core.fade import faded
from lipsync_core.reasons import Reason, reasons_of

IN_FLIGHT = 2  # requests of each kind in flight per server: one is computed while the next one is transferred
MAX_CHUNK_FRAMES = 16
REGION_STEP = 32  # pixels: few different request sizes keep the server's shared memory from fragmenting
HELD_BYTES = 60_000_000  # of decoded frames between decoder and encoder
HELD_CHUNKS = 2 * IN_FLIGHT + 2  # decoded ahead, searched for faces, being lip-synced, being written
FAN_OUT_SERVERS = 8  # one job keeps at most so many of them busy
FAN_OUT_BYTES = 1_000_000_000  # of decoded frames in requests of one kind: 8 servers at 1920x1080, 16 frames a request

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class SyncedFrame:
    """A finished frame.

    Attributes:
        shown: the frame of the timeline.
        picture: its finished picture.
        reason: CHANGED, or why the picture is still the timeline's.
    """

    shown: TimelineFrame
    picture: Picture
    reason: Reason


@dataclass(frozen=True, eq=False)
class Part:
    """What one generator is asked for a chunk.

    Attributes:
        model: the generator's model.
        rows: positions of its frames within the chunk.
        shares: how much of its mouth each of them shows, float32 [rows].
        region: the part of these frames that is sent; None if it is outside the picture.
        inputs: the generator's inputs except that part of the frames.
    """

    model: str
    rows: list[int]
    shares: np.ndarray
    region: Region | None
    inputs: dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Chunk:
    """Frames that are sent in one request to each generator.

    Attributes:
        frames: all frames of the chunk, in order.
        faces: positions of the frames that have a face.
        parts: what the generators are asked; those whose mouth no frame shows are left out.
    """

    frames: list[TimelineFrame]
    faces: list[int]
    parts: list[Part]


def chunk_frames(frame_bytes: int) -> int:
    """Choose the number of frames per request, so that the frames held at once for one server fit into HELD_BYTES.

    It does not depend on the number of servers, so that neither do the result and the parts kept in a work folder.
    """
    return max(1, min(MAX_CHUNK_FRAMES, HELD_BYTES // (HELD_CHUNKS * max(frame_bytes, 1))))


def requests_in_flight(server_count: int, chunk_bytes: int) -> int:
    """Choose the number of requests of one kind in flight, so that their frames fit into FAN_OUT_BYTES.

    A frame is held until the answer for its chunk has come, so that frames count whole, not the regions that travel.
    """
    busy = min(server_count, FAN_OUT_SERVERS)
    return max(IN_FLIGHT, min(IN_FLIGHT * busy, FAN_OUT_BYTES // max(chunk_bytes, 1)))


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
        layers: the generators; their mouths are mixed by their shares.
        finder: finds the faces.
        choice: which of several faces is lip-synced.
        frame_bytes: size of one decoded frame, in bytes.
        window_frames: frames per request, where the generator leaves it open.
        clock: measures how long each stage takes.
    """

    triton: TritonCalls
    layers: Sequence[Layer]
    finder: FindsFaces
    choice: FaceChoice
    frame_bytes: int
    window_frames: int
    clock: StageClock

    def sync(self, shown: Iterable[TimelineFrame]) -> Generator[SyncedFrame, None, None]:
        """Decode, find faces, follow one and lip-sync it; yields all frames in order, with bounded memory."""
        window_size = self.window_frames
        chunk_size = max((layer.generator.chunk_frames or 0 for layer in self.layers), default=0) or window_size
        windows = prefetch(batched(self.clock.time_items("decode", shown), window_size), ahead=1)
        with closing(self._overlap(self.finder.find, windows, window_size)) as searched:
            followed = follow((found for window in searched for found in window), self.choice)
            chunks = (self._prepare(batch) for batch in batched(self._smooth(followed), chunk_size))
            with closing(self._overlap(self._sync_chunk, chunks, chunk_size)) as synced:
                for finished in synced:
                    yield from finished

    def _smooth(self, followed: Observations) -> Iterator[tuple[Observation[TimelineFrame], ...]]:
        """Yield each frame's observation as every generator smooths it."""
        streams = split(followed, len(self.layers))
        return zip(*(layer.generator.smooth(s) for layer, s in zip(self.layers, streams, strict=True)), strict=True)

    def _overlap(
        self, call: Callable[[Item], Result], items: Iterable[Item], frames_per_item: int
    ) -> Generator[Result, None, None]:
        in_flight = requests_in_flight(self.triton.server_count, frames_per_item * self.frame_bytes)
        return ordered_map(call, items, in_flight, self.triton.cancel)

    def _prepare(self, batch: Sequence[tuple[Observation[TimelineFrame], ...]]) -> Chunk:
        """Make a chunk of the next frames; called in their order."""
        frames = [observations[0].frame for observations in batch]
        faces = [i for i, observations in enumerate(batch) if observations[0].face is not None]
        if not faces:
            return Chunk(frames, [], [])
        times_s = np.array([frames[i].middle_s for i in faces])
        with self.clock.time("prepare"):
            columns = zip(*(batch[i] for i in faces), strict=True)
            parts = [
                self._prepare_part(layer, faces, column, layer.share(times_s))
                for layer, column in zip(self.layers, columns, strict=True)
            ]
        return Chunk(frames, faces, [part for part in parts if part is not None])

    def _prepare_part(
        self, layer: Layer, rows: list[int], seen: Sequence[Observation[TimelineFrame]], shares: np.ndarray
    ) -> Part | None:
        """Ask one generator for its request: for all rows if it needs whole chunks, else for those that show it."""
        asked = shares > 0
        if layer.generator.chunk_frames:
            asked = np.ones_like(asked)  # it carries its state on, and its frames depend on each other
        shown = [(row, o, o.face) for row, o, ask in zip(rows, seen, asked, strict=True) if ask and o.face is not None]
        if not shown:
            return None
        rows, observations, faces = (list(column) for column in zip(*shown, strict=True))
        frames = [observation.frame for observation in observations]
        request = layer.generator.request(frames, faces, [observation.track for observation in observations])
        if not shares.any():
            return None
        region = region_around(request.extent, frames[0].picture)
        inputs = {} if region is None else request.inputs_for(region)
        return Part(request.model or layer.generator.model, rows, shares[asked], region, inputs)

    def _sync_chunk(self, chunk: Chunk) -> list[SyncedFrame]:
        """Lip-sync one chunk; may be called for several chunks at once."""
        finished = [SyncedFrame(shown, shown.picture, Reason.NO_FACE) for shown in chunk.frames]
        for i in chunk.faces:
            finished[i] = replace(finished[i], reason=Reason.SILENCE)
        for part in chunk.parts:
            self._sync_part(part, finished)
        return finished

    def _sync_part(self, part: Part, finished: list[SyncedFrame]) -> None:
        """Add one generator's mouths to the frames of a chunk."""
        if part.region is None:
            for i, share in zip(part.rows, part.shares.tolist(), strict=True):
                if share > 0:
                    finished[i] = _with_reason(finished[i], Reason.OUTSIDE)
            return
        with self.clock.time("convert"):
            before = np.stack([finished[i].shown.picture.rgb(part.region) for i in part.rows])
        with self.clock.time("generate"):
            after, reasons = self._generate(part.model, before, part.inputs)
        with self.clock.time("paste"):
            rows = zip(part.rows, part.shares.tolist(), before, after, reasons, strict=True)
            for i, share, old, new, reason in rows:
                if share == 0:
                    continue
                finished[i] = _with_reason(finished[i], reason)
                if reason is Reason.CHANGED:
                    copy = finished[i].picture.copy()
                    copy.apply(part.region, old, faded(old, new, share))
                    finished[i] = replace(finished[i], picture=copy)

    def _generate(
        self, model: str, frames: np.ndarray, inputs: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, list[Reason]]:
        """Return the frames, uint8 RGB [N, h, w, 3], as the generator leaves them, and why some are unchanged."""
        large = {"synced_frames": LargeOutput(frames.dtype, frames.shape)}
        request = InferRequest(model, {"frames": frames, **inputs}, large)
        answer = self.triton.infer(request)
        expected = {"synced_frames": frames.shape, "strengths": (len(frames),), "reasons": (len(frames),)}
        for name, shape in expected.items():
            if name not in answer or answer[name].shape != shape:
                raise RequestRejected(
                    about=model,
                    expected=f"{name} {list(shape)}",
                    got=list(answer[name].shape) if name in answer else "none",
                    advice="Check that the server serves this version of the model",
                )
        return answer["synced_frames"], reasons_of(answer["strengths"], answer["reasons"])


def _with_reason(frame: SyncedFrame, reason: Reason) -> SyncedFrame:
    """Note a generator's reason; one that changed the frame outweighs the others."""
    return frame if frame.reason is Reason.CHANGED else replace(frame, reason=reason)
