from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lipsync_core.whisper.mel import (
    FFT_SIZE,
    cut_segments,
    find_peak,
    log_mel,
    log_mel_peak,
    mel_filters,
    normalise,
    position_count,
    segment_count,
    segment_part,
)
from lipsync_core.whisper.sizes import HOP, SEGMENT_MEL_FRAMES
from tests.closeness import assert_close

ROUNDING = 1e-4  # of 2: the original's float32 spectrum, near the floor; measured 1e-5
SPEECH = np.random.default_rng(0).normal(0, 0.1, 16_000 * 65 + 70).astype(np.float32)  # three segments, the last odd
SPEECH *= np.linspace(0.1, 1, len(SPEECH), dtype=np.float32)  # the loudest moment is in the last one


def whole_mel(samples: np.ndarray) -> np.ndarray:
    return normalise(log_mel(samples), log_mel_peak(samples))


def plain_mel(samples: np.ndarray) -> np.ndarray:
    """Do what the spec says, with sums written out instead of transforms."""
    times = np.arange(FFT_SIZE)
    taper = np.sin(np.pi * times / FFT_SIZE) ** 2
    waves = np.exp(-2j * np.pi * np.outer(np.arange(201), times) / FFT_SIZE)
    padded = np.concatenate([samples[200:0:-1], samples, samples[-2:-202:-1]]).astype(np.float64)
    columns = [waves @ (padded[t * HOP : t * HOP + FFT_SIZE] * taper) for t in range(len(samples) // HOP)]
    power = mel_filters() @ np.abs(np.array(columns).T) ** 2
    log = np.log10(np.maximum(power, 1e-10))
    return (np.maximum(log, log.max() - 8) + 4) / 4


def test_golden_columns_hold(reference_dir: Path) -> None:
    """The original's, on 9.6 s of speech, on 35 s with the floor of the whole file, and on an odd number of columns."""
    goldens = np.load(reference_dir / "latentsync" / "whisper.npz")
    speech = goldens["pcm"].astype(np.float32) / 32768
    assert_close(whole_mel(speech), goldens["mel"], rel=ROUNDING)
    long = whole_mel(np.resize(speech, 560_000))
    assert_close(long[:, goldens["mel35_cols"]], goldens["mel35"], rel=ROUNDING)
    start = int(goldens["odd_start"])
    odd = whole_mel(speech[start : start + int(goldens["odd_samples"])])
    assert odd.shape == tuple(goldens["odd_mel_shape"])


def test_columns_are_what_the_spec_says() -> None:
    """Against the sums written out; quiet samples reach the floor."""
    samples = SPEECH[:4000].copy()
    samples[2000:3500] = 0
    assert_close(whole_mel(samples), plain_mel(samples), rel=1e-5)  # float32 steps


def test_filters_are_slaneys() -> None:
    """As transformers makes them."""
    audio_utils = pytest.importorskip("transformers.audio_utils", reason="no transformers; run: make test")
    expected = audio_utils.mel_filter_bank(201, 80, 0.0, 8000.0, 16_000, norm="slaney", mel_scale="slaney")
    assert_close(mel_filters(), expected.T, rel=1e-6)  # kept as float32


@pytest.mark.parametrize("length", [len(SPEECH), 16_000 * 60, 16_000 * 60 + 160, 16_000 * 30 + 320, 16_000 * 30, 500])
def test_parts_give_the_very_values_of_the_whole(length: int) -> None:
    """Each segment from its own samples, and the peak from all of them, to the last bit."""
    speech = SPEECH[-length:]
    parts = [segment_part(index, length) for index in range(segment_count(length))]
    peak = find_peak(speech[part.samples] for part in parts)
    assert peak == log_mel(speech).max() == log_mel_peak(speech)
    computed = [log_mel(speech[part.samples], part.first_mel_frame, part.mel_frame_count) for part in parts]
    assert np.array_equal(normalise(np.concatenate(computed, axis=1), peak), whole_mel(speech))
    most = (SEGMENT_MEL_FRAMES + 5) * HOP
    assert all(part.samples.stop - part.samples.start <= most for part in parts)


def test_the_last_segment_ends_with_zeros() -> None:
    """Which is not silence; an odd last column gives no position."""
    mel = np.full((80, 3321), -0.5, np.float32)
    segments, positions = cut_segments(mel)
    assert segments.shape == (2, 80, 3000)
    assert positions.tolist() == [1500, 160]
    assert sum(positions) == position_count(3321 * HOP)
    assert (segments[1, :, :321] == -0.5).all()
    assert not segments[1, :, 321:].any()


@pytest.mark.parametrize(
    ("samples", "columns", "message"),
    [
        (SPEECH[:319], (0, None), "audio: expected at least 320 samples .* got 319"),
        (SPEECH[:0], (0, None), "audio: expected at least 320 samples .* got 0"),
        (np.full(900, np.nan, np.float32), (0, None), "audio: expected finite samples, got NaN"),
        (SPEECH[:3200], (0, 21), "expected mel frames within 0 to 20 of this audio, got 0 to 21"),
        (SPEECH[:3200], (-1, 3), "expected mel frames within 0 to 20 of this audio, got -1 to 2"),
        (SPEECH[:3200], (20, None), "expected mel frames within 0 to 20 of this audio, got 20 to 20"),
    ],
)
def test_log_mel_fails_on_what_gives_no_columns(
    samples: np.ndarray, columns: tuple[int, int | None], message: str
) -> None:
    """Too little, not a number, or columns that are not there."""
    with pytest.raises(ValueError, match=message):
        log_mel(samples, *columns)
