"""From frames to lip-synced frames: find faces, follow one, send chunks, take the changes back. Knows no files."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import cv2
import numpy as np

from client.connection import LargeOutput, TritonConnection
from client.errors import RequestRejected
from client.faces import Face, FaceChoice, faces_of_frame
from client.flow import batched, ordered_map, prefetch
from client.media import Picture, Region, TimelineFrame
from client.report import StageClock
from client.tracking import THUMBNAIL_SIDE, CutDetector, FaceLinker, Observation, bridge_gaps, smooth

FACES_MODEL = "faces"
ANALYSIS_LONG_SIDE = 960  # pixels; faces are looked for on pictures no larger than this
FACE_MARGIN = 0.35  # of the face's size: what is sent around it, forehead to throat
IN_FLIGHT = 2  # requests of each kind under way: one is worked on while the next one travels
MAX_CHUNK_FRAMES = 16
HELD_BYTES = 60_000_000  # of decoded frames between decoder and encoder
HELD_CHUNKS = 2 * IN_FLIGHT + 2  # decoded ahead, looked for faces in, being lip-synced, being written


class HasPicture(Protocol):
    """Anything that shows a picture: a frame of the source, or of the output's timeline."""

    @property
    def picture(self) -> Picture:
        """The picture."""


Frame = TypeVar("Frame", bound=HasPicture)


class RequestMaker(Protocol):
    """The client's half of a generator."""

    model: str

    def request(self, times_s: np.ndarray, landmarks: np.ndarray, tracks: list[int]) -> dict[str, np.ndarray]:
        """Return a chunk's inputs beside frames and landmarks."""


@dataclass(frozen=True)
class FoundFrame(Generic[Frame]):
    """A frame with all faces in it, in its own pixels, and a small grey picture of it."""

    frame: Frame
    faces: list[Face]
    thumbnail: np.ndarray


@dataclass(frozen=True)
class SyncedFrame:
    """A frame whose picture is finished; synced says whether a mouth in it was changed."""

    shown: TimelineFrame
    picture: Picture
    synced: bool


def chunk_frames(frame_bytes: int) -> int:
    """Choose how many frames travel together, so that those held at once fit into HELD_BYTES."""
    return max(1, min(MAX_CHUNK_FRAMES, HELD_BYTES // (HELD_CHUNKS * max(frame_bytes, 1))))


class FaceFinder:
    """Finds the faces of frames through the `faces` model."""

    def __init__(self, connection: TritonConnection, clock: StageClock) -> None:
        """Ask this server."""
        self._connection = connection
        self._clock = clock
        self._last: tuple[Picture, list[Face], np.ndarray] | None = None  # a still repeats: looked at once

    def find(self, window: Sequence[Frame]) -> list[FoundFrame[Frame]]:
        """Find all faces in each frame of a window; may be called for several windows at once."""
        known = {} if self._last is None else {id(self._last[0]): self._last}
        new = {id(frame.picture): frame.picture for frame in window if id(frame.picture) not in known}
        if new:
            looked_at = self._look_at(list(new.values()))
            known |= {id(picture): (picture, *found) for picture, found in zip(new.values(), looked_at, strict=True)}
        self._last = known[id(window[-1].picture)]
        return [FoundFrame(frame, *known[id(frame.picture)][1:]) for frame in window]

    def _look_at(self, pictures: Sequence[Picture]) -> list[tuple[list[Face], np.ndarray]]:
        """Return each picture's faces in its own pixels, and its thumbnail."""
        with self._clock.time("convert"):
            looked_at = np.stack([picture.rgb(long_side=ANALYSIS_LONG_SIDE) for picture in pictures])
        with self._clock.time("faces"):
            answer = self._connection.infer(FACES_MODEL, {"frames": looked_at})
        height, width = looked_at.shape[1:3]
        found = []
        for i, picture in enumerate(pictures):
            faces = faces_of_frame(answer["boxes"][i], answer["scores"][i], answer["landmarks"][i])
            scale = (picture.width / width, picture.height / height)
            found.append(([_scaled(face, *scale) for face in faces], _thumbnail(looked_at[i])))
        return found


def _scaled(face: Face, x: float, y: float) -> Face:
    """Bring a face from the looked-at picture to the frame's own pixels; depth scales like x."""
    return Face(
        face.box * np.array([x, y, x, y], np.float32),
        face.score,
        face.landmarks * np.array([x, y, x], np.float32),
    )


def _thumbnail(picture: np.ndarray) -> np.ndarray:
    small = cv2.resize(picture, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    return small.mean(axis=2, dtype=np.float32)


def follow(found: Iterable[FoundFrame[Frame]], choice: FaceChoice) -> Generator[Observation[Frame], None, None]:
    """Follow one face through all frames, smoothly."""
    cuts, linker = CutDetector(), FaceLinker(choice)

    def linked() -> Generator[Observation[Frame], None, None]:
        for item in found:
            face, track = linker.link(item.faces, cuts.is_cut(item.thumbnail))
            yield Observation(item.frame, None if face is None else face.landmarks, track)

    return smooth(bridge_gaps(linked()))


def face_region(landmarks: np.ndarray, picture: Picture) -> Region | None:
    """Return the part of a picture that a chunk's faces need.

    Args:
        landmarks: float32 [F, 468, 3] in pixels of the picture.
        picture: any picture of the chunk; they are all of one size.

    Returns:
        x1, y1, x2, y2 on the picture's chroma grid; None when all faces are outside the picture.
    """
    low, high = landmarks[:, :, :2].min(axis=(0, 1)), landmarks[:, :, :2].max(axis=(0, 1))
    margin = FACE_MARGIN * (high - low).max()
    size = np.array([picture.width, picture.height])
    x1, y1 = np.clip(np.floor(low - margin), 0, size).astype(int).tolist()
    x2, y2 = np.clip(np.ceil(high + margin), 0, size).astype(int).tolist()
    return picture.align_region((x1, y1, x2, y2)) if x1 < x2 and y1 < y2 else None


@dataclass(frozen=True)
class Chunk:
    """Frames that travel together.

    Attributes:
        frames: all frames of the chunk, in order.
        rows: positions of those with a face, [R].
        landmarks: float32 [R, 468, 3], in pixels of the frames.
        inputs: what else the generator takes for these R frames.
    """

    frames: list[TimelineFrame]
    rows: list[int]
    landmarks: np.ndarray
    inputs: dict[str, np.ndarray]


class Synchroniser:
    """Sends chunks to a generator's ensemble and puts what comes back into the frames."""

    def __init__(self, connection: TritonConnection, maker: RequestMaker, clock: StageClock) -> None:
        """Ask this server, with requests made by `maker`."""
        self._connection = connection
        self._maker = maker
        self._clock = clock

    def prepare(self, observations: Sequence[Observation[TimelineFrame]]) -> Chunk:
        """Make a chunk of the next frames; to be called in their order."""
        frames = [observation.frame for observation in observations]
        seen = [(i, o, o.landmarks) for i, o in enumerate(observations) if o.landmarks is not None]
        rows = [i for i, _, _ in seen]
        landmarks = np.array([points for _, _, points in seen], np.float32).reshape(-1, 468, 3)
        if not rows:
            return Chunk(frames, rows, landmarks, {})
        times = np.array([o.frame.time_s + o.frame.duration_s / 2 for _, o, _ in seen])
        with self._clock.time("prepare"):
            inputs = self._maker.request(times, landmarks, [o.track for _, o, _ in seen])
        return Chunk(frames, rows, landmarks, inputs)

    def sync(self, chunk: Chunk) -> list[SyncedFrame]:
        """Run one chunk; may be called for several chunks at once."""
        finished = [SyncedFrame(shown, shown.picture, synced=False) for shown in chunk.frames]
        pictures = [chunk.frames[i].picture for i in chunk.rows]
        region = face_region(chunk.landmarks, pictures[0]) if pictures else None
        if region is None:
            return finished
        with self._clock.time("convert"):
            before = np.stack([picture.rgb(region) for picture in pictures])
        after = self._generate(chunk, region, before)
        with self._clock.time("paste"):
            for i, picture, old, new in zip(chunk.rows, pictures, before, after, strict=True):
                copy = picture.copy()
                copy.apply(region, old, new)
                finished[i] = SyncedFrame(chunk.frames[i], copy, synced=True)
        return finished

    def _generate(self, chunk: Chunk, region: Region, before: np.ndarray) -> np.ndarray:
        landmarks: np.ndarray = chunk.landmarks - np.array([region[0], region[1], 0], np.float32)
        large = {"synced_frames": LargeOutput(before.dtype, before.shape)}
        with self._clock.time("generate"):
            answer = self._connection.infer(
                self._maker.model, {"frames": before, "landmarks": landmarks, **chunk.inputs}, large
            )
        after = answer["synced_frames"]
        if after.shape != before.shape:
            raise RequestRejected(
                f"{self._maker.model}: expected synced_frames {before.shape}, got {after.shape}."
                " Does the server serve another version of the model?"
            )
        return after


def sync_frames(
    shown: Iterable[TimelineFrame],
    finder: FaceFinder,
    choice: FaceChoice,
    synchroniser: Synchroniser,
    size: int,
    clock: StageClock,
) -> Generator[SyncedFrame, None, None]:
    """Overlap all stages over a stream of frames: decode, find faces, follow, generate; in order, memory bounded."""
    windows = prefetch(batched(clock.time_items("decode", shown), size), ahead=1)
    found = (item for window in ordered_map(finder.find, windows, IN_FLIGHT) for item in window)
    observations = batched(follow(found, choice), size)
    chunks = (synchroniser.prepare(batch) for batch in observations)
    for chunk in ordered_map(synchroniser.sync, chunks, IN_FLIGHT):
        yield from chunk
