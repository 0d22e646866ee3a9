from __future__ import annotations

import numpy as np
import pytest

from lipsync_core.mouth import visible_mouths
from lipsync_core.reasons import Reason
from lipsync_core.wav2lip.faces import generator_input, paste_faces
from lipsync_core.wav2lip.mel import mel_spectrogram, mel_windows
from tests import fake_triton
from tests.data.wav2lip_goldens import astronaut
from tests.fake_triton import ask, outputs

FRAMES = np.repeat(astronaut()[None], 2, axis=0)
BOXES = np.array([[180, 60, 270, 180], [np.nan] * 4], np.float32)
NO_LANDMARKS = np.full((2, 468, 3), np.nan, np.float32)
NOISE = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
STARTS = np.array([0, 30], np.int32)


def faces(landmarks: np.ndarray, drawn: np.ndarray, boxes: np.ndarray = BOXES) -> dict[str, np.ndarray]:
    """Inputs of wav2lip_paste, as visible_mouths judges them."""
    judged = visible_mouths(FRAMES[: len(boxes)], landmarks)
    return {
        "frames": FRAMES[: len(boxes)],
        "face_boxes": boxes,
        "face_landmarks": landmarks,
        "mouth_strengths": judged.strengths,
        "mouth_reasons": judged.reasons,
        "drawn": drawn,
    }


def test_mel_windows_follow_the_audio() -> None:
    """The model gives what the pure functions give."""
    mel = outputs(ask("wav2lip_mel", audio=NOISE, window_starts=STARTS))["mel"]
    assert np.array_equal(mel, mel_windows(mel_spectrogram(NOISE), STARTS)[:, None])


def test_given_windows_pass_through() -> None:
    """A caller who has the windows needs no audio."""
    windows = np.random.default_rng(0).uniform(-4, 4, (2, 80, 16)).astype(np.float32)
    assert np.array_equal(outputs(ask("wav2lip_mel", mel_windows=windows))["mel"], windows[:, None])


@pytest.mark.parametrize("inputs", [{}, {"audio": NOISE}, {"window_starts": STARTS}])
def test_wav2lip_mel_fails_without_audio_and_windows(inputs: dict[str, np.ndarray]) -> None:
    """What is missing is named."""
    error = ask("wav2lip_mel", **inputs).error()
    assert "expected mel_windows, or audio with window_starts" in error.message()
    assert error.code() == fake_triton.TritonError.INVALID_ARG


def test_given_boxes_are_cut_out_and_handed_on() -> None:
    """NaN rows included, and no other model is asked."""
    found = outputs(ask("wav2lip_crop", frames=FRAMES, boxes=BOXES))
    assert np.array_equal(found["face"], generator_input(FRAMES, BOXES))
    assert np.array_equal(found["face_boxes"], BOXES, equal_nan=True)
    assert np.isnan(found["face_landmarks"]).all()  # only their boxes are known


def test_without_boxes_the_largest_face_counts() -> None:
    """Its landmarks' box, and none where there is no face."""
    landmarks = np.full((2, 468, 3), np.nan, np.float32)
    landmarks[0, :, 0], landmarks[0, :, 1] = np.linspace(180, 270, 468), np.linspace(60, 180, 468)
    landmarks[0, [33, 263], :2] = [[200, 90], [250, 90]]  # the eyes, level
    calls = {"largest_face": lambda inputs: {"face_landmarks": landmarks[: len(inputs["frames"])]}}
    found = outputs(ask("wav2lip_crop", calls, frames=FRAMES))
    assert np.array_equal(found["face_boxes"], BOXES, equal_nan=True)
    assert np.array_equal(found["face"], generator_input(FRAMES, BOXES))


@pytest.mark.parametrize(
    ("frames", "message"),
    [(FRAMES[:0], "frames: expected at least one frame"), (FRAMES[:1], "boxes: expected one row for each of 1 frames")],
)
def test_wav2lip_crop_fails_on_frames_that_do_not_fit(frames: np.ndarray, message: str) -> None:
    """None at all, or fewer than boxes."""
    error = ask("wav2lip_crop", frames=frames, boxes=BOXES).error()
    assert message in error.message()
    assert error.code() == fake_triton.TritonError.INVALID_ARG


@pytest.mark.parametrize("hard", [None, False, True])
def test_faces_are_pasted_as_asked(hard: bool | None) -> None:
    """Blended, unless hard_box is true."""
    drawn = np.random.default_rng(0).random((2, 3, 96, 96), np.float32)
    choice = {} if hard is None else {"hard_box": np.array([hard])}
    found = outputs(ask("wav2lip_paste", **faces(NO_LANDMARKS, drawn), **choice))
    assert np.array_equal(found["synced_frames"], paste_faces(FRAMES, BOXES, drawn, hard_box=bool(hard)))


def test_faces_known_by_their_boxes_alone_are_pasted_unjudged() -> None:
    """Who gives boxes without landmarks gets the original's result; a frame without a face stays and says why."""
    found = outputs(ask("wav2lip_paste", **faces(NO_LANDMARKS, np.ones((2, 3, 96, 96), np.float32))))
    assert found["strengths"].tolist() == [1, 0]
    assert found["reasons"].tolist() == [Reason.CHANGED, Reason.NO_FACE]


@pytest.mark.parametrize("hard", [False, True])
def test_a_mouth_that_cannot_be_seen_is_not_pasted(hard: bool) -> None:
    """At strength 0 the frame stays, and in between it is a mixture."""
    drawn, landmarks = np.ones((2, 3, 96, 96), np.float32), np.zeros((2, 468, 3), np.float32)
    boxes, synced = np.repeat(BOXES[:1], 2, axis=0), []
    for strengths in ([0, 1], [0.5, 1]):
        inputs = {**faces(landmarks, drawn), "face_boxes": boxes, "hard_box": np.array([hard])}
        inputs["mouth_strengths"] = np.array(strengths, np.float32)
        inputs["mouth_reasons"] = np.array([Reason.COVERED if not strengths[0] else 0, 0], np.int32)
        synced.append(outputs(ask("wav2lip_paste", **inputs)))
    assert np.array_equal(synced[0]["synced_frames"][0], FRAMES[0])
    assert synced[0]["reasons"].tolist() == [Reason.COVERED, Reason.CHANGED]
    whole, half = (found["synced_frames"][index].astype(int) for found, index in ((synced[0], 1), (synced[1], 0)))
    assert np.abs(half - (whole + FRAMES[0]) / 2).max() <= 1


@pytest.mark.parametrize("quarters", [1, 2, 3])
@pytest.mark.parametrize("hard", [False, True])
def test_rolled_faces_are_generated_upright(quarters: int, hard: bool) -> None:
    """A lying head gets what the upright one gets, turned, to the last bit."""
    upright = np.full((1, 468, 3), 130, np.float32)
    upright[0, [33, 263], :2] = [[200, 90], [250, 90]]
    drawn, box = np.random.default_rng(0).random((1, 3, 96, 96), np.float32), BOXES[:1]
    expected_face = outputs(ask("wav2lip_crop", frames=FRAMES[:1], boxes=box, landmarks=upright))["face"]
    expected = outputs(ask("wav2lip_paste", **faces(upright, drawn, box), hard_box=np.array([hard])))["synced_frames"]
    turned = {"frames": np.rot90(FRAMES[:1], -quarters, (1, 2))}
    points, corners = upright.copy(), box.reshape(2, 2)
    side = FRAMES.shape[1]
    for _ in range(quarters):  # clockwise: what was left is up
        points[..., :2] = np.stack([side - points[..., 1], points[..., 0]], axis=-1)
        corners = np.stack([side - corners[:, 1], corners[:, 0]], axis=-1)
    box = np.concatenate([corners.min(axis=0), corners.max(axis=0)])[None]
    face = outputs(ask("wav2lip_crop", **turned, boxes=box, landmarks=points))["face"]
    np.testing.assert_allclose(face, expected_face, atol=1.01 / 255)  # OpenCV rounds resizes per direction
    found = outputs(ask("wav2lip_paste", **{**faces(points, drawn, box), **turned}, hard_box=np.array([hard])))
    assert np.array_equal(np.rot90(found["synced_frames"], quarters, (1, 2)), expected)


def test_s3fd_faces_come_best_first_in_slots() -> None:
    """A frame without a face has empty slots; the network gets as many images as it may."""
    seen = []

    def s3fd(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        seen.append(len(inputs["images"]))
        logits = np.tile(np.float32([9, -9]), (1, 1428, 1))
        if len(seen) == 1:
            logits[0, [0, 20]] = [[0, 2], [0, 5]]  # two anchors of the first row, far apart
        return {"logits": logits, "offsets": np.zeros((1, 1428, 4), np.float32)}

    found = outputs(ask("s3fd_faces", {"s3fd": s3fd}, frames=np.zeros((2, 128, 128, 3), np.uint8)))
    assert seen == [1, 1]
    assert found["boxes"][0].tolist() == [[74, -6, 90, 10], [-6, -6, 10, 10]]
    assert found["scores"][0, 0] > found["scores"][0, 1] > 0.5
    assert np.isnan(found["boxes"][1]).all()
    assert not found["scores"][1].any()
