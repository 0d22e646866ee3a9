from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lipsync_core.wav2lip.faces import generator_input, paste_faces
from lipsync_core.wav2lip.mel import mel_spectrogram, mel_windows
from tests import fake_triton
from tests.data.wav2lip_goldens import astronaut

REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"
FRAMES = np.repeat(astronaut()[None], 2, axis=0)
BOXES = np.array([[180, 60, 270, 180], [np.nan] * 4], np.float32)
NOISE = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
STARTS = np.array([0, 30], np.int32)


def ask(name: str, calls: Any = None, **inputs: np.ndarray) -> Any:
    """Load a model into the fake and send it one request."""
    fake_triton.install(calls)
    model = fake_triton.load_module(REPOSITORY / name / "1" / "model.py", f"{name}_model").TritonPythonModel()
    model.initialize(fake_triton.arguments((REPOSITORY / name / "config.pbtxt").read_text(), name))
    return model.execute([fake_triton.Request(inputs)])[0]


def outputs(response: Any) -> dict[str, np.ndarray]:
    assert not response.has_error(), response.error().message()
    return {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}


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


def test_without_boxes_the_largest_face_counts() -> None:
    """Its landmarks' box, and none where there is no face."""
    landmarks = np.full((2, 468, 3), np.nan, np.float32)
    landmarks[0, :, 0], landmarks[0, :, 1] = np.linspace(180, 270, 468), np.linspace(60, 180, 468)
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
    synced = outputs(ask("wav2lip_paste", frames=FRAMES, face_boxes=BOXES, drawn=drawn, **choice))["synced_frames"]
    assert np.array_equal(synced, paste_faces(FRAMES, BOXES, drawn, hard_box=bool(hard)))


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
