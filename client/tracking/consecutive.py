"""Finds faces in frames that follow each other: by the detector in key frames, and by way of these in those between.

Source: measured on moving heads; docs/specs/face.md, "Consecutive frames".
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from client.chunks import region_around
from client.media import Picture
from client.report import StageClock
from client.servers.calls import InferRequest, TritonCalls
from client.tracking.faces import Face
from client.tracking.finder import (
    Detector,
    FaceFinder,
    FindsFaces,
    FixedFace,
    FoundFrame,
    FoundPicture,
    IndexedFrame,
)
from client.tracking.follow import THUMBNAIL_SIDE, CutDetector
from lipsync_core.face import (
    LANDMARK_IMAGE_SIZE,
    crop_regions,
    fit_landmarks,
    in_batches,
    landmarks_in_frame,
    regions_from_landmarks,
)

MAX_GAP = 5  # frames from one key frame to the next
MAX_STEP = 3  # source frames from one frame to the next, where a rate is lowered
SAME_FACE_OVERLAP = 0.5  # least overlap of a face's boxes in two key frames
IMAGES_PER_CALL = 16  # the network's max_batch_size
VIEW_MARGIN = 2.0  # pixels around what a crop shows

Frame = TypeVar("Frame", bound=IndexedFrame)
Place = tuple[int, int]  # which of some frames, and which of its faces


@dataclass(frozen=True, eq=False)
class KeyFrame:
    """A frame that the detector searches.

    Attributes:
        picture: its pixels.
        index: its number in the source.
        found: what it shows, as soon as that is known.
    """

    picture: Picture
    index: int
    found: Future[FoundPicture] = field(default_factory=Future)


@dataclass(frozen=True, eq=False)
class Stretch(Generic[Frame]):
    """Frames that follow each other, up to a key frame.

    Attributes:
        before: the key frame that they follow; None where they follow nothing, so that the first is a key frame too.
        frames: the frames; a picture may be shown several times.
        end: the last frame.
    """

    before: KeyFrame | None
    frames: list[Frame]
    end: KeyFrame

    def pictures(self) -> list[Frame]:
        """Return one frame of each picture that is not the one before."""
        distinct = {id(frame.picture): frame for frame in self.frames}
        if self.before is not None:
            distinct.pop(id(self.before.picture), None)
        return list(distinct.values())


class ConsecutiveFinder:
    """Finds the faces of a stream of frames; key frames depend on the stream and the most frames of a request alone."""

    def __init__(self, finder: FaceFinder, connection: TritonCalls, network: str, *, max_step: int = MAX_STEP) -> None:
        """Take what is needed.

        Args:
            finder: searches key frames.
            connection: the server or servers.
            network: the name of their landmark network.
            max_step: most source frames from one frame to the next, if they are to follow each other.
        """
        self._finder = finder
        self._connection = connection
        self._network = network
        self._max_step = max_step

    def windows(self, frames: Iterable[Frame], most: int) -> Generator[Stretch[Frame], None, None]:
        """Split a stream into stretches of at most `most` frames, for `find` in this order."""
        before: KeyFrame | None = None
        waiting: list[Frame] = []
        motion = _Motion(self._max_step)
        for frame in frames:
            goes_on = motion.goes_on(frame)
            if waiting and (not goes_on or len(waiting) == min(most, MAX_GAP)):
                stretch = _stretch(before, waiting)
                before, waiting = stretch.end, []
                yield stretch
            before = before if goes_on else None
            waiting.append(frame)
        if waiting:
            yield _stretch(before, waiting)

    def find(self, window: Stretch[Frame]) -> list[FoundFrame[Frame]]:
        """Find all faces in each frame of a stretch; may be called for several at once, begun in their order."""
        pictures = window.pictures()
        searched = self._search_keys(window, pictures)
        begin = window.before or KeyFrame(pictures[0].picture, pictures[0].index)
        if window.before is None:
            begin.found.set_result(searched[id(begin.picture)])
        known = {**searched, id(begin.picture): begin.found.result()}
        between = [frame for frame in pictures if id(frame.picture) not in known]
        known |= self._find_between(begin, window.end, between)
        return [FoundFrame(frame, *known[id(frame.picture)]) for frame in window.frames]

    def _search_keys(self, window: Stretch[Frame], pictures: Sequence[Frame]) -> dict[int, FoundPicture]:
        """Search the stretch's own key frames, and tell the next one what its end shows."""
        if window.end is window.before:
            return {}
        first = pictures[:1] if window.before is None else []
        keys = list({id(frame.picture): frame.picture for frame in (*first, pictures[-1])}.values())
        try:
            found = dict(zip(map(id, keys), self._finder.search(keys), strict=True))
        except BaseException as error:
            window.end.found.set_exception(error)
            raise
        window.end.found.set_result(found[id(window.end.picture)])
        return found

    def _find_between(self, begin: KeyFrame, end: KeyFrame, frames: Sequence[Frame]) -> dict[int, FoundPicture]:
        """Follow the faces through the frames between two key frames; search those in which one cannot be followed."""
        if not frames:
            return {}
        shown = [FoundPicture([], frame.picture.thumbnail(THUMBNAIL_SIDE)) for frame in frames]
        expected = _expected_faces(begin, end, frames, [found.thumbnail for found in shown])
        followed = self._look_again([frame.picture for frame in frames], expected)
        found = {
            id(frame.picture): FoundPicture(faces, seen.thumbnail)
            for frame, seen, faces in zip(frames, shown, followed, strict=True)
            if faces
        }
        rest = [frame.picture for frame in frames if id(frame.picture) not in found]
        return found | dict(zip(map(id, rest), self._finder.search(rest) if rest else [], strict=True))

    def _look_again(self, pictures: Sequence[Picture], expected: Sequence[list[Face]]) -> list[list[Face]]:
        """Find the landmarks of faces near where they are expected; no faces for a picture where one is not there."""
        places = [(i, j) for i, faces in enumerate(expected) for j in range(len(faces))]
        long_side = self._finder.detector.long_side
        with self._finder.clock.time("convert"):
            views = {(i, j): _View.of(pictures[i], expected[i][j], long_side) for i, j in places}
        seen = {place: view for place, view in views.items() if view is not None}
        found = self._landmarks(seen)
        followed = []
        for i, faces in enumerate(expected):
            own = [_followed(face, found.get((i, j))) for j, face in enumerate(faces)]
            followed.append([face for face in own if face is not None] if None not in own else [])
        return followed

    def _landmarks(self, views: dict[Place, _View]) -> dict[Place, np.ndarray]:
        """Return the landmarks, float32 [468, 3] in pixels of the picture, of views that show a face."""
        if not views:
            return {}
        with self._finder.clock.time("faces"):
            crops = np.concatenate([view.crop() for view in views.values()])
            landmarks, presence_logits = in_batches(self._call, crops, IMAGES_PER_CALL)
        rows = zip(views.items(), landmarks, presence_logits[:, 0].tolist(), strict=True)
        return {place: view.in_picture(points) for (place, view), points, logit in rows if logit > 0}

    def _call(self, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        answer = self._connection.infer(InferRequest(self._network, {"images": crops}))
        return answer["landmarks"], answer["presence_logits"]


def open_finder(
    connection: TritonCalls,
    clock: StageClock,
    detector: Detector,
    box: Sequence[float] | None = None,
    *,
    every_face: bool,
    max_step: int = MAX_STEP,
) -> FindsFaces:
    """Find the faces of a stream of frames with a detector, unless the user gives the box, (x1, y1, x2, y2) in pixels.

    Args:
        connection: the server or servers.
        clock: measures how long each step takes.
        detector: the face model.
        box: the only face; None to look for faces.
        every_face: look for small faces beside large ones too, which takes longer.
        max_step: most source frames from one frame to the next, if they are to follow each other.
    """
    if box is not None:
        return FixedFace(np.array(box, np.float32))
    finder = FaceFinder(connection, clock, detector, every_face=every_face)
    network = detector.landmark_network
    return finder if network is None else ConsecutiveFinder(finder, connection, network, max_step=max_step)


class _Motion:
    """Tells whether a frame follows the one before, all forwards or all backwards."""

    def __init__(self, max_step: int) -> None:
        self._max_step = max_step
        self._last: tuple[Picture, int] | None = None
        self._direction = 0

    def goes_on(self, frame: IndexedFrame) -> bool:
        last, self._last = self._last, (frame.picture, frame.index)
        if last is None or last[0] is frame.picture:
            return last is not None
        moved = frame.index - last[1]
        goes_on = 0 < abs(moved) <= self._max_step and moved * self._direction >= 0
        self._direction = moved if goes_on else 0
        return goes_on


@dataclass(frozen=True)
class _View:
    """The part of a picture that shows a face, at the scale at which the detector sees pictures.

    Attributes:
        pixels: uint8 RGB [h, w, 3].
        origin: float64 [2], its corner in the picture, (x, y) in pixels.
        scale: float64 [2], its pixels per pixel of the picture, across and down.
        region: float64 [4], see `lipsync_core.face.regions`, in its own pixels.
    """

    pixels: np.ndarray
    origin: np.ndarray
    scale: np.ndarray
    region: np.ndarray

    @classmethod
    def of(cls, picture: Picture, face: Face, long_side: int | None) -> _View | None:
        """Read the part around a face with landmarks; None outside the picture."""
        assert face.landmarks is not None
        region = regions_from_landmarks(face.landmarks)
        centre, reach = region[:2], region[2] * math.sqrt(0.5) + VIEW_MARGIN
        part = region_around((*(centre - reach), *(centre + reach)), picture)
        if part is None:
            return None
        x1, y1, x2, y2 = part
        shrink = min(1.0, (long_side or math.inf) / max(picture.width, picture.height))
        pixels = picture.rgb(part, long_side=max(1, round(shrink * max(x2 - x1, y2 - y1))))
        origin, scale = np.array([x1, y1], float), np.array(pixels.shape[1::-1]) / (x2 - x1, y2 - y1)
        return cls(pixels, origin, scale, np.array([*((centre - origin) * scale), region[2] * scale.mean(), region[3]]))

    def crop(self) -> np.ndarray:
        """Return what the landmark network sees, uint8 RGB [1, 192, 192, 3]."""
        return crop_regions(self.pixels, self.region[None], LANDMARK_IMAGE_SIZE, replicate_border=True)

    def in_picture(self, landmarks: np.ndarray) -> np.ndarray:
        """Convert landmarks, float32 [468, 3], from pixels of the crop to pixels of the picture."""
        points = landmarks_in_frame(landmarks[None], self.region[None])[0]
        points[:, :2] = points[:, :2] / self.scale + self.origin
        points[:, 2] /= self.scale[0]
        return points


def _stretch(before: KeyFrame | None, frames: list[Frame]) -> Stretch[Frame]:
    last = frames[-1]
    is_held = before is not None and before.picture is last.picture
    return Stretch(before, frames, before if before and is_held else KeyFrame(last.picture, last.index))


def _expected_faces(
    begin: KeyFrame, end: KeyFrame, frames: Sequence[IndexedFrame], thumbnails: Sequence[np.ndarray]
) -> list[list[Face]]:
    """Return where the faces of two key frames are in between, if they move in straight lines.

    Nothing is expected between key frames of two shots or with different faces, nor where none is seen: a face may be
    hard to see.
    """
    first, last = begin.found.result(), end.found.result()
    cuts = CutDetector()
    if any(map(cuts.is_cut, (first.thumbnail, *thumbnails, last.thumbnail))):
        return [[] for _ in frames]
    pairs = _same_faces(first.faces, last.faces)
    shares = [(frame.index - begin.index) / (end.index - begin.index) for frame in frames]
    return [[face.between(moved, share) for face, moved in pairs] for share in shares]


def _same_faces(faces: Sequence[Face], others: Sequence[Face]) -> list[tuple[Face, Face]]:
    """Return each face with the other one that shows it; nothing unless all have one."""
    overlaps = np.array([[face.overlap(other) for other in others] for face in faces])
    if not overlaps.size or len(faces) != len(others):
        return []
    partners: list[int] = overlaps.argmax(axis=1).tolist()
    if len(set(partners)) < len(partners) or overlaps.max(axis=1).min() < SAME_FACE_OVERLAP:
        return []
    return [(face, others[partner]) for face, partner in zip(faces, partners, strict=True)]


def _followed(expected: Face, landmarks: np.ndarray | None) -> Face | None:
    """Return a face with the landmarks that were found; None if there are none, or they lie on something else."""
    assert expected.landmarks is not None
    if landmarks is None or not fit_landmarks(landmarks, expected.landmarks, expected.box):
        return None
    return Face(expected.box, expected.score, landmarks)
