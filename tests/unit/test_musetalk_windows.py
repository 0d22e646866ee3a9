from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lipsync_core.musetalk.windows import (
    audio_tokens,
    features_for_windows,
    original_feature_count,
    position_table,
    window_start,
    window_starts_at,
)
from tests.musetalk_original import original_windows

RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(size=(120, 5, 384)).astype(np.float32)


@pytest.fixture(scope="module")
def windows(reference_dir: Path) -> dict[str, np.ndarray]:
    return dict(np.load(reference_dir / "musetalk" / "windows.npz"))


@pytest.mark.parametrize("rate", range(13))
def test_musetalk_windows_are_the_originals(windows: dict[str, np.ndarray], rate: int) -> None:
    """Thirteen rates by fifteen lengths: positions, and where the original ends without a result."""
    for i, length in enumerate(windows["lengths"].tolist()):
        frames = int(windows["num"][rate, i])
        if frames < 0:
            with pytest.raises(ValueError, match="expected"):
                original_windows(length, float(windows["fps"][rate]))
            continue
        starts = original_windows(length, float(windows["fps"][rate]))
        assert len(starts) == frames
        if (expected := windows.get(f"pos_{rate}_{i}")) is not None:
            positions = starts[:, None] + np.arange(10)
            features = original_feature_count(length)
            assert np.array_equal(np.where((positions < 0) | (positions >= features), -1, positions), expected)


@pytest.mark.parametrize(("fps", "drift_ms"), [(30000 / 1001, 324), (24000 / 1001, 407), (25, 0)])
def test_musetalk_windows_do_not_drift(fps: float, drift_ms: int) -> None:
    """After ten seconds the original, which truncates the rate, hears the wrong moment; here it is the frame's own."""
    index = round(10 * fps)
    centre = original_windows(16_000 * 20, fps)[index] + 4
    truth = int(index / fps * 50 + 1e-6)
    assert (centre - truth) * 20 == pytest.approx(drift_ms, abs=50)
    assert window_start(index, fps) + 4 == truth


@pytest.mark.parametrize(("fps", "early_ms"), [(24, 40), (20, 40), (15, 80), (12, 120), (25, 0), (30, 0)])
def test_musetalk_windows_are_centred_at_any_rate(fps: int, early_ms: int) -> None:
    """Below 25 fps the original's begin too early."""
    assert (window_start(7, fps) - original_windows(160_000, fps)[7]) * 20 == early_ms


@pytest.mark.parametrize("fps", [50, 59.94, 60, 240])
def test_musetalk_high_rates_work(fps: float) -> None:
    """At 50 fps and above the original ends the whole process; its mode says so."""
    with pytest.raises(ValueError, match="fps: expected 1 to less than 50"):
        original_windows(160_000, fps)
    assert window_start(round(fps), fps) in (45, 46)


def test_musetalk_windows_follow_the_time_where_the_rate_varies() -> None:
    """The same rule by time: a frame at 40 ms gets what frame 1 of 25 fps gets."""
    times = np.array([0.0, 0.04, 0.12, 3 / 30])
    assert window_starts_at(times).tolist() == [window_start(i, 25) for i in (0, 1, 3)] + [window_start(3, 30)]


def test_musetalk_parts_of_the_features_give_the_tokens_of_the_whole() -> None:
    """Before, within, at the end of and beyond them; beyond is silence."""
    starts = np.array([-14, -4, -1, 50, 111, 118, 130])
    whole = audio_tokens(FEATURES, starts)
    for size in (1, 3):
        for begin in range(0, len(starts), size):
            rows = slice(begin, begin + size)
            part, own = features_for_windows(starts[rows], len(FEATURES))
            assert np.array_equal(audio_tokens(FEATURES[part], own), whole[rows])
    assert np.array_equal(whole[-1], position_table())
    assert np.array_equal(whole[3], FEATURES[50:60].reshape(50, 384) + position_table())
    with pytest.raises(ValueError, match="audio_features: expected finite values"):
        audio_tokens(FEATURES * np.nan, starts)


def test_musetalk_tokens_are_the_originals(reference_dir: Path) -> None:
    """Position table, and windows whose states are known."""
    goldens = np.load(reference_dir / "musetalk" / "audio.npz")
    np.testing.assert_allclose(position_table(), goldens["pe"], atol=5e-6)  # its angles, up to 49, are float32
    features = np.full((400, 5, 384), 9.0, np.float32)
    features[goldens["state_rows"]] = goldens["states"]
    known = np.zeros(400, bool)
    known[goldens["state_rows"]] = True
    starts = np.array([window_start(frame, 25) for frame in goldens["chunk_frames"].tolist()])
    positions = starts[:, None] + np.arange(10)
    told = (positions < 0) | (positions >= 400) | known[np.clip(positions, 0, 399)]
    found = audio_tokens(features, starts).reshape(-1, 10, 5, 384)
    expected = (goldens["chunks"] + position_table()).reshape(found.shape)
    np.testing.assert_allclose(found[told], expected[told], atol=5e-6)
    assert told.sum() >= 20
