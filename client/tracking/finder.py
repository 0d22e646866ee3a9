"""Finds faces in pictures with a face model of the server, and follows one of them. Opens no files."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from client.flow import batched
from client.media import Picture
from client.report import StageClock
from client.servers.calls import InferRequest, TritonCalls
from client.tracking.face_boxes import FaceBoxes
from client.tracking.faces import LARGEST, Face, FaceChoice, faces_of_frame
from client.tracking.follow import THUMBNAIL_SIDE, CutDetector, FaceLinker, Observation, bridge_gaps

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
        landmark_network: the network that finds landmarks again where frames follow each other; None if there is none.
    """

    name: str
    title: str
    model: str
    long_side: int | None
    finds_landmarks: bool
    finds_small_faces: bool = False
    landmark_network: str | None = None


MEDIAPIPE = Detector("mediapipe", "MediaPipe, fast", "faces", ANALYSIS_LONG_SIDE, True, True, "face_landmarks")
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


class FoundPicture(NamedTuple):
    """All faces of a picture in its own pixels, and its thumbnail, see `FoundFrame`."""

    faces: list[Face]
    thumbnail: np.ndarray


class FindsFaces(Protocol):
    """Knows the faces of frames, whether it looks for them or not."""

    def windows(self, frames: Iterable[Any], most: int) -> Generator[Any, None, None]:
        """Split frames into windows of at most `most` frames for `find`."""

    def find(self, window: Any) -> list[FoundFrame[Any]]:
        """Return each frame of a window with its faces; may be called for several windows at once, in their order."""


class AnyWindows:
    """Takes frames as they come, whatever window they are in."""

    def windows(self, frames: Iterable[Frame], most: int) -> Generator[list[Frame], None, None]:
        """Split frames into windows of at most `most` frames for `find`."""
        yield from batched(frames, most)


class FaceFinder(AnyWindows):
    """Finds all faces in frames with a detector on the server, in each frame by itself.

    Attributes:
        detector: the face model.
        clock: measures how long each step takes.
    """

    def __init__(
        self, connection: TritonCalls, clock: StageClock, detector: Detector = MEDIAPIPE, *, every_face: bool = False
    ) -> None:
        """Take the detector.

        Args:
            connection: the server or servers.
            clock: measures how long each step takes.
            detector: the face model.
            every_face: look for small faces beside large ones too, which takes longer.
        """
        self.detector = detector
        self.clock = clock
        asks_for_small = every_face and detector.finds_small_faces
        self._inputs = {"every_face": np.array([True])} if asks_for_small else {}
        self._connection = connection
        self._last: tuple[Picture, FoundPicture] | None = None  # a held picture is searched only once

    def find(self, window: Sequence[Frame]) -> list[FoundFrame[Frame]]:
        """Find all faces in each frame of a window; may be called for several windows at once."""
        known = {} if self._last is None else {id(self._last[0]): self._last[1]}
        new = {id(frame.picture): frame.picture for frame in window if id(frame.picture) not in known}
        if new:
            known |= zip(new, self.search(list(new.values())), strict=True)
        self._last = window[-1].picture, known[id(window[-1].picture)]
        return [FoundFrame(frame, *known[id(frame.picture)]) for frame in window]

    def search(self, pictures: Sequence[Picture]) -> list[FoundPicture]:
        """Search pictures of one size, at least one."""
        with self.clock.time("convert"):
            shown = np.stack([picture.rgb(long_side=self.detector.long_side) for picture in pictures])
        with self.clock.time("faces"):
            answer = self._connection.infer(InferRequest(self.detector.model, {"frames": shown, **self._inputs}))
        height, width = shown.shape[1:3]
        landmarks = answer.get("landmarks")
        found = []
        for i, picture in enumerate(pictures):
            scale = (picture.width / width, picture.height / height)
            faces = faces_of_frame(answer["boxes"][i], answer["scores"][i], None if landmarks is None else landmarks[i])
            found.append(FoundPicture([_scaled(face, *scale) for face in faces], picture.thumbnail(THUMBNAIL_SIDE)))
        return found


class FixedFace(AnyWindows):
    """Replaces a FaceFinder when the user gives the face's box."""

    def __init__(self, box: np.ndarray) -> None:
        """Take the box, float32 [4], (x1, y1, x2, y2) in pixels."""
        self._found = [Face(box, score=1.0)], np.zeros((THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.float32)

    def find(self, window: Sequence[Frame]) -> list[FoundFrame[Frame]]:
        """Return the face for each frame of a window."""
        return [FoundFrame(frame, *self._found) for frame in window]


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
