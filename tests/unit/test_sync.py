from __future__ import annotations

import numpy as np
import pytest

from perf.scores.mouth_sync import mouth_openings, score_curves
from perf.scores.speech_curves import speech_curves
from tests.unit.mouth_samples import astronaut
from tests.unit.test_audio import frame_times, syllables


def speech() -> tuple[np.ndarray, np.ndarray]:
    swell = np.repeat(np.random.default_rng(3).uniform(0.1, 1, 24).astype(np.float32), 4000)
    return syllables(6) * swell, frame_times(6)


def test_openings_are_relative_to_the_face() -> None:
    """A face twice as large has the same opening; no face gives NaN."""
    _, landmarks = astronaut()
    faces = np.stack([landmarks, 2 * landmarks, np.full_like(landmarks, np.nan)])
    openings = mouth_openings(faces)
    assert openings[0] == pytest.approx(openings[1], rel=1e-5)
    assert 0.05 < openings[0] < 0.3
    assert np.isnan(openings[2])


def test_a_mouth_that_follows_scores_high_at_no_lag() -> None:
    """The intended opening itself correlates fully, and well with the levels, at lag 0."""
    samples, times = speech()
    curves = speech_curves(samples, times)
    openings = curves["intended"].copy()
    openings[10] = np.nan
    scores = score_curves(openings, curves)
    assert scores["intended"].correlation == pytest.approx(1)
    assert scores["vocal"].correlation > 0.5
    assert {score.best_lag for score in scores.values()} == {0}


@pytest.mark.parametrize("lag", [-7, 4])
def test_a_late_mouth_shows_its_lag(lag: int) -> None:
    """A mouth that comes some frames after the sound is best at that lag, and worse at 0."""
    samples, times = speech()
    openings = speech_curves(samples, times - lag / 25)["intended"]
    score = score_curves(openings, speech_curves(samples, times))["intended"]
    assert score.best_lag == lag
    assert score.best_correlation > 0.99
    assert score.correlation < score.best_correlation


def test_a_mouth_that_never_moves_scores_zero() -> None:
    """Correlation with a constant is called 0."""
    samples, times = speech()
    assert score_curves(np.full(len(times), 0.1), speech_curves(samples, times))["vocal"].correlation == 0


def test_score_fails_on_too_few_frames() -> None:
    """A short clip can't be scored, and the message says so."""
    samples, times = speech()
    with pytest.raises(ValueError, match="openings: expected at least 36 frames with a face, got 20"):
        score_curves(np.ones(20), speech_curves(samples, times[:20]))
