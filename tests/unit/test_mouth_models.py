from __future__ import annotations

import numpy as np
import pytest

from lipsync_core.audio.lip_shapes import POPULATION_GAIN, lip_shapes, speech_statistics
from lipsync_core.mouth import real_shapes, sync_mouths
from tests import fake_triton
from tests.fake_triton import ask
from tests.unit.mouth_samples import astronaut, shape
from tests.unit.test_audio import frame_times, syllables


def test_mouth_shapes_follow_the_audio() -> None:
    """The model gives what the pure function gives, at its real size; alone, by the audio's own statistics."""
    samples, times = syllables(2), frame_times(2)
    statistics = speech_statistics([samples])
    predicted = lip_shapes(samples, statistics, times)
    alone = ask("mouth_shapes", audio=samples, frame_times=times)
    np.testing.assert_array_equal(alone.output_tensors()[0].as_numpy(), real_shapes(*predicted, POPULATION_GAIN))
    known = {"speech_statistics": statistics.tensor, "shape_gain": np.array([0.5], np.float32)}
    told = ask("mouth_shapes", audio=samples, frame_times=times, **known).output_tensors()[0].as_numpy()
    np.testing.assert_allclose(told, real_shapes(*predicted, 0.5), atol=1e-5)  # statistics travel as float32


def test_given_shapes_pass_through() -> None:
    """A caller who has the shapes needs no audio."""
    shapes = np.stack([shape(0.1), shape(-0.1, 1)])
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
        "mouth_shapes": shape(0.1)[None],
    }
    expected, done = sync_mouths(*inputs.values())
    visible = {"mouth_strengths": np.ones(1, np.float32), "mouth_reasons": np.zeros(1, np.int32)}
    synced, strengths, reasons = (
        tensor.as_numpy() for tensor in ask("mouth_warp", **inputs, **visible).output_tensors()
    )
    np.testing.assert_array_equal(synced, expected)
    assert (strengths.tolist(), reasons.tolist()) == (done.strengths.tolist(), [0])


def test_mouth_warp_fails_on_an_index_without_interior() -> None:
    """A mistake in the chunk comes back as the caller's."""
    frame, landmarks = astronaut()
    error = ask(
        "mouth_warp",
        frames=frame[None],
        face_landmarks=landmarks[None],
        mouth_shapes=np.zeros((1, 7), np.float32),
        mouth_strengths=np.ones(1, np.float32),
        mouth_reasons=np.zeros(1, np.int32),
        interior_indices=np.zeros(1, np.int32),
    ).error()
    assert "interior_indices: expected -1" in error.message()
    assert error.code() == fake_triton.TritonError.INVALID_ARG
