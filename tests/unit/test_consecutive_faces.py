"""Faces in frames that follow each other: which frames are searched, and how faces are followed in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import av
import numpy as np
import pytest

from client.errors import ServerUnavailable
from client.media import Picture
from client.media.pixels import ColorTags
from client.report import StageClock
from client.servers.calls import InferRequest, TritonCalls
from client.tracking.consecutive import IMAGES_PER_CALL, ConsecutiveFinder
from client.tracking.faces import Face
from client.tracking.finder import MEDIAPIPE, FaceFinder, FoundFrame, FoundPicture
from client.tracking.follow import THUMBNAIL_SIDE
from lipsync_core.config_file import read_contract
from lipsync_core.face import LANDMARK_IMAGE_SIZE, LANDMARKS
from tests.conftest import ROOT

SIZE = (1920, 1080)  # twice what the detector sees
SIDE = 200.0
LEFT_EYE, RIGHT_EYE = 33, 263
Centres = Sequence[tuple[float, float]]  # of the faces of one frame


@dataclass(frozen=True)
class Frame:
    """A frame of a test's stream."""

    index: int
    picture: Picture


def picture(level: int = 128, rows: int = 0) -> Picture:
    """Make a grey picture; the upper rows are black."""
    frame = av.VideoFrame(*SIZE, "yuv420p")
    for plane in frame.planes:
        plane.update(bytes([128]) * plane.buffer_size)
    luma = np.full((SIZE[1], frame.planes[0].line_size), level, np.uint8)
    luma[:rows] = 16
    frame.planes[0].update(luma.tobytes())
    return Picture(frame, ColorTags())


def face(x: float, y: float) -> Face:
    """Make an upright face whose landmarks fill its box."""
    unit = np.random.default_rng(0).uniform(-0.4, 0.4, (LANDMARKS, 3)).astype(np.float32)
    unit[0], unit[2] = (-0.5, -0.5, 0), (0.5, 0.5, 0)
    unit[[LEFT_EYE, RIGHT_EYE], :2] = (-0.3, -0.2), (0.3, -0.2)
    landmarks = unit * SIDE + np.array([x, y, 0], np.float32)
    half = SIDE / 2
    return Face(np.array([x - half, y - half, x + half, y + half], np.float32), 0.9, landmarks.astype(np.float32))


class Search:
    """Finds faces where a test puts them, and notes in which frames it was asked to."""

    detector = MEDIAPIPE
    clock = StageClock()

    def __init__(self, frames: Sequence[Frame], centres: Sequence[Centres]) -> None:
        self._shown = {id(frame.picture): (frame.index, found) for frame, found in zip(frames, centres, strict=True)}
        self.asked: list[int] = []
        self.broken_at: int | None = None

    def search(self, pictures: Sequence[Picture]) -> list[FoundPicture]:
        found = []
        for shown in pictures:
            index, centres = self._shown[id(shown)]
            if index == self.broken_at:
                raise ServerUnavailable("the server is gone")
            self.asked.append(index)
            found.append(FoundPicture([face(x, y) for x, y in centres], shown.thumbnail(THUMBNAIL_SIDE)))
        return found


class Network:
    """Sees the same upright face in the middle of every crop but some."""

    def __init__(self, unseen: Sequence[int] = (), offset: float = 0.0) -> None:
        self._unseen, self._offset = unseen, offset
        self.rows = 0

    def infer(self, request: InferRequest) -> dict[str, np.ndarray]:
        assert request.model == "face_landmarks"
        images = request.inputs["images"]
        assert images.shape[1:] == (LANDMARK_IMAGE_SIZE, LANDMARK_IMAGE_SIZE, 3)
        rows = self.rows + np.arange(len(images))
        self.rows += len(images)
        box = LANDMARK_IMAGE_SIZE / 1.5  # the region is half as large again as the face
        mesh = face(0, 0).landmarks
        assert mesh is not None
        crop = mesh / SIDE * box + np.array([LANDMARK_IMAGE_SIZE / 2 + self._offset, LANDMARK_IMAGE_SIZE / 2, 0])
        landmarks = crop[None].repeat(len(images), axis=0).astype(np.float32)
        return {"landmarks": landmarks, "presence_logits": np.where(np.isin(rows, self._unseen), -1.0, 1.0)[:, None]}


def stream(count: int) -> list[Frame]:
    return [Frame(index, picture()) for index in range(count)]


def run(frames: Sequence[Frame], search: Search, network: Network | None = None, most: int = 16) -> list[list[Face]]:
    finder = ConsecutiveFinder(
        cast(FaceFinder, search), cast(TritonCalls, network or Network()), MEDIAPIPE.landmark_network or ""
    )
    found: list[FoundFrame[Any]] = []
    for window in finder.windows(frames, most):
        found += finder.find(window)
    assert [item.frame for item in found] == list(frames)
    return [item.faces for item in found]


@pytest.mark.parametrize(
    ("indices", "most", "expected"),
    [
        ([], 16, []),
        ([4], 16, [[4]]),
        ([4, 5, 6], 16, [[4, 5, 6]]),
        (range(12), 16, [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]),
        (range(5), 2, [[0, 1], [2, 3], [4]]),
        ([6, 5, 4], 16, [[6, 5, 4]]),
        ([10, 11, 10, 9], 16, [[10, 11], [10, 9]]),  # it turns back
        ([10, 11, 0, 1], 16, [[10, 11], [0, 1]]),  # it starts anew
        ([0, 2, 5, 7], 16, [[0, 2, 5, 7]]),  # from 60 to 25 frames per second
        ([0, 40, 80], 16, [[0], [40], [80]]),
    ],
)
def test_streams_are_split_after_a_few_frames_and_where_they_jump_or_turn(
    indices: Sequence[int], most: int, expected: list[list[int]]
) -> None:
    """Faces are followed only through frames that lie beside each other, all in one direction."""
    frames = [Frame(index, picture()) for index in indices]
    finder = ConsecutiveFinder(cast(FaceFinder, None), cast(TritonCalls, None), "")
    windows = list(finder.windows(frames, most))
    assert [[frame.index for frame in window.frames] for window in windows] == expected
    assert [window.end.index for window in windows] == [indices[-1] for indices in expected]


def test_steady_faces_are_searched_in_key_frames_alone() -> None:
    """In between they lie on a line, and the network finds their landmarks; the order of the faces does not matter."""
    frames = stream(10)
    centres: list[Centres] = [[(500.0 + 4 * i, 600.0), (1200.0, 600.0)] for i in range(10)]
    search = Search(frames, [*centres[:4], centres[4][::-1], *centres[5:]])
    found = run(frames, search)
    assert search.asked == [0, 4, 9]
    for i in (1, 2, 3, 5, 6, 7, 8):
        ours = sorted(found[i], key=lambda face: face.center)
        for mine, (x, y) in zip(ours, centres[i], strict=True):
            expected = face(x, y)
            assert mine.score == 0.9
            np.testing.assert_allclose(mine.box, expected.box, atol=0.01)
            assert mine.landmarks is not None
            assert expected.landmarks is not None
            np.testing.assert_allclose(mine.landmarks, expected.landmarks, atol=0.05)


@pytest.mark.parametrize(
    "last",
    [[], [(500.0, 600.0), (1200.0, 600.0)], [(900.0, 600.0)]],
    ids=["gone", "another one came", "far away"],
)
def test_other_faces_at_the_end_make_all_frames_searched(last: Centres) -> None:
    """Nothing is guessed where key frames do not show the same faces."""
    frames = stream(5)
    centres: list[Centres] = [[(500.0, 600.0)], [(510.0, 600.0)], [], [(530.0, 600.0)], last]
    search = Search(frames, centres)
    found = run(frames, search)
    assert sorted(search.asked) == [0, 1, 2, 3, 4]
    assert [len(faces) for faces in found] == [len(faces) for faces in centres]


def test_frames_without_faces_are_all_searched() -> None:
    """A face may be hard to see: two frames without one do not speak for those in between."""
    frames = stream(5)
    centres: list[Centres] = [[], [(500.0, 600.0)], [], [], []]
    assert [len(faces) for faces in run(frames, Search(frames, centres))] == [0, 1, 0, 0, 0]


def test_faces_at_the_same_place_of_another_shot_are_not_followed() -> None:
    """A cut between two key frames makes all frames between them searched."""
    shots = [picture(40, rows=500), picture(40, rows=500), *(picture(200) for _ in range(3))]
    frames = [Frame(index, shown) for index, shown in enumerate(shots)]
    search = Search(frames, [[(900.0, 600.0)]] * 5)
    run(frames, search)
    assert sorted(search.asked) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("network", [Network(unseen=[1]), Network(offset=60.0)], ids=["not seen", "seen elsewhere"])
def test_frames_in_which_a_face_is_lost_are_searched(network: Network) -> None:
    """What the network does not find, or finds elsewhere, is left to the detector."""
    frames = stream(5)
    search = Search(frames, [[(900.0, 600.0)]] * 5)
    found = run(frames, search, network)
    assert 2 in search.asked
    assert all(len(faces) == 1 for faces in found)


def test_a_held_picture_is_searched_once() -> None:
    """However long it is shown, and also at the end of a stretch."""
    still = picture()
    frames = [Frame(0, still)] * 12
    search = Search(frames[:1], [[(900.0, 600.0)]])
    assert [len(faces) for faces in run(frames, search)] == [1] * 12
    assert search.asked == [0]


def test_calls_of_the_network_are_no_larger_than_it_takes() -> None:
    """A request with more crops would be refused."""
    assert read_contract(ROOT / "model_repository" / "face_landmarks").max_batch_size == IMAGES_PER_CALL


def test_a_stretch_fails_with_the_one_before() -> None:
    """It would wait for ever for a key frame whose search failed."""
    frames = stream(10)
    search = Search(frames, [[(900.0, 600.0)]] * 10)
    search.broken_at = 4
    finder = ConsecutiveFinder(cast(FaceFinder, search), cast(TritonCalls, Network()), "face_landmarks")
    first, second = finder.windows(frames, 16)
    for window in (first, second):
        with pytest.raises(ServerUnavailable, match="the server is gone"):
            finder.find(window)


def test_faces_at_the_edge_of_the_picture_are_followed() -> None:
    """The crop then shows what is beyond the edge as the edge's own pixels."""
    frames = stream(5)
    search = Search(frames, [[(40.0, 30.0 + i)] for i in range(5)])
    found = run(frames, search)
    assert search.asked == [0, 4]
    np.testing.assert_allclose(found[2][0].center, (40.0, 32.0), atol=0.01)
