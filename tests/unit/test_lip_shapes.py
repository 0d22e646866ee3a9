from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lipsync_core.audio.lip_features import FEATURES, HOP, LEVELS, MAX_BLOCKS, energetic, log_mel, spread_blocks
from lipsync_core.audio.lip_shapes import (
    COMPONENTS,
    CONTEXT_S,
    Regressor,
    SpeechStatistics,
    lip_shapes,
    speech_statistics,
    statistics_from_tensor,
)
from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE
from tests.unit.test_audio import frame_times, noise, syllables, tone

SECONDS = 4.0
SPEECH = (syllables(SECONDS) + 0.01 * noise(SECONDS)).astype(np.float32)
TIMES = frame_times(SECONDS)


def some_regressor() -> Regressor:
    """Any numbers: these tests are of what holds for all."""
    rng = np.random.default_rng(2)
    basis = np.linalg.qr(rng.standard_normal((80, COMPONENTS)))[0].T.reshape(COMPONENTS, 40, 2)
    weights = rng.standard_normal((FEATURES, COMPONENTS)) * 0.01
    return Regressor(weights, basis, rng.standard_normal(FEATURES) * 0.05, 0.3)


REGRESSOR = some_regressor()


def shapes_of(audio: np.ndarray, statistics: SpeechStatistics | None = None) -> np.ndarray:
    statistics = statistics or speech_statistics([audio], REGRESSOR)
    return lip_shapes(audio, statistics, TIMES, REGRESSOR)[0]


def test_a_piece_gives_what_the_whole_gives() -> None:
    """With enough sound around it, and from a multiple of the hop on."""
    statistics = speech_statistics([SPEECH], REGRESSOR)
    chosen = TIMES[(TIMES > 1.5) & (TIMES < 2.2)]
    start = round((chosen[0] - CONTEXT_S) * AUDIO_SAMPLE_RATE) // HOP * HOP
    stop = round((chosen[-1] + CONTEXT_S) * AUDIO_SAMPLE_RATE)
    whole = lip_shapes(SPEECH, statistics, chosen, REGRESSOR)
    piece = lip_shapes(SPEECH[start:stop], statistics, chosen - start / AUDIO_SAMPLE_RATE, REGRESSOR)
    for ours, theirs in zip(piece, whole, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_loudness_of_the_recording_changes_nothing() -> None:
    """The statistics are the audio's own."""
    np.testing.assert_allclose(shapes_of(0.1 * SPEECH), shapes_of(SPEECH), atol=1e-3)


def test_shapes_are_relative_to_their_mean_in_speech() -> None:
    """Over the audio's speech they add up to about nothing."""
    times = np.arange(0.3, SECONDS - 0.3, 0.01)
    statistics = speech_statistics([SPEECH], REGRESSOR)
    shapes = lip_shapes(SPEECH, statistics, times, REGRESSOR)[0]
    loud = energetic(log_mel(SPEECH))[np.round(times * 100).astype(int)]
    assert np.abs(shapes[loud].mean(axis=0)).max() < np.abs(shapes).max() / 4


@pytest.mark.parametrize(
    "audio", [np.zeros(0), np.zeros(100), np.zeros(16_000), 1e-6 * noise(1), noise(1), np.ones(999)]
)
def test_any_sound_has_finite_shapes(audio: np.ndarray) -> None:
    """Digital silence and noise included, by their own statistics and by those of speech."""
    audio = audio.astype(np.float32)
    for statistics in (speech_statistics([audio], REGRESSOR), speech_statistics([SPEECH], REGRESSOR)):
        shapes, closures = lip_shapes(audio, statistics, TIMES, REGRESSOR)
        assert shapes.shape == (len(TIMES), COMPONENTS)
        assert shapes.dtype == closures.dtype == np.float32
        assert np.isfinite(shapes).all()
        assert closures.min() >= 0
        assert closures.max() <= 1


def test_statistics_travel_as_a_tensor() -> None:
    """What comes back gives the same shapes."""
    statistics = speech_statistics([SPEECH], REGRESSOR)
    assert statistics.tensor.dtype == np.float32
    read = statistics_from_tensor(statistics.tensor)
    np.testing.assert_allclose(shapes_of(SPEECH, read), shapes_of(SPEECH, statistics), atol=1e-5)


@pytest.mark.parametrize(
    "tensor", [np.zeros(3), np.full(LEVELS + 1 + COMPONENTS, np.nan), np.zeros(LEVELS + 1 + COMPONENTS)]
)
def test_statistics_fail_on_other_numbers(tensor: np.ndarray) -> None:
    """A wrong length, no number, and a deviation of 0."""
    with pytest.raises(ValueError, match="speech_statistics: expected 28 finite numbers with a positive deviation"):
        statistics_from_tensor(tensor.astype(np.float32))


def test_nan_fails() -> None:
    """The message names the input."""
    audio = SPEECH.copy()
    audio[5] = np.nan
    with pytest.raises(ValueError, match="audio"):
        lip_shapes(audio, speech_statistics([SPEECH], REGRESSOR), TIMES, REGRESSOR)


def test_long_recordings_are_sampled_evenly() -> None:
    """A bounded number of blocks, from the beginning to the end."""
    kept = spread_blocks(np.array([number]) for number in range(1000))
    assert MAX_BLOCKS / 2 <= len(kept) <= MAX_BLOCKS
    assert kept[0][0] == 0
    assert kept[-1][0] > 980
    assert len(set(np.diff(np.concatenate(kept)).tolist())) == 1


def test_a_closure_is_short() -> None:
    """However long its score stays high: it lasts 120 ms at most, and at least one frame of 25 a second."""
    regressor = replace(REGRESSOR, closure_weights=np.zeros(FEATURES), closure_bias=0.0)
    regressor.closure_weights[4 * LEVELS - 1] = 5.0  # the last level at the middle offset: energy
    times = np.arange(0, SECONDS, 0.001)
    swell = np.repeat([0.01, 1, 0.01], len(SPEECH) // 3).astype(np.float32)
    audio = SPEECH[: len(swell)] * swell
    closures = lip_shapes(audio, speech_statistics([audio], regressor), times, regressor)[1]
    edges = np.flatnonzero(np.diff(np.concatenate([[0], closures > 0, [0]])))
    lengths = np.diff(edges.reshape(-1, 2), axis=1) * 0.001
    assert len(lengths)
    assert lengths.max() <= 0.121


def test_a_stretched_voice_sounds_higher() -> None:
    """What a band hears at a stretch of 1 it hears of a higher voice at a larger one."""
    low, high = (tone(hz, 0.5).astype(np.float32) for hz in (1000.0, 1150.0))
    assert log_mel(high, 1.15)[10, :-1].argmax() == log_mel(low)[10, :-1].argmax()
    assert log_mel(high)[10, :-1].argmax() > log_mel(low)[10, :-1].argmax()
