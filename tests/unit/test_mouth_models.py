from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lipsync_core.audio.mouth_shapes import mouth_shapes
from lipsync_core.mouth import sync_mouths
from tests import fake_triton
from tests.unit.mouth_samples import astronaut
from tests.unit.test_audio import frame_times, syllables

REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"


def ask(name: str, **inputs: np.ndarray) -> Any:
    """Load a model into the fake and send it one request."""
    fake_triton.install()
    model = fake_triton.load_module(REPOSITORY / name / "1" / "model.py", f"{name}_model").TritonPythonModel()
    model.initialize(fake_triton.arguments((REPOSITORY / name / "config.pbtxt").read_text(), name))
    return model.execute([fake_triton.Request(inputs)])[0]


def test_mouth_shapes_follow_the_audio() -> None:
    """The model gives what the pure function gives."""
    samples, times = syllables(2), frame_times(2)
    response = ask("mouth_shapes", audio=samples, frame_times=times)
    np.testing.assert_array_equal(response.output_tensors()[0].as_numpy(), mouth_shapes(samples, times))


def test_given_shapes_pass_through() -> None:
    """A caller who has the shapes needs no audio."""
    shapes = np.array([[0.5, -0.2], [1, 0]], np.float32)
    np.testing.assert_array_equal(ask("mouth_shapes", given_shapes=shapes).output_tensors()[0].as_numpy(), shapes)


@pytest.mark.parametrize("inputs", [{}, {"audio": np.zeros(160, np.float32)}])
def test_mouth_shapes_fails_without_audio_and_shapes(inputs: dict[str, np.ndarray]) -> None:
    """What is missing is named."""
    error = ask("mouth_shapes", **inputs).error()
    assert "expected shapes, or audio with frame_times" in error.message()
    assert error.code() == fake_triton.TritonError.INVALID_ARG


def test_mouth_warp_without_a_profile_uses_defaults() -> None:
    """Frames, landmarks and shapes are enough."""
    frame, landmarks = astronaut()
    inputs = {
        "frames": frame[None],
        "face_landmarks": landmarks[None],
        "mouth_shapes": np.array([[0.8, 0]], np.float32),
    }
    expected = sync_mouths(*inputs.values())
    np.testing.assert_array_equal(ask("mouth_warp", **inputs).output_tensors()[0].as_numpy(), expected)


def test_mouth_warp_fails_on_an_index_without_interior() -> None:
    """A mistake in the chunk comes back as the caller's."""
    frame, landmarks = astronaut()
    error = ask(
        "mouth_warp",
        frames=frame[None],
        face_landmarks=landmarks[None],
        mouth_shapes=np.zeros((1, 2), np.float32),
        interior_indices=np.zeros(1, np.int32),
    ).error()
    assert "interior_indices: expected -1" in error.message()
    assert error.code() == fake_triton.TritonError.INVALID_ARG
