"""How well a mouth in a video follows a speech: correlation and lag. Knows nothing of generators."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lipsync_core.audio.mouth_shapes import HOPS_PER_SECOND, mel_power, mouth_shapes, vocal_level
from lipsync_core.mouth.geometry import LEFT_EYE, RIGHT_EYE, FloatArray

Float64Array = NDArray[np.float64]

UPPER_LIP, LOWER_LIP = 13, 14  # face mesh, inner edges
MAX_LAG = 12  # frames
LEAST_FRAMES = 3 * MAX_LAG  # fewer say nothing about a lag


@dataclass(frozen=True)
class SyncScore:
    """Agreement of a mouth's opening with one measure of the speech."""

    correlation: float  # at lag 0, -1..1
    best_correlation: float
    best_lag: int  # frames; positive: the mouth comes after the sound


def mouth_openings(landmarks: FloatArray) -> Float64Array:
    """Opening of the mouth in units of the face's size.

    Args:
        landmarks: float32 [F, 468, 3]; NaN where a frame has no face.

    Returns:
        float64 [F], |13-14| over the 3-D distance of the outer eye corners; NaN without a face.
    """
    points = landmarks.astype(np.float64)
    gap = np.linalg.norm(points[:, UPPER_LIP, :2] - points[:, LOWER_LIP, :2], axis=1)
    span = np.linalg.norm(points[:, LEFT_EYE] - points[:, RIGHT_EYE], axis=1)
    openings: Float64Array = gap / np.maximum(span, 1e-6)
    return openings


def score_sync(openings: Float64Array, samples: NDArray[np.float32], frame_times: Float64Array) -> dict[str, SyncScore]:
    """Compare a mouth's openings with the speech it should follow.

    Args:
        openings: float64 [F], see mouth_openings; NaN where a frame has no face.
        samples: float32 [S], the speech, mono at 16 kHz.
        frame_times: float64 [F], the frames' centres in seconds from the first sample; evenly spaced.

    Returns:
        One score per measure: "log_mel" (mean of 40 log-mel bands), "vocal" (level of the vocal band) and
        "intended" (the opening that mouth_shapes asks for).

    Raises:
        ValueError: fewer than 36 frames with a face.
    """
    return score_curves(openings, speech_curves(samples, frame_times))


def score_curves(openings: Float64Array, curves: Mapping[str, Float64Array]) -> dict[str, SyncScore]:
    """Compare a mouth's openings with curves of the speech as `speech_curves` gives them.

    Raises:
        ValueError: fewer than 36 frames with a face.
    """
    return {name: _score(openings, speech) for name, speech in curves.items()}


def speech_curves(samples: NDArray[np.float32], frame_times: Float64Array) -> dict[str, Float64Array]:
    """What a mouth is compared with, each float64 [F], at the frames' centres."""
    mel = mel_power(samples)
    hops = np.arange(len(mel)) / HOPS_PER_SECOND
    log_mel = (10 * np.log10(mel)).mean(axis=1)
    return {
        "log_mel": np.interp(frame_times, hops, log_mel),
        "vocal": np.interp(frame_times, hops, vocal_level(mel)),
        "intended": mouth_shapes(samples, frame_times)[:, 0].astype(np.float64),
    }


def _score(openings: Float64Array, speech: Float64Array) -> SyncScore:
    seen = int(np.isfinite(openings).sum())
    if seen < LEAST_FRAMES:
        raise ValueError(
            f"openings: expected at least {LEAST_FRAMES} frames with a face, got {seen}. Score a longer video"
        )
    by_lag = {lag: _correlation_at(lag, openings, speech) for lag in range(-MAX_LAG, MAX_LAG + 1)}
    best = max(by_lag, key=lambda lag: (by_lag[lag], -abs(lag)))
    return SyncScore(by_lag[0], by_lag[best], best)


def _correlation_at(lag: int, openings: Float64Array, speech: Float64Array) -> float:
    """Correlation of opening i with speech i - lag over frames with a face; 0 where either is constant."""
    mouth, sound = openings[max(lag, 0) :], speech[max(-lag, 0) :]
    length = min(len(mouth), len(sound))
    mouth, sound = mouth[:length], sound[:length]
    seen = np.isfinite(mouth)
    mouth, sound = mouth[seen], sound[seen]
    if len(mouth) < 2 or np.ptp(mouth) < 1e-9 or np.ptp(sound) < 1e-9:
        return 0.0
    return float(np.corrcoef(mouth, sound)[0, 1])
