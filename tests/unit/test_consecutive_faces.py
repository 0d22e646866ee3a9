"""Faces in frames that follow each other: which frames are searched, and when all are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from lipsync_core.face import (
    LANDMARKS,
    Detections,
    find_consecutive,
    key_frames,
    landmark_consecutive,
    regions_from_landmarks,
)
from lipsync_core.face.detection import stack_faces

SIDE = 40.0
Centres = Sequence[tuple[float, float]]  # of the faces of one frame


def detections(centres: Centres) -> Detections:
    half = SIDE / 2
    return stack_faces(
        [(np.array([x - half, y - half, x + half, y + half]), np.full((6, 2), x), 0.9) for x, y in centres]
    )


class Search:
    """Finds faces where a test puts them, and notes in which frames it was asked to."""

    def __init__(self, frames: Sequence[Centres]) -> None:
        self._frames = frames
        self.asked: list[list[int]] = []

    def __call__(self, numbers: Sequence[int]) -> list[Detections]:
        self.asked.append(list(numbers))
        return [detections(self._frames[i]) for i in numbers]

    def run(self) -> list[Detections]:
        return find_consecutive(len(self._frames), self)


@pytest.mark.parametrize(
    ("count", "expected"), [(1, [0]), (2, [0, 1]), (6, [0, 5]), (7, [0, 3, 6]), (16, [0, 5, 10, 15])]
)
def test_key_frames_include_both_ends(count: int, expected: list[int]) -> None:
    """No frame is further than five frames from the next key frame."""
    assert key_frames(count) == expected


def test_steady_faces_are_searched_in_key_frames_alone() -> None:
    """Those in between lie on a line, whatever the order of the faces at its ends."""
    frames = [[(50.0 + i, 60.0), (200.0, 60.0)] for i in range(6)]
    search = Search([*frames[:5], frames[5][::-1]])
    found = search.run()
    assert search.asked == [[0, 5]]
    for i, faces in enumerate(found[:5]):
        expected = detections(frames[i])
        assert np.allclose(faces.boxes, expected.boxes)
        assert np.allclose(faces.keypoints, expected.keypoints)
        assert np.allclose(faces.scores, 0.9)


@pytest.mark.parametrize(
    "last",
    [[], [(50.0, 60.0), (200.0, 60.0)], [(90.0, 60.0)]],
    ids=["gone", "another one came", "far away"],
)
def test_other_faces_at_the_end_make_all_frames_searched(last: Centres) -> None:
    """Nothing is guessed where key frames do not show the same faces."""
    frames: list[Centres] = [[(50.0, 60.0)], [(51.0, 60.0)], [], [(53.0, 60.0)], [(54.0, 60.0)], last]
    search = Search(frames)
    found = search.run()
    assert search.asked == [[0, 5], [1, 2, 3, 4]]
    assert [len(faces.scores) for faces in found] == [len(frame) for frame in frames]


def test_frames_without_faces_are_all_searched() -> None:
    """A face may be hard to see: two frames without one do not speak for those in between."""
    frames: list[Centres] = [[], [(50.0, 60.0)], [], [], [], []]
    assert [len(faces.scores) for faces in Search(frames).run()] == [0, 1, 0, 0, 0, 0]


class Landmarker:
    """Sees a face in every crop but some, and notes how many crops each call has."""

    def __init__(self, unseen: Sequence[int] = ()) -> None:
        self._unseen = unseen
        self.calls: list[int] = []

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = sum(self.calls) + np.arange(len(images))
        self.calls.append(len(images))
        mesh = np.random.default_rng(0).uniform(48, 144, (1, LANDMARKS, 3)).astype(np.float32)
        mesh[0, [33, 263], :2] = [[60, 96], [130, 96]]  # eyes are level
        return mesh.repeat(len(images), axis=0), np.where(np.isin(rows, self._unseen), -1.0, 1.0)[:, None]


def landmark(landmarker: Landmarker, angles: Sequence[float] = (0.0,) * 6) -> tuple[np.ndarray, np.ndarray]:
    """Find the landmarks of one face that moves to the right, in six frames."""
    frames = np.random.default_rng(0).integers(0, 256, (6, 90, 160, 3), dtype=np.uint8)
    boxes = np.stack([detections([(60.0 + 2 * i, 45.0)]).boxes[0] for i in range(6)])
    regions = np.array([[60.0 + 2 * i, 45.0, 60.0, math.radians(angle)] for i, angle in enumerate(angles)])
    return landmark_consecutive(frames, np.arange(6), boxes, regions, landmarker)


def test_faces_between_key_frames_get_one_pass() -> None:
    """In a region half-way between those of the key frames' landmarks."""
    landmarker = Landmarker()
    landmarks, present = landmark(landmarker)
    assert present.all()
    assert landmarker.calls == [2, 2, 4]
    moved = np.diff(landmarks[1:5], axis=0)
    assert np.allclose(moved[..., 0], 2, atol=0.01)
    assert np.allclose(moved[..., 1], 0, atol=0.01)


def test_faces_lost_in_between_get_two_passes_of_their_own() -> None:
    """The second word counts."""
    landmarker = Landmarker(unseen=[5])  # the second of the four in between
    _, present = landmark(landmarker)
    assert present.all()
    assert landmarker.calls == [2, 2, 4, 1, 1]


def test_faces_that_a_key_frame_loses_are_not_followed() -> None:
    """Both ends of the line must show it."""
    landmarker = Landmarker(unseen=[3])  # second pass of the last frame
    _, present = landmark(landmarker)
    assert present.tolist() == [True] * 5 + [False]
    assert landmarker.calls == [2, 2, 4, 4]


def test_regions_turn_the_shorter_way() -> None:
    """From 170 to -170 degrees by 20 degrees, not by 340."""
    landmarks, _ = landmark(Landmarker(), angles=[170.0, 174.0, 178.0, -178.0, -174.0, -170.0])
    angles = np.degrees(regions_from_landmarks(landmarks)[:, 3]) % 360
    assert np.allclose(angles, [170, 174, 178, 182, 186, 190], atol=0.1)
