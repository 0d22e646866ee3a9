"""Finds faces in pictures with a face model of the server, and follows one of them. Opens no files."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import cv2
import numpy as np

from client.media import Picture, TimelineFrame
from client.report import StageClock
from client.servers.calls import InferRequest, TritonCalls
from client.tracking.face_boxes import FaceBoxes
from client.tracking.faces import LARGEST, Face, FaceChoice, faces_of_frame
from client.tracking.follow import THUMBNAIL_SIDE, CutDetector, FaceLinker, Observation, bridge_gaps

MAX_STEP = 3  # source frames from one frame to the next, where a rate is lowered
ANALYSIS_LONG_SIDE = 960  # pixels; enough for the landmarks of faces as small as a tenth of the picture


class IndexedFrame(Protocol):
    """A frame of the source, or of the output's timeline."""

    @property
    def picture(self) -> Picture:
        """Its pixels."""

    @property
    def index(self) -> int:
        """Number of the source frame, counted from the start of the used part."""


Frame = TypeVar("Frame", bound=IndexedFrame)


@dataclass(frozen=True)
class Detector:
    """A face model of the server.

    Attributes:
        name: the value of the option `detector`.
        title: what a form calls it.
        model: its name on the server.
        long_side: longest side of the pictures that it gets, in pixels; None for full size.
        finds_landmarks: whether it finds landmarks too, not boxes alone.
        finds_small_faces: whether it can be asked for small faces beside large ones; others find them anyhow.
        follows_faces: whether it can be told that frames follow each other, which saves it most of the work.
    """

    name: str
    title: str
    model: str
    long_side: int | None
    finds_landmarks: bool
    finds_small_faces: bool = False
    follows_faces: bool = False


MEDIAPIPE = Detector("mediapipe", "MediaPipe, fast", "faces", ANALYSIS_LONG_SIDE, True, True, True)
# The original Wav2Lip's detector, which sees pictures at full size.
S3FD = Detector("s3fd", "S3FD, as the original, much slower", "s3fd_faces", None, finds_landmarks=False)
DETECTORS = (MEDIAPIPE, S3FD)


def detector_named(name: str) -> Detector:
    """Return the detector that a value of the option `detector` names."""
    return {detector.name: detector for detector in DETECTORS}[name]


@dataclass(frozen=True)
class FoundFrame(Generic[Frame]):
    """A frame with all faces in it.

    Attributes:
        frame: the frame.
        faces: its faces, in its own pixels.
        thumbnail: the frame in grey, float32 [32, 32], 0 to 255.
    """

    frame: Frame
    faces: list[Face]
    thumbnail: np.ndarray


class FindsFaces(Protocol):
    """Knows the faces of frames, whether it looks for them or not."""

    def find(self, window: Sequence[TimelineFrame]) -> list[FoundFrame[TimelineFrame]]:
        """Return each frame of a window with its faces; may be called for several windows at once."""


class FaceFinder:
    """Finds all faces in frames with a detector on the server."""

    def __init__(
        self,
        connection: TritonCalls,
        clock: StageClock,
        detector: Detector = MEDIAPIPE,
        *,
        every_face: bool = False,
        consecutive: bool = False,
    ) -> None:
        """Take the detector.

        Args:
            connection: the server or servers.
            clock: measures how long each step takes.
            detector: the face model.
            every_face: look for small faces beside large ones too, which takes longer.
            consecutive: whether the frames of a window follow each other, but where the clip turns back or starts anew.
        """
        self._follows = consecutive and detector.follows_faces
        asked = {"every_face": every_face and detector.finds_small_faces, "consecutive": self._follows}
        self._inputs = {name: np.array([True]) for name, is_asked in asked.items() if is_asked}
        self._connection = connection
        self._clock = clock
        self._detector = detector
        self._last: tuple[Picture, list[Face], np.ndarray] | None = None  # a held picture is searched only once

    def find(self, window: Sequence[Frame]) -> list[FoundFrame[Frame]]:
        """Find all faces in each frame of a window; may be called for several windows at once."""
        last = self._last
        known = {} if last is None else {id(last[0]): last}
        new = list({id(frame.picture): frame for frame in window if id(frame.picture) not in known}.values())
        runs = consecutive_runs(new) if self._follows else [new]
        for run in filter(None, runs):
            pictures = [frame.picture for frame in run]
            searched = self._search(pictures)
            known |= {id(picture): (picture, *found) for picture, found in zip(pictures, searched, strict=True)}
        self._last = known[id(window[-1].picture)]
        return [FoundFrame(frame, *known[id(frame.picture)][1:]) for frame in window]

    def _search(self, pictures: Sequence[Picture]) -> list[tuple[list[Face], np.ndarray]]:
        """Return each picture's faces in its own pixels, and its thumbnail."""
        with self._clock.time("convert"):
            shown = np.stack([picture.rgb(long_side=self._detector.long_side) for picture in pictures])
        with self._clock.time("faces"):
            answer = self._connection.infer(InferRequest(self._detector.model, {"frames": shown, **self._inputs}))
        height, width = shown.shape[1:3]
        landmarks = answer.get("landmarks")
        found = []
        for i, picture in enumerate(pictures):
            scale = (picture.width / width, picture.height / height)
            faces = faces_of_frame(answer["boxes"][i], answer["scores"][i], None if landmarks is None else landmarks[i])
            found.append(([_scaled(face, *scale) for face in faces], _thumbnail(shown[i])))
        return found


class FixedFace:
    """Replaces a FaceFinder when the user gives the face's box."""

    def __init__(self, box: np.ndarray) -> None:
        """Take the box, float32 [4], (x1, y1, x2, y2) in pixels."""
        self._found = ([Face(box, score=1.0)], np.zeros((THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.float32))

    def find(self, window: Sequence[Frame]) -> list[FoundFrame[Frame]]:
        """Return the face for each frame of a window."""
        return [FoundFrame(frame, *self._found) for frame in window]


def open_finder(
    connection: TritonCalls,
    clock: StageClock,
    detector: Detector,
    box: Sequence[float] | None,
    faces: Iterable[FaceChoice | FaceBoxes],
) -> FaceFinder | FixedFace:
    """Find faces with a detector, unless the user gives the box, (x1, y1, x2, y2) in pixels."""
    if box is not None:
        return FixedFace(np.array(box, np.float32))
    return FaceFinder(connection, clock, detector, every_face=needs_every_face(faces), consecutive=True)


def consecutive_runs(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Split frames where they do not follow each other, all forwards or all backwards."""
    runs: list[list[Frame]] = []
    direction = 0
    for frame in frames:
        moved = frame.index - runs[-1][-1].index if runs else 0
        if 0 < abs(moved) <= MAX_STEP and moved * direction >= 0:
            runs[-1].append(frame)
            direction = moved
        else:
            runs.append([frame])
            direction = 0
    return runs


def needs_every_face(faces: Iterable[FaceChoice | FaceBoxes]) -> bool:
    """Return whether small faces beside large ones matter to a choice; the largest face is always found."""
    return any(face != LARGEST for face in faces)


def follow(found: Iterable[FoundFrame[Frame]], choice: FaceChoice) -> Generator[Observation[Frame], None, None]:
    """Follow one face through all frames, bridging short gaps."""
    cuts, linker = CutDetector(), FaceLinker(choice)

    def linked() -> Generator[Observation[Frame], None, None]:
        for item in found:
            face, track = linker.link(item.faces, cuts.is_cut(item.thumbnail))
            yield Observation(item.frame, face, track)

    return bridge_gaps(linked())


def _scaled(face: Face, x: float, y: float) -> Face:
    """Scale a face from the searched picture to the frame's own pixels; depth scales like x."""
    landmarks = None if face.landmarks is None else face.landmarks * np.array([x, y, x], np.float32)
    return Face(face.box * np.array([x, y, x, y], np.float32), face.score, landmarks)


def _thumbnail(picture: np.ndarray) -> np.ndarray:
    side = 4 * THUMBNAIL_SIDE  # the mean of the whole picture's pixels, in one step, takes six times as long
    sampled = cv2.resize(picture, (side, side), interpolation=cv2.INTER_LINEAR)
    small = cv2.resize(sampled, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    return small.mean(axis=2, dtype=np.float32)
