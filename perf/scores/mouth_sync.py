"""How well a mouth follows what is said: its opening in each frame, correlated with curves of the speech."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.tracking.faces import Face
from lipsync_core.mouth.geometry import LEFT_EYE, RIGHT_EYE, FloatArray

Float64Array = NDArray[np.float64]

UPPER_LIP, LOWER_LIP = 13, 14  # face mesh, inner edges
MAX_LAG = 12  # frames
MIN_FRAMES = 3 * MAX_LAG  # with fewer, the best lag is chance


@dataclass(frozen=True)
class SyncScore:
    """How a mouth's opening agrees with one curve of the speech.

    Attributes:
        correlation: Pearson's r at lag 0, -1 to 1.
        best_correlation: The highest r within 12 frames.
        best_lag: The lag of that, in frames; positive if the mouth is late.
    """

    correlation: float
    best_correlation: float
    best_lag: int


def mouth_opening(face: Face | None) -> float:
    """Return how far a face's mouth is open, relative to the face's size; NaN without landmarks."""
    if face is None or face.landmarks is None:
        return float("nan")
    return float(mouth_openings(face.landmarks[None])[0])


def mouth_openings(landmarks: FloatArray) -> Float64Array:
    """Measure how far the mouth is open, relative to the size of the face.

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


def score_curves(openings: Float64Array, curves: Mapping[str, Float64Array]) -> dict[str, SyncScore]:
    """Correlate a mouth's openings with each curve of the speech.

    Args:
        openings: float64 [F], as `mouth_openings` returns them, at an even frame rate; NaN in frames without a face.
        curves: float64 [F] by name, at the same frames.

    Raises:
        ValueError: fewer than 36 frames with a face.
    """
    return {name: _score(openings, curve) for name, curve in curves.items()}


def _score(openings: Float64Array, curve: Float64Array) -> SyncScore:
    seen = int(np.isfinite(openings).sum())
    if seen < MIN_FRAMES:
        raise ValueError(
            f"openings: expected at least {MIN_FRAMES} frames with a face, got {seen}. Score a longer video"
        )
    by_lag = {lag: _correlation_at(lag, openings, curve) for lag in range(-MAX_LAG, MAX_LAG + 1)}
    best = max(by_lag, key=lambda lag: (by_lag[lag], -abs(lag)))
    return SyncScore(by_lag[0], by_lag[best], best)


def _correlation_at(lag: int, openings: Float64Array, curve: Float64Array) -> float:
    """Correlate opening i with the curve at i - lag, over frames with a face; 0 if either is constant."""
    mouth, sound = openings[max(lag, 0) :], curve[max(-lag, 0) :]
    length = min(len(mouth), len(sound))
    mouth, sound = mouth[:length], sound[:length]
    seen = np.isfinite(mouth)
    mouth, sound = mouth[seen], sound[seen]
    if len(mouth) < 2 or np.ptp(mouth) < 1e-9 or np.ptp(sound) < 1e-9:
        return 0.0
    return float(np.corrcoef(mouth, sound)[0, 1])
