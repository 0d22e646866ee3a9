"""The face models in a real Triton, against the same functions with the network called directly."""

from __future__ import annotations

import numpy as np
import pytest

from client.errors import RequestRejected
from client.servers.calls import InferRequest
from client.servers.connection import TritonConnection
from lipsync_core.config_file import read_contract
from lipsync_core.face import (
    LANDMARKS,
    Network,
    alignment_points,
    find_faces,
    landmark_detections,
    regions_from_detections,
)
from tests.closeness import assert_close
from tests.conftest import REPOSITORY
from tests.data import faces_astronaut

pytestmark = pytest.mark.server

CLOSE = faces_astronaut.pictures()["close"]
ROUNDING = 2e-4  # of the longer side: boxes travel as float32, so a crop may be sampled 1/32 pixel further


@pytest.fixture(scope="module")
def crowd() -> np.ndarray:
    """No face, one face, and two of which the larger stands at the right: uint8 RGB [3, 512, 768, 3]."""
    frames = np.full((3, 512, 768, 3), 90, np.uint8)
    frames[1:, :256, :256] = CLOSE
    frames[2, :, 256:] = CLOSE.repeat(2, axis=0).repeat(2, axis=1)
    return frames


def test_faces_are_those_of_the_core(connection: TritonConnection, runs: dict[str, Network], crowd: np.ndarray) -> None:
    """Boxes, scores, landmarks and alignment points of every frame, largest first, empty slots NaN."""
    outputs = connection.infer(InferRequest("faces", {"frames": crowd}))
    found, width = find_faces(crowd, runs["short"]), crowd.shape[2]
    assert [len(faces.scores) for faces in found] == [0, 1, 2]
    assert outputs["boxes"].shape == (3, 2, 4)
    assert outputs["scores"].shape == (3, 2)
    assert (outputs["scores"] > 0).tolist() == [[False, False], [True, False], [True, True]]
    assert np.isnan(outputs["landmarks"][outputs["scores"] == 0]).all()
    assert outputs["boxes"][2, 1, 2] < outputs["boxes"][2, 0, 0]
    for frame, faces in enumerate(found):
        order = np.argsort(-faces.boxes[:, 2])  # the larger one stands further right
        regions = regions_from_detections(faces.boxes[order], faces.keypoints[order])
        landmarks, present = landmark_detections(crowd, np.full(len(order), frame), regions, runs["refined"])
        assert present.all()
        slots = slice(0, len(order))
        assert_close(outputs["boxes"][frame, slots], faces.boxes[order], rel=ROUNDING, scale=width)
        assert_close(outputs["landmarks"][frame, slots], landmarks, rel=ROUNDING, scale=width)
        points = outputs["alignment_points"][frame, slots]
        assert_close(points, alignment_points(landmarks), rel=ROUNDING, scale=width)


@pytest.mark.parametrize("shape", [(1, 4, 4, 3), (3, 1, 1, 3), (2, 37, 1001, 3)])
def test_frames_without_a_face_have_no_slot(connection: TritonConnection, shape: tuple[int, ...]) -> None:
    """Any frame size is taken, and nothing found is no error."""
    outputs = connection.infer(InferRequest("faces", {"frames": np.full(shape, 128, np.uint8)}))
    assert outputs["boxes"].shape == (shape[0], 0, 4)
    assert outputs["scores"].shape == (shape[0], 0)
    assert outputs["landmarks"].shape == (shape[0], 0, LANDMARKS, 3)
    assert outputs["alignment_points"].shape == (shape[0], 0, 3, 2)


def test_a_frame_holds_at_most_max_faces(connection: TritonConnection) -> None:
    """The largest ones stay."""
    most = int(read_contract(REPOSITORY / "detect_faces").parameters["max_faces"])
    frames = np.tile(CLOSE[50:210, 50:210], (1, 4, 4, 1))
    scores = connection.infer(InferRequest("faces", {"frames": frames}))["scores"]
    assert scores.shape == (1, most)
    assert (scores > 0).all()


def test_the_largest_face_is_found_or_passed_on(connection: TritonConnection, crowd: np.ndarray) -> None:
    """Without landmarks it is the first slot of `faces`; given landmarks come back as they are."""
    faces = connection.infer(InferRequest("faces", {"frames": crowd}))["landmarks"]
    found = connection.infer(InferRequest("largest_face", {"frames": crowd}))["face_landmarks"]
    assert_close(found, faces[:, 0], rel=ROUNDING, scale=crowd.shape[2])
    assert np.isnan(found[0]).all()
    given = np.random.default_rng(0).uniform(0, 500, (3, LANDMARKS, 3)).astype(np.float32)
    given[1] = np.nan
    passed = connection.infer(InferRequest("largest_face", {"frames": crowd, "landmarks": given}))["face_landmarks"]
    assert np.array_equal(passed, given, equal_nan=True)


def test_no_face_anywhere_is_rows_of_nan(connection: TritonConnection) -> None:
    """So that a pipeline can pass such frames through."""
    found = connection.infer(InferRequest("largest_face", {"frames": np.zeros((2, 4, 4, 3), np.uint8)}))[
        "face_landmarks"
    ]
    assert found.shape == (2, LANDMARKS, 3)
    assert np.isnan(found).all()


@pytest.mark.parametrize("model", ["faces", "largest_face"])
@pytest.mark.parametrize("shape", [(0, 8, 8, 3), (2, 0, 8, 3)])
def test_no_frames_fail_with_their_shape(connection: TritonConnection, model: str, shape: tuple[int, ...]) -> None:
    """The request is refused, not answered with nothing."""
    with pytest.raises(RequestRejected, match=r"frames: expected at least one frame with pixels, got \[\d, \d, 8, 3\]"):
        connection.infer(InferRequest(model, {"frames": np.zeros(shape, np.uint8)}))


def test_landmarks_for_other_frames_fail(connection: TritonConnection) -> None:
    """One row per frame, no fewer."""
    frames, landmarks = np.zeros((2, 8, 8, 3), np.uint8), np.zeros((1, LANDMARKS, 3), np.float32)
    with pytest.raises(RequestRejected, match="landmarks: expected one row for each of 2 frames, got 1"):
        connection.infer(InferRequest("largest_face", {"frames": frames, "landmarks": landmarks}))


@pytest.mark.parametrize(
    ("caller", "network"), [("detect_faces", "face_detector"), ("landmark_faces", "face_landmarks")]
)
def test_calls_fit_into_the_networks_batch(caller: str, network: str) -> None:
    """What one model sends at once, the other takes at once."""
    images_per_call = int(read_contract(REPOSITORY / caller).parameters["images_per_call"])
    assert images_per_call <= read_contract(REPOSITORY / network).max_batch_size
