"""What is known of a clip's faces before a job: of a prepared clip, or of a picture that is held."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from client.chunks import region_around
from client.media import TimelineFrame
from client.pipeline import FaceAnalysis, KnownFaces
from client.prepared.clip import FACES_PER_PART, Manifest
from client.servers.calls import InferRequest, TritonCalls
from client.tracking.faces import Face, faces_of_frame
from client.tracking.finder import AnyWindows, FoundFrame
from lipsync_core.face import LANDMARKS

NUMBERS = "frame_numbers"  # int32 [F]: which of a part's frames have a face
PLACE = "place "  # before the name of a coordinate that the analysis was asked with
SAME_PLACE = 0.01  # pixels: order of summation moves smoothed landmarks by much less
PARTS_KEPT = 4

Part = dict[str, np.ndarray]
FacesOfFrame = tuple[list[Face], np.ndarray]  # and the frame's thumbnail


class ClipParts(Protocol):
    """A prepared clip, on disk or in memory."""

    manifest: Manifest

    def faces(self, number: int) -> Part:
        """Return all faces of FACES_PER_PART frames."""

    def analysis(self, number: int) -> Part:
        """Return what the pipeline knows of the next `manifest.analysed` frames."""


class PreparedFaces(AnyWindows):
    """Takes the faces of a prepared clip instead of finding them; replaces a FaceFinder."""

    def __init__(self, clip: ClipParts) -> None:
        """Take the clip."""
        self._parts = PartReader(clip.faces)

    def find(self, window: Sequence[TimelineFrame]) -> list[FoundFrame[TimelineFrame]]:
        """Return each frame with its faces; may be called for several windows at once."""
        return [self._found(frame) for frame in window]

    def _found(self, frame: TimelineFrame) -> FoundFrame[TimelineFrame]:
        part, row = self._parts[frame.index // FACES_PER_PART], frame.index % FACES_PER_PART
        landmarks = part.get("landmarks")
        rows = None if landmarks is None else landmarks[row]
        return FoundFrame(frame, faces_of_frame(part["boxes"][row], part["scores"][row], rows), part["thumbnails"][row])


class PreparedAnalyses:
    """The analyses of a prepared clip's frames."""

    def __init__(self, clip: ClipParts) -> None:
        """Take the clip."""
        self._parts = PartReader(clip.analysis)
        self._frames_per_part = clip.manifest.analysed

    def find(self, frames: Sequence[TimelineFrame], places: Mapping[str, np.ndarray]) -> Part | None:
        """Return what is known of these frames' faces, rows [F, ...] by name.

        Args:
            frames: frames of the clip.
            places: where their faces are, rows by name; a face that was analysed elsewhere is not known.

        Returns:
            None if a frame's face is not known.
        """
        known: list[Part] = []
        for i, frame in enumerate(frames):
            row = self._row(frame.index, {name: array[i] for name, array in places.items()})
            if row is None:
                return None
            known.append(row)
        return {name: np.stack([row[name] for row in known]) for name in known[0]}

    def _row(self, index: int, place: Mapping[str, np.ndarray]) -> Part | None:
        part = self._parts[index // self._frames_per_part]
        found = np.flatnonzero(part[NUMBERS] == index)
        if not len(found):
            return None
        row = {name: array[found[0]] for name, array in part.items() if name != NUMBERS}
        asked = {name.removeprefix(PLACE): array for name, array in row.items() if name.startswith(PLACE)}
        if asked.keys() != place.keys():
            return None
        if not all(np.allclose(asked[name], place[name], rtol=0, atol=SAME_PLACE) for name in asked):
            return None
        return {name: array for name, array in row.items() if not name.startswith(PLACE)}


class FirstKnown:
    """Asks several sources in turn."""

    def __init__(self, *sources: KnownFaces | None) -> None:
        """Take the sources; None is passed over."""
        self._sources = [source for source in sources if source is not None]

    def find(self, frames: Sequence[TimelineFrame], places: Mapping[str, np.ndarray]) -> Part | None:
        """Return what the first source that knows these frames' faces knows of them."""
        found = (source.find(frames, places) for source in self._sources)
        return next((known for known in found if known is not None), None)


class HeldAnalyses:
    """Analyses a picture that is shown again and again, such as a photograph, only once."""

    def __init__(self, triton: TritonCalls, analysis: FaceAnalysis) -> None:
        """Take the server, and what is to be known."""
        self._triton = triton
        self._analysis = analysis
        self._last: tuple[int, dict[str, np.ndarray], Part] | None = None  # frame, place, analysis

    def find(self, frames: Sequence[TimelineFrame], places: Mapping[str, np.ndarray]) -> Part | None:
        """Return what is known of these frames' faces, rows [F, ...] by name; None unless one picture is held."""
        frame = frames[0]
        if not frame.picture.shared or any(other.index != frame.index for other in frames):
            return None
        place = {name: array[:1] for name, array in places.items()}
        if any((array != array[:1]).any() for array in places.values()):
            return None
        if self._last is None or self._last[0] != frame.index or not _same(self._last[1], place):
            known = analyse_faces(self._triton, self._analysis, [frame], place)
            if known is None:
                return None
            self._last = frame.index, place, known
        return {name: np.repeat(array, len(frames), axis=0) for name, array in self._last[2].items()}


def analyse_faces(
    triton: TritonCalls, analysis: FaceAnalysis, frames: Sequence[TimelineFrame], places: Mapping[str, np.ndarray]
) -> Part | None:
    """Ask the server about the faces of some frames.

    Args:
        triton: the server or servers.
        analysis: what is to be known.
        frames: the frames, of one size.
        places: where their faces are, rows [F, ...] by name.

    Returns:
        Rows [F, ...] by name; None if the faces are outside the picture.
    """
    request = analysis.request(frames, places)
    region = region_around(request.extent, frames[0].picture)
    if region is None:
        return None
    pictures = np.stack([frame.picture.rgb(region) for frame in frames])
    answer = triton.infer(InferRequest(analysis.model, {"frames": pictures, **request.inputs_for(region)}))
    return {name: answer[name] for name in analysis.kept}


def faces_part(rows: Sequence[FacesOfFrame]) -> Part:
    """Return all faces of some frames as arrays, for `PreparedFaces`: those of a frame first, then empty rows."""
    most = max((len(faces) for faces, _ in rows), default=0)
    boxes, scores = np.zeros((len(rows), most, 4), np.float32), np.zeros((len(rows), most), np.float64)
    landmarks = np.zeros((len(rows), most, LANDMARKS, 3), np.float32)
    with_landmarks = False
    for i, (faces, _) in enumerate(rows):
        for j, face in enumerate(faces):
            boxes[i, j], scores[i, j] = face.box, face.score
            if face.landmarks is not None:
                with_landmarks, landmarks[i, j] = True, face.landmarks
    part = {"boxes": boxes, "scores": scores, "thumbnails": np.stack([thumbnail for _, thumbnail in rows])}
    return {**part, "landmarks": landmarks} if with_landmarks else part


def analysis_part(numbers: Sequence[int], places: Mapping[str, np.ndarray], known: Part) -> Part:
    """Return what is known of some frames as arrays, for `PreparedAnalyses`."""
    return {
        NUMBERS: np.array(numbers, np.int32),
        **{f"{PLACE}{name}": array for name, array in places.items()},
        **known,
    }


class PartReader:
    """Reads parts, and keeps the last few; may be asked by several threads at once."""

    def __init__(self, read: Callable[[int], Part]) -> None:
        """Take the function that reads a part by its number."""
        self._read = read
        self._kept: OrderedDict[int, Part] = OrderedDict()
        self._guard = threading.Lock()

    def __getitem__(self, number: int) -> Part:
        """Return a part."""
        with self._guard:
            if number not in self._kept:
                while len(self._kept) >= PARTS_KEPT:
                    self._kept.popitem(last=False)
                self._kept[number] = self._read(number)
            return self._kept[number]


def _same(place: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    return place.keys() == other.keys() and all(np.array_equal(place[name], other[name]) for name in place)
