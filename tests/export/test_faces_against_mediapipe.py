"""The converted networks and lipsync_core.face together against the mediapipe library 0.10.21.

tests/data/faces_astronaut.npz is what the library finds in pictures made of the astronaut photograph; the recipe
is in faces_astronaut.py beside it. reference/face/goldens.npz, where it is at hand, holds frames of real video
and what the library finds in them: det_* rows are score, box and keypoints (0..1 of the frame), mesh* are
landmarks (x / width, y / height, z / width), each frame on its own; track_* is the library following a face.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from export.faces.attention import lip_indices
from export.faces.mediapipe import ATTENTION_LANDMARKS
from export.faces.tflite_graph import read_tflite
from export.shared.wheel import read_members
from lipsync_core.face import (
    SHORT_RANGE_DETECTOR,
    Detections,
    Detector,
    Network,
    find_faces,
    find_landmarks,
    landmark_detections,
    largest_faces,
    regions_from_detections,
    regions_from_landmarks,
)
from tests.data import faces_astronaut

DETECTORS = {
    "short": SHORT_RANGE_DETECTOR,
    "full": Detector(image_size=192, grids=((48, 1),), min_score=0.6),
}
DETECTION_PX = 0.01  # float32 arithmetic in another order, 0.0001 px seen; another OpenCV may round pixels otherwise
SCORE = 1e-4  # of a certain face's
LANDMARK_PX = 0.05  # the same, 0.003 px seen
TRACKING_PX = 0.5  # errors feed back through the crop, and the library places it by refined eyes; 0.13 px seen

ASTRONAUT = np.load(faces_astronaut.REFERENCE_FILE)
PICTURES = faces_astronaut.pictures()
REFINED = "refined"


@pytest.fixture(scope="module")
def goldens(reference_dir: Path) -> np.lib.npyio.NpzFile:
    return np.load(reference_dir / "face" / "goldens.npz")


@pytest.fixture(scope="module")
def lips(mediapipe_wheel: Path) -> list[int]:
    """The mesh points that the attention model refines and ours too; the library refines the eyes as well."""
    members = read_members(mediapipe_wheel, {ATTENTION_LANDMARKS.member: ATTENTION_LANDMARKS.sha256})
    return lip_indices(read_tflite(members[ATTENTION_LANDMARKS.member]), ATTENTION_LANDMARKS.lips)


def assert_detected(found: Detections, expected: np.ndarray, frame: np.ndarray) -> None:
    """Compare the best face with the library's: score, then box and keypoints in pixels."""
    size = np.array(frame.shape[1::-1])
    points = np.concatenate([found.boxes[0].reshape(2, 2), found.keypoints[0]])
    assert np.abs(points - expected[1:].reshape(8, 2) * size).max() < DETECTION_PX
    assert abs(found.scores[0] - expected[0]) < SCORE


def best_region(frame: np.ndarray, detector: Network) -> np.ndarray:
    found = find_faces(frame[None], detector)[0]
    return regions_from_detections(found.boxes[:1], found.keypoints[:1])


def in_pixels(landmarks: np.ndarray, frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    return landmarks * np.array([width, height, width])


def follow(frames: np.ndarray, detector: Network, run_landmarks: Network) -> np.ndarray:
    """Follow one face as the library does: each crop from the landmarks of the frame before, one pass."""
    region = best_region(frames[0], detector)
    followed = []
    for frame in frames:
        landmarks, present = find_landmarks(frame[None], [0], region, run_landmarks)
        assert present.all()
        region = regions_from_landmarks(landmarks)
        followed.append(landmarks[0])
    return np.stack(followed)


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("network", DETECTORS)
def test_detections_are_the_librarys(runs: dict[str, Network], network: str, name: str) -> None:
    """Box, keypoints and score of both detectors, on frames of many sizes, dim, turned and cut by the edge."""
    frame = PICTURES[name]
    found = find_faces(frame[None], runs[network], DETECTORS[network])[0]
    assert_detected(found, ASTRONAUT[f"{name}/{network}"], frame)


@pytest.mark.parametrize("name", faces_astronaut.PLAIN_MESH_PICTURES)
def test_plain_landmarks_are_the_librarys(runs: dict[str, Network], name: str) -> None:
    """All 468 points, x, y and z."""
    frame = PICTURES[name]
    landmarks, present = find_landmarks(frame[None], [0], best_region(frame, runs["short"]), runs["plain"])
    expected = in_pixels(ASTRONAUT[f"{name}/plain"], frame)
    assert present.all()
    assert np.abs(landmarks[0] - expected).max() < LANDMARK_PX


@pytest.mark.parametrize("name", PICTURES)
def test_refined_lips_are_the_librarys(runs: dict[str, Network], lips: list[int], name: str) -> None:
    """The 80 lip points and every z; presence too."""
    frame = PICTURES[name]
    landmarks, present = find_landmarks(frame[None], [0], best_region(frame, runs["short"]), runs[REFINED])
    expected = in_pixels(ASTRONAUT[f"{name}/{REFINED}"], frame)
    assert present[0] == np.isfinite(expected).all()
    assert np.abs(landmarks[0, lips] - expected[lips]).max() < LANDMARK_PX
    assert np.abs(landmarks[0, :, 2] - expected[:, 2]).max() < LANDMARK_PX


def test_a_followed_face_stays_the_librarys(runs: dict[str, Network], lips: list[int]) -> None:
    """Over a moving clip, each crop placed by the landmarks before it."""
    frames = faces_astronaut.moving()
    followed = follow(frames, runs["short"], runs[REFINED])
    expected = in_pixels(ASTRONAUT[f"moving/{REFINED}"], frames[0])
    assert np.abs(followed[:, lips] - expected[:, lips]).max() < TRACKING_PX


@pytest.mark.parametrize("network", DETECTORS)
def test_golden_detections_hold(runs: dict[str, Network], goldens: np.lib.npyio.NpzFile, network: str) -> None:
    """Real video frames, all in one batch."""
    frames = goldens["frames"]
    for frame, found, expected in zip(
        frames, find_faces(frames, runs[network], DETECTORS[network]), goldens[f"det_{network}"], strict=True
    ):
        assert len(found.scores) == 1
        assert_detected(found, expected, frame)


def test_golden_plain_landmarks_hold(runs: dict[str, Network], goldens: np.lib.npyio.NpzFile) -> None:
    """Real video frames, each on its own, 468 points with z."""
    frames = goldens["frames"]
    regions = np.concatenate([best_region(frame, runs["short"]) for frame in frames])
    landmarks, present = find_landmarks(frames, range(len(frames)), regions, runs["plain"])
    assert present.all()
    assert np.abs(landmarks - in_pixels(goldens["mesh468"], frames[0])).max() < LANDMARK_PX


def test_golden_refined_lips_hold(runs: dict[str, Network], goldens: np.lib.npyio.NpzFile, lips: list[int]) -> None:
    """Real video frames, one pass; where the library reports no face, so do we, and the second pass finds it."""
    frames = goldens["frames"]
    regions = np.concatenate([best_region(frame, runs["short"]) for frame in frames])
    landmarks, present = find_landmarks(frames, range(len(frames)), regions, runs[REFINED])
    expected = in_pixels(goldens["mesh478"][:, :468], frames[0])
    seen = np.isfinite(expected).all(axis=(1, 2))
    assert present.tolist() == seen.tolist()
    assert np.abs(landmarks[seen][:, lips] - expected[seen][:, lips]).max() < LANDMARK_PX
    assert landmark_detections(frames, np.arange(len(frames)), regions, runs[REFINED])[1].all()


def test_golden_plain_tracking_holds(runs: dict[str, Network], goldens: np.lib.npyio.NpzFile) -> None:
    """Consecutive frames of real video from a fresh start, all 468 points."""
    frames = goldens["track_frames"]
    followed = follow(frames, runs["short"], runs["plain"])
    assert np.abs(followed - in_pixels(goldens["track_mesh468"], frames[0])).max() < TRACKING_PX


def test_golden_refined_tracking_holds(
    runs: dict[str, Network], goldens: np.lib.npyio.NpzFile, lips: list[int]
) -> None:
    """Consecutive frames of real video from a fresh start, the lips."""
    frames = goldens["track_frames"]
    followed = follow(frames, runs["short"], runs[REFINED])[:, lips]
    assert np.abs(followed - in_pixels(goldens["track_mesh478"][:, lips], frames[0])).max() < TRACKING_PX


@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("corner", [(20, 30), (420, 60), (230, 250)])
def test_small_faces_are_found_by_tiles(runs: dict[str, Network], factor: int, corner: tuple[int, int]) -> None:
    """A face of a tenth to a fifteenth of the frame's width, anywhere, gets the landmarks of the large picture."""
    astronaut = PICTURES["whole"][:360, 60:420]
    small = faces_astronaut.shrink(astronaut, factor)
    frame = np.full((500, 640, 3), 80, np.uint8)
    x, y = corner
    frame[y : y + len(small), x : x + len(small)] = small
    whole_frame_alone = find_faces(astronaut[None], runs["short"])[0]
    reference, _ = landmark_detections(
        astronaut[None], np.array([0]), regions_from_detections(*whole_frame_alone[:2]), runs[REFINED]
    )
    found = largest_faces(find_faces(frame[None], runs["short"])[0], 1)
    landmarks, present = landmark_detections(
        frame[None], np.array([0]), regions_from_detections(found.boxes, found.keypoints), runs[REFINED]
    )
    assert present.all()
    # a tenth of the face: less detail places the outline less surely
    tolerance = 0.1 * np.ptp(reference[0, :, 0]) / factor
    assert np.abs(landmarks[0, :, :2] - (reference[0, :, :2] / factor + corner)).max() < tolerance


@pytest.mark.parametrize("degrees", [90, 120, 150, 180, 210, 240, 270])
def test_a_rolled_face_has_the_landmarks_of_the_upright_one(runs: dict[str, Network], degrees: int) -> None:
    """Lying and upside-down people, and phones without a rotation tag: nothing slips onto brows or nose."""
    upright = np.pad(PICTURES["whole"][:330, 60:390], ((60, 60), (60, 60), (0, 0)), mode="edge")
    height, width = upright.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1)
    rolled = cv2.warpAffine(upright, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
    expected, landmarks = (_best_landmarks(frame, runs) for frame in (upright, rolled))
    expected[:, :2] = expected[:, :2] @ turn[:, :2].T + turn[:, 2]
    eye_span = np.linalg.norm(expected[33] - expected[263])
    assert np.linalg.norm((landmarks - expected)[:, :2], axis=1).max() < 0.15 * eye_span  # 0.07 seen, at the outline


def _best_landmarks(frame: np.ndarray, runs: dict[str, Network]) -> np.ndarray:
    region = best_region(frame, runs["short"])
    landmarks, present = landmark_detections(frame[None], np.array([0]), region, runs["refined"])
    assert present.all()
    return landmarks[0].astype(np.float64)
