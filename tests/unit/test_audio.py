from __future__ import annotations

import numpy as np
import pytest

from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE
from perf.scores.loudness import band_level, mel_power, mouth_shapes

FPS = 25


def frame_times(seconds: float) -> np.ndarray:
    return (np.arange(int(seconds * FPS)) + 0.5) / FPS


def tone(hz: float, seconds: float) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(int(seconds * AUDIO_SAMPLE_RATE)) / AUDIO_SAMPLE_RATE)


def noise(seconds: float, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(int(seconds * AUDIO_SAMPLE_RATE)) * 0.1


def syllables(seconds: float, rate_hz: float = 3.0) -> np.ndarray:
    """A buzz rich in harmonics that swells and fades, with pauses: enough like speech for the levels."""
    buzz = sum(tone(120.0 * k, seconds) / k for k in range(1, 30))
    swell = np.clip(tone(rate_hz, seconds), 0, 1)
    return (0.2 * buzz * swell).astype(np.float32)


def vowel_like(low_hz: float, high_hz: float, seconds: float) -> np.ndarray:
    """Harmonics of 120 Hz, those between low_hz and high_hz tenfold."""
    return sum(tone(120.0 * k, seconds) * (0.1 if low_hz <= 120 * k < high_hz else 0.01) for k in range(1, 40))


@pytest.mark.parametrize("samples", [0, 1, 100, 399, 5000])
def test_short_or_silent_audio_keeps_the_mouth_closed(samples: int) -> None:
    """Silence of any length, none at all included, gives a closed and neutral mouth."""
    shapes = mouth_shapes(np.zeros(samples, np.float32), frame_times(1))
    assert shapes.shape == (FPS, 2)
    assert shapes.dtype == np.float32
    np.testing.assert_array_equal(shapes, 0)


def test_steady_noise_keeps_the_mouth_closed() -> None:
    """A background that never changes is not speech."""
    shapes = mouth_shapes(noise(4).astype(np.float32), frame_times(4))
    assert shapes[:, 0].mean() < 0.05  # single hops of noise may cross the gate


def test_opening_follows_the_syllables() -> None:
    """The mouth is open in the middle of each syllable and closed between them."""
    times = frame_times(4)
    opening = mouth_shapes(syllables(4), times)[:, 0]
    swell = np.clip(np.sin(2 * np.pi * 3 * times), 0, 1)
    assert np.corrcoef(opening, swell)[0, 1] > 0.9
    assert opening.max() <= 1.15
    assert opening[swell == 0].mean() < 0.2


def test_loudness_does_not_matter() -> None:
    """The same speech 20 dB softer gives the same shapes."""
    speech = syllables(3) + noise(3).astype(np.float32) * 0.01  # digital silence has no level to keep
    np.testing.assert_allclose(
        mouth_shapes(speech, frame_times(3)),
        mouth_shapes(speech * np.float32(0.1), frame_times(3)),
        atol=1e-3,
    )  # atol: the floor under the logarithm


def test_frames_outside_the_audio_are_closed() -> None:
    """Before the audio's start and after its end the mouth comes to rest within a tenth of a second."""
    speech = np.ones(3, np.float32).repeat(AUDIO_SAMPLE_RATE) * syllables(3)
    times = np.array([-2.0, -0.11, 3.11, 5.0, 1e6])
    np.testing.assert_array_equal(mouth_shapes(speech, times), 0)


def test_hiss_opens_less_than_a_vowel_and_front_vowels_spread() -> None:
    """A fricative's energy lies above the vocal band; a front vowel's second formant lies high."""
    pause, part = np.zeros(AUDIO_SAMPLE_RATE // 4), 0.4
    hiss = np.diff(noise(part), prepend=0) * 0.5
    sounds = [vowel_like(600, 1100, part), hiss, vowel_like(1800, 2800, part)]
    audio = np.concatenate([item for sound in sounds for item in (pause, sound)] * 3).astype(np.float32)
    middles = np.cumsum([0.65] * 9) - part / 2
    shapes = mouth_shapes(audio, middles).reshape(3, 3, 2).mean(axis=0)
    (vowel_open, vowel_spread), (hiss_open, _), (_, front_spread) = shapes
    assert vowel_open > 0.6
    assert hiss_open < 0.5 * vowel_open
    assert front_spread > vowel_spread + 0.3


def test_overlapping_windows_agree() -> None:
    """A window of a long audio gives nearly the shapes of the whole, away from its edges."""
    speech = syllables(30) * np.repeat(np.linspace(0.5, 1, 60, dtype=np.float32), AUDIO_SAMPLE_RATE // 2)
    times = frame_times(30)
    inner = (times > 14) & (times < 21)
    window = mouth_shapes(speech[10 * AUDIO_SAMPLE_RATE : 25 * AUDIO_SAMPLE_RATE], times[inner] - 10)
    np.testing.assert_allclose(window, mouth_shapes(speech, times)[inner], atol=0.05)


def test_mel_power_has_a_row_every_ten_milliseconds() -> None:
    """One row each 10 ms, with a row for the start; a tone shows in its own band."""
    assert mel_power(np.zeros(0, np.float32)).shape == (1, 40)
    mel = mel_power(tone(1000, 1).astype(np.float32))
    assert mel.shape == (101, 40)
    assert band_level(mel, 900, 1100)[50] > band_level(mel, 2000, 4000)[50] + 40


def test_mouth_shapes_fails_on_nan_samples() -> None:
    """Audio that decoded badly is refused by name."""
    with pytest.raises(ValueError, match="audio: expected finite samples"):
        mouth_shapes(np.array([0.0, np.nan], np.float32), frame_times(1))


def test_shapes_resemble_the_reference(reference_dir) -> None:
    """On synthetic speech the curves follow another implementation of the same recipe."""
    golden = np.load(reference_dir / "face" / "goldens.npz")
    samples = golden["speech_pcm16"].astype(np.float32) / 32768
    expected = golden["speech_open_25fps"]
    shapes = mouth_shapes(samples, (np.arange(len(expected)) + 0.5) / 25)
    assert np.corrcoef(shapes[:, 0], expected)[0, 1] > 0.99
    assert np.corrcoef(shapes[:, 1], golden["speech_spread_25fps"])[0, 1] > 0.99
