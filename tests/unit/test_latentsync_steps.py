"""LatentSync's models around its networks: mel, states, aligned faces, tokens, pasted faces."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="no torch; run: make test")
pytest.importorskip("diffusers", reason="no diffusers; run: make test")

from lipsync_core import face  # noqa: E402
from lipsync_core.latentsync import windows  # noqa: E402
from lipsync_core.latentsync.alignment import affine_matrices, align_faces, running_bias  # noqa: E402
from lipsync_core.whisper.mel import cut_segments, log_mel, normalise, segment_part  # noqa: E402
from tests import fake_triton  # noqa: E402
from tests.unit.latentsync_served import (  # noqa: E402
    FRAMES,
    MATRICES,
    SPEECH,
    THREE_POINTS,
    TOKENS,
    ask,
    error_of,
)

FEATURES = np.random.default_rng(1).standard_normal((20, 5, 384), np.float32)


def test_a_speech_becomes_segments() -> None:
    """By itself the whole; with the optional inputs a part of a longer one, on that one's floor."""
    columns = log_mel(SPEECH)
    mel, counts = cut_segments(normalise(columns, float(columns.max())))
    whole = ask("whisper_mel", audio=SPEECH)
    assert np.array_equal(whole["mel"], mel)
    assert whole["position_counts"].tolist() == counts.tolist() == [1500, 50]
    part = segment_part(1, len(SPEECH))
    options = {
        "first_mel_frame": np.array([part.first_mel_frame], np.int32),
        "mel_frame_count": np.array([part.mel_frame_count], np.int32),
        "log_mel_peak": columns.max(keepdims=True).reshape(1),
    }
    assert np.array_equal(ask("whisper_mel", audio=SPEECH[part.samples], **options)["mel"], mel[1:])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"audio": SPEECH[:300]}, "audio: expected at least 320 samples"),
        ({"audio": np.tile(SPEECH, 8)}, "audio: expected at most 240 s in one request, got 248.0 s"),
        ({"audio": SPEECH, "log_mel_peak": np.array([np.nan], np.float32)}, "log_mel_peak: expected a finite number"),
        ({"audio": SPEECH, "first_mel_frame": np.array([3100], np.int32)}, "expected mel frames within 0 to 3100"),
    ],
)
def test_whisper_mel_fails_on_audio_that_does_not_fit(inputs: dict[str, np.ndarray], message: str) -> None:
    """What is wrong is named."""
    error = error_of("whisper_mel", **inputs)
    assert message in error.message()
    assert error.code() == fake_triton.TritonError.INVALID_ARG


def test_states_are_trimmed_to_what_counts() -> None:
    """And joined."""
    states = np.random.default_rng(0).random((2, 1500, 5, 384), np.float32)
    counts = np.array([1500, 7], np.int32)
    trimmed = ask("whisper_trim", states=states, position_counts=counts)["audio_features"]
    assert np.array_equal(trimmed, np.concatenate([states[0], states[1, :7]]))


def test_given_points_are_aligned() -> None:
    """One face fewer than frames where one has none; with given biases a chunk is what the whole clip gives."""
    found = ask("latentsync_align", frames=FRAMES, alignment_points=THREE_POINTS)
    assert np.array_equal(found["affine_matrices"], MATRICES, equal_nan=True)
    assert np.array_equal(found["faces"], align_faces(FRAMES[[0, 2]], MATRICES[[0, 2]], 256))
    later = ask(
        "latentsync_align",
        frames=FRAMES[2:],
        alignment_points=THREE_POINTS[2:],
        smoothing_biases=running_bias(THREE_POINTS)[2:],
    )
    assert np.array_equal(later["affine_matrices"][0], MATRICES[2])


def test_faces_have_the_edge_that_is_asked_for() -> None:
    """In pixels; the configuration's own otherwise."""
    asked = {"frames": FRAMES, "alignment_points": THREE_POINTS, "resolution": np.array([512], np.int32)}
    found = ask("latentsync_align", **asked)
    matrices = affine_matrices(THREE_POINTS, running_bias(THREE_POINTS), 512)
    assert np.array_equal(found["affine_matrices"], matrices, equal_nan=True)
    assert found["faces"].shape == (2, 512, 512, 3)


def test_landmarks_become_points() -> None:
    """Given ones, or those of the largest face."""
    landmarks = np.random.default_rng(0).uniform(50, 250, (3, 468, 3)).astype(np.float32)
    landmarks[1] = np.nan
    expected = ask("latentsync_align", frames=FRAMES, alignment_points=face.alignment_points(landmarks))
    found = {"largest_face": lambda inputs: {"face_landmarks": landmarks[: len(inputs["frames"])]}}
    for given in (
        ask("latentsync_align", frames=FRAMES, landmarks=landmarks),
        ask("latentsync_align", found, frames=FRAMES),
    ):
        assert np.array_equal(given["faces"], expected["faces"])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"frames": FRAMES[:0]}, "frames: expected at least one frame with pixels, got "),
        ({"frames": FRAMES[:, :0]}, "frames: expected at least one frame with pixels, got "),
        ({"frames": np.zeros((25, 8, 8, 3), np.uint8)}, "frames: expected at most 24 in a chunk, got 25"),
        ({"frames": FRAMES[:2]}, "alignment_points: expected one row for each of 2 frames, got 3"),
        ({"smoothing_biases": np.zeros((2, 2), np.float32)}, "smoothing_biases: expected one row for each of 3 frames"),
        ({"smoothing_biases": np.full((3, 2), np.nan, np.float32)}, "smoothing_biases: expected finite values"),
        ({"resolution": np.array([300], np.int32)}, "resolution: expected a multiple of 64 up to 512 pixels, got 300"),
        (
            {"resolution": np.array([1024], np.int32)},
            "resolution: expected a multiple of 64 up to 512 pixels, got 1024",
        ),
    ],
)
def test_latentsync_align_fails_on_what_makes_no_chunk(inputs: dict[str, np.ndarray], message: str) -> None:
    """No frames, too many, or rows that do not fit them."""
    error = error_of("latentsync_align", **{"frames": FRAMES, "alignment_points": THREE_POINTS, **inputs})
    assert message in error.message()
    assert error.code() == fake_triton.TritonError.INVALID_ARG


def test_tokens_come_from_what_is_given() -> None:
    """Audio, features or tokens, of the frames with a face alone; without positions a frame takes two."""
    positions = np.array([0, 2, 4], np.int32)
    expected = windows.audio_tokens(FEATURES, positions)[[0, 2]]
    whisper = {"whisper_features": lambda inputs: {"audio_features": FEATURES[: len(inputs["audio"])]}}
    for found in (
        ask("latentsync_tokens", affine_matrices=MATRICES, audio_features=FEATURES),
        ask("latentsync_tokens", affine_matrices=MATRICES, audio_features=FEATURES, audio_positions=positions),
        ask("latentsync_tokens", whisper, affine_matrices=MATRICES, audio=SPEECH),
        ask(
            "latentsync_tokens",
            affine_matrices=MATRICES,
            audio_tokens=windows.audio_tokens(FEATURES, positions),
        ),
    ):
        assert np.array_equal(found["face_tokens"], expected)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "audio: expected audio, audio_features or audio_tokens, got none"),
        ({"audio_features": FEATURES[:0]}, "audio_features: expected at least one position, got none"),
        ({"audio_features": FEATURES, "audio_positions": np.array([0, 2, 99], np.int32)}, "expected 0 to 23"),
        (
            {"audio_features": FEATURES, "audio_positions": np.array([0], np.int32)},
            "audio_positions: expected one row for each of 3 frames",
        ),
        ({"audio_tokens": TOKENS[:1]}, "audio_tokens: expected one row for each of 3 frames, got 1"),
        ({"audio_tokens": TOKENS * np.nan}, "audio_tokens: expected finite values"),
    ],
)
def test_latentsync_tokens_fails_without_fitting_audio(inputs: dict[str, np.ndarray], message: str) -> None:
    """What is missing is named."""
    error = error_of("latentsync_tokens", affine_matrices=MATRICES, **inputs)
    assert message in error.message()
    assert error.code() == fake_triton.TritonError.INVALID_ARG
