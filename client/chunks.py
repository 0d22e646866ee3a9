"""From frames to lip-synced frames: find faces, follow one, send chunks, take the changes back. Knows no files."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass

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

IN_FLIGHT = 2  # requests of each kind under way at a server: one is worked on while the next one travels
MAX_CHUNK_FRAMES = 16
REGION_STEP = 32  # pixels: requests of few different sizes keep the server's shared memory from scattering
HELD_BYTES = 60_000_000  # of decoded frames between decoder and encoder
HELD_CHUNKS = 2 * IN_FLIGHT + 2  # decoded ahead, looked for faces in, being lip-synced, being written
FAN_OUT_BYTES = 200_000_000  # of decoded frames in one kind of requests, where several servers share them


@dataclass(frozen=True)
class SyncedFrame:
    """A frame whose picture is finished; synced says whether it went through the generator."""

    shown: TimelineFrame
    picture: Picture
    synced: bool


@dataclass(frozen=True)
class Chunk:
    """Frames that travel together.

    Attributes:
        frames: all frames of the chunk, in order.
        rows: positions of those with a face.
        region: the part of these that travels; None when nothing does.
        inputs: what the generator takes beside this part.
    """

    frames: list[TimelineFrame]
    rows: list[int]
    region: Region | None
    inputs: dict[str, np.ndarray]


def chunk_frames(frame_bytes: int) -> int:
    """Choose how many frames travel together, so that those held at once for one server fit into HELD_BYTES.

    More servers do not change it: chunks are the same then, and so is the result, and what a work folder keeps.
    """
    return max(1, min(MAX_CHUNK_FRAMES, HELD_BYTES // (HELD_CHUNKS * max(frame_bytes, 1))))


def requests_in_flight(server_count: int, chunk_bytes: int) -> int:
    """Choose how many requests of one kind are under way, so that their frames fit into FAN_OUT_BYTES."""
    return max(IN_FLIGHT, min(IN_FLIGHT * server_count, FAN_OUT_BYTES // max(chunk_bytes, 1)))


def region_around(extent: tuple[float, float, float, float], picture: Picture) -> Region | None:
    """Return the part of a picture that an extent covers, grown to whole steps; None when that is outside."""
    size = np.array([picture.width, picture.height])
    x1, y1 = np.clip(np.floor(extent[:2]), 0, size).astype(int).tolist()
    x2, y2 = np.clip(np.ceil(extent[2:]), 0, size).astype(int).tolist()
    return picture.align_region((x1, y1, x2, y2), REGION_STEP) if x1 < x2 and y1 < y2 else None


class Synchroniser:
    """Sends chunks to a generator's ensemble and puts what comes back into the frames."""

    def __init__(self, connection: TritonCalls, generator: LipGenerator, clock: StageClock) -> None:
        """Ask this server for this generator."""
        self._connection = connection
        self._generator = generator
        self._clock = clock

    @property
    def server_count(self) -> int:
        """How many servers share the work."""
        return self._connection.server_count

    def cancel(self) -> None:
        """Make all requests under way fail at once."""
        self._connection.cancel()

    def prepare(self, observations: Sequence[Observation[TimelineFrame]]) -> Chunk:
        """Make a chunk of the next frames; to be called in their order."""
        frames = [observation.frame for observation in observations]
        seen = [(i, o.face, o.track) for i, o in enumerate(observations) if o.face is not None]
        if not seen:
            return Chunk(frames, [], None, {})
        rows, faces, tracks = (list(column) for column in zip(*seen, strict=True))
        with self._clock.time("prepare"):
            request = self._generator.request([frames[i] for i in rows], faces, tracks)
            region = region_around(request.extent, frames[rows[0]].picture)
            return Chunk(frames, rows, region, {} if region is None else request.inputs(region))

    def sync(self, chunk: Chunk) -> list[SyncedFrame]:
        """Run one chunk; may be called for several chunks at once."""
        finished = [SyncedFrame(shown, shown.picture, synced=False) for shown in chunk.frames]
        if chunk.region is None:
            return finished
        pictures = [chunk.frames[i].picture for i in chunk.rows]
        with self._clock.time("convert"):
            before = np.stack([picture.rgb(chunk.region) for picture in pictures])
        with self._clock.time("generate"):
            after = self._generate(before, chunk.inputs)
        with self._clock.time("paste"):
            for i, picture, old, new in zip(chunk.rows, pictures, before, after, strict=True):
                copy = picture.copy()
                copy.apply(chunk.region, old, new)
                finished[i] = SyncedFrame(chunk.frames[i], copy, synced=True)
        return finished

    def _generate(self, frames: np.ndarray, inputs: dict[str, np.ndarray]) -> np.ndarray:
        model = self._generator.model
        large = {"synced_frames": LargeOutput(frames.dtype, frames.shape)}
        request = InferRequest(model, {"frames": frames, **inputs}, large)
        synced_frames = self._connection.infer(request)["synced_frames"]
        if synced_frames.shape != frames.shape:
            raise RequestRejected(
                about=model,
                expected=f"synced_frames {list(frames.shape)}",
                got=list(synced_frames.shape),
                advice="Check that the server serves this version of the model",
            )
        return synced_frames


def sync_frames(
    shown: Iterable[TimelineFrame],
    finder: FaceFinder | FixedFace,
    choice: FaceChoice,
    generator: LipGenerator,
    synchroniser: Synchroniser,
    size: int,
    frame_bytes: int,
    clock: StageClock,
) -> Generator[SyncedFrame, None, None]:
    """Overlap all stages over a stream of frames: decode, find faces, follow, generate; in order, memory bounded."""
    chunk = generator.chunk_frames or size
    looking, syncing = (requests_in_flight(synchroniser.server_count, count * frame_bytes) for count in (size, chunk))
    windows = prefetch(batched(clock.time_items("decode", shown), size), ahead=1)
    with closing(ordered_map(finder.find, windows, looking, synchroniser.cancel)) as looked_at:
        followed = generator.smooth(follow((item for window in looked_at for item in window), choice))
        chunks = (synchroniser.prepare(batch) for batch in batched(followed, chunk))
        with closing(ordered_map(synchroniser.sync, chunks, syncing, synchroniser.cancel)) as synced:
            for finished in synced:
                yield from finished
