"""Draws one lane over a stream of frames: prepares its requests, sends chunks, pastes the changes."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from client.chunks import region_around
from client.errors import RequestRejected
from client.flow import batched
from client.lanes.lane import Lane
from client.media import Picture, Region, TimelineFrame
from client.pipeline import Layer
from client.report import StageClock
from client.servers.calls import InferRequest, LargeOutput, TritonCalls
from client.tracking.face_boxes import FaceBoxes
from client.tracking.faces import Face
from client.tracking.follow import Observation
from lipsync_core.fade import faded
from lipsync_core.reasons import Reason, reasons_of

Seen = tuple[Observation[TimelineFrame], ...]  # a lane's face in one frame, as each of its generators smooths it


@dataclass(frozen=True)
class DrawnFrame:
    """A frame on its way through the lanes.

    Attributes:
        shown: the frame of the timeline.
        picture: its picture as the lanes so far have left it; the timeline's own while nothing was changed.
        reasons: CHANGED for each lane so far, or why it left the picture alone.
        seen: the face of each lane.
        regions: the parts of the picture that were given to generators.
        faces: the face of each lane in the source, once all are drawn; None where it is not seen.
        tracks: the number of each lane's track, once all are drawn; see `Observation`.
    """

    shown: TimelineFrame
    picture: Picture
    reasons: tuple[Reason, ...] = ()
    seen: tuple[Seen, ...] = ()
    regions: tuple[Region, ...] = ()
    faces: tuple[Face | None, ...] = ()
    tracks: tuple[int, ...] = ()

    @property
    def reason(self) -> Reason:
        """CHANGED if a lane changed the picture, or why none did."""
        return outcome(self.reasons)


def outcome(reasons: Sequence[Reason]) -> Reason:
    """Return CHANGED if one of several lanes changed a picture; else why the first one that was to be drawn did not."""
    if Reason.CHANGED in reasons:
        return Reason.CHANGED
    return next((reason for reason in reasons if reason is not Reason.NOT_SPEAKING), Reason.NOT_SPEAKING)


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
    """What one lane does with some frames, of which each generator gets one request.

    Attributes:
        reasons: why each frame stays as it is if no generator changes it.
        parts: what the generators are asked; those whose mouth no frame shows are left out.
    """

    reasons: list[Reason]
    parts: list[Part]


class LaneStage:
    """Draws a lane."""

    def __init__(self, triton: TritonCalls, lane: Lane, position: int, window_frames: int, clock: StageClock) -> None:
        """Take the lane.

        Args:
            triton: the server or servers.
            lane: the lane.
            position: its position among all lanes of the job.
            window_frames: frames per request, where the generators leave it open.
            clock: measures how long each step takes.
        """
        self._triton = triton
        self._lane = lane
        self._position = position
        self._clock = clock
        self.chunk_frames = (
            max((layer.generator.chunk_frames or 0 for layer in lane.layers), default=0) or window_frames
        )

    def draw(self, frames: list[DrawnFrame], chunk: Chunk) -> list[DrawnFrame]:
        """Lip-sync some frames; may be called for several chunks at once."""
        reasons = list(chunk.reasons)
        pictures = [frame.picture for frame in frames]
        regions = [frame.regions for frame in frames]
        for part in chunk.parts:
            self._draw_part(part, frames, pictures, reasons)
            if part.region is not None:
                for row in part.rows:
                    regions[row] = (*regions[row], part.region)
        return [
            replace(frame, picture=picture, reasons=(*frame.reasons, reason), regions=given)
            for frame, picture, reason, given in zip(frames, pictures, reasons, regions, strict=True)
        ]

    def prepare(self, batch: list[DrawnFrame]) -> Chunk:
        """Prepare the requests of the next frames; called in their order."""
        seen = [frame.seen[self._position] for frame in batch]
        reasons = [self._reason_of(frame, own[0]) for frame, own in zip(batch, seen, strict=True)]
        faces = [i for i, own in enumerate(seen) if own[0].face is not None]
        if not faces:
            return Chunk(reasons, [])
        times_s = np.array([batch[i].shown.middle_s for i in faces])
        with self._clock.time("prepare"):
            columns = zip(*(seen[i] for i in faces), strict=True)
            drawn = self._lane.times.shares(times_s) * self._face_shares([batch[i].shown.index for i in faces])
            parts = [
                _prepare_part(layer, faces, column, layer.share(times_s) * drawn)
                for layer, column in zip(self._lane.layers, columns, strict=True)
            ]
        return Chunk(reasons, [part for part in parts if part is not None])

    def _face_shares(self, indices: list[int]) -> np.ndarray:
        """Return how much of the mouth is shown by where the face is given: all of it, but where its boxes end."""
        face = self._lane.face
        return face.shares(np.array(indices)) if isinstance(face, FaceBoxes) else np.ones(len(indices), np.float32)

    def _reason_of(self, frame: DrawnFrame, seen: Observation[TimelineFrame]) -> Reason:
        """Return why a frame stays as it is if no generator changes it."""
        absent = self._lane.times.reason_at(frame.shown.middle_s)
        if absent is not None:
            return absent
        if seen.face is not None:
            return Reason.SILENCE
        face = self._lane.face
        is_stated = not isinstance(face, FaceBoxes) or frame.shown.index in face.boxes
        return Reason.NO_FACE if is_stated else Reason.NOT_SPEAKING

    def _draw_part(
        self, part: Part, frames: Sequence[DrawnFrame], pictures: list[Picture], reasons: list[Reason]
    ) -> None:
        """Add one generator's mouths to the pictures of a chunk."""
        if part.region is None:
            for i, share in zip(part.rows, part.shares.tolist(), strict=True):
                if share > 0:
                    reasons[i] = _outweighed(reasons[i], Reason.OUTSIDE)
            return
        with self._clock.time("convert"):
            before = np.stack([frames[i].picture.rgb(part.region) for i in part.rows])
        with self._clock.time("generate"):
            after, answered = self._generate(part.model, before, part.inputs)
        with self._clock.time("paste"):
            rows = zip(part.rows, part.shares.tolist(), before, after, answered, strict=True)
            for i, share, old, new, reason in rows:
                if share == 0:
                    continue
                reasons[i] = _outweighed(reasons[i], reason)
                if reason is Reason.CHANGED:
                    pictures[i] = pictures[i].copy()
                    pictures[i].apply(part.region, old, faded(old, new, share))

    def _generate(
        self, model: str, frames: np.ndarray, inputs: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, list[Reason]]:
        """Return the frames, uint8 RGB [N, h, w, 3], as the generator leaves them, and why some are unchanged."""
        large = {"synced_frames": LargeOutput(frames.dtype, frames.shape)}
        request = InferRequest(model, {"frames": frames, **inputs}, large)
        answer = self._triton.infer(request)
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


Prepared = tuple[list[DrawnFrame], list[Chunk]]  # frames, and what each lane does with them


class LaneGroup:
    """Draws lanes one after the other over chunks of one size, so that frames are held once for all of them."""

    def __init__(self, stages: Sequence[LaneStage], drawn: range) -> None:
        """Take the lanes in the order in which they are drawn; their chunks have the same size.

        Args:
            stages: the lanes.
            drawn: chunks that begin with one of these frames are; others are left as they are.
        """
        self._stages = stages
        self._drawn = drawn
        self.chunk_frames = stages[0].chunk_frames

    def chunks(self, frames: Iterable[DrawnFrame]) -> Generator[Prepared, None, None]:
        """Prepare the requests of all frames, in their order."""
        first = 0
        for batch in batched(frames, self.chunk_frames):
            chunks = [stage.prepare(batch) for stage in self._stages]
            yield batch, chunks if first in self._drawn else [replace(chunk, parts=[]) for chunk in chunks]
            first += len(batch)

    def draw(self, prepared: Prepared) -> list[DrawnFrame]:
        """Lip-sync one chunk; may be called for several chunks at once."""
        frames, chunks = prepared
        for stage, chunk in zip(self._stages, chunks, strict=True):
            frames = stage.draw(frames, chunk)
        return frames


def _prepare_part(
    layer: Layer, rows: list[int], seen: Sequence[Observation[TimelineFrame]], shares: np.ndarray
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


def _outweighed(known: Reason, told: Reason) -> Reason:
    """Note a generator's reason; one that changed the frame outweighs the others."""
    return known if known is Reason.CHANGED else told
