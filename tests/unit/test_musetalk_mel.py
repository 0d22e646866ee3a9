from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lipsync_core.whisper.mel import log_mel, log_mel_peak, normalise
from lipsync_core.whisper.padded import SEGMENT_SAMPLES, padded_position_counts, padded_segments


def test_musetalk_mel_is_the_originals(reference_dir: Path) -> None:
    """The first 820 mel frames, and the padding of the others."""
    goldens = np.load(reference_dir / "musetalk" / "audio.npz")
    (mel,) = padded_segments(goldens["pcm"].astype(np.float32) / 32768)
    np.testing.assert_allclose(mel[:, :820], goldens["mel"], atol=2e-5)  # its spectrum is in float32
    np.testing.assert_allclose(mel[:, 820:], np.repeat(goldens["mel_last"][:, None], 2180, axis=1), atol=2e-5)
    assert padded_position_counts(len(goldens["pcm"])).tolist() == [400]


def test_musetalk_mel_floor_is_each_segments_own() -> None:
    """A loud second segment does not raise the floor of a quiet first one, as it does in LatentSync's rule."""
    rng = np.random.default_rng(0)
    samples = rng.normal(0, 1e-4, SEGMENT_SAMPLES + 16_000).astype(np.float32)
    samples[SEGMENT_SAMPLES:] *= 1e4
    quiet, _ = padded_segments(samples)
    np.testing.assert_array_equal(quiet, padded_segments(samples[:SEGMENT_SAMPLES])[0])
    whole = normalise(log_mel(samples, 0, 3000), log_mel_peak(samples))
    assert whole.min() > np.median(quiet)


@pytest.mark.parametrize(
    ("samples", "counts"),
    [(1, [0]), (320, [1]), (9_280, [29]), (480_000, [1500]), (480_319, [1500, 0]), (976_000, [1500, 1500, 50])],
)
def test_musetalk_positions_end_with_the_audio(samples: int, counts: list[int]) -> None:
    """In whole numbers: 0.58 s are 29 positions, of which the original's division loses one."""
    assert padded_position_counts(samples).tolist() == counts


def test_musetalk_mel_fails_without_samples() -> None:
    """Empty and broken audio is named."""
    with pytest.raises(ValueError, match="audio: expected at least one sample"):
        padded_segments(np.zeros(0, np.float32))
    with pytest.raises(ValueError, match="audio: expected finite samples"):
        padded_segments(np.full(10, np.nan, np.float32))
