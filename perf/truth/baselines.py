"""What any result must beat, and what none can: lips made from the truth or from loudness, without a generator.

Source: docs/specs/truth.md, "Baselines and bounds".
"""

from __future__ import annotations

import numpy as np

from lipsync_core.audio.lip_features import HOPS_PER_SECOND, log_mel
from lipsync_core.audio.lip_shapes import Regressor, lip_shapes, speech_statistics
from lipsync_core.mouth.lips import widths
from perf.scores.loudness import mouth_shapes
from perf.truth.clips import TruthClip
from perf.truth.closures import is_closed
from perf.truth.curves import Curve

LEAST_CLOSED = 3  # frames, to know how a clip's closed mouth looks


def baselines(clip: TruthClip, regressor: Regressor) -> dict[str, np.ndarray]:
    """Return lips float64 [F, 40, 2] by name."""
    mean = clip.mean_lips
    still = np.broadcast_to(mean, clip.lips.shape)
    return {
        "mouth kept shut": np.broadcast_to(_shut(clip), clip.lips.shape),
        "mean mouth": still,
        "mouth of another time": np.roll(clip.lips, clip.frames // 2, axis=0),
        "loudness": follow_curve(clip, _loudness(clip)),
        "loudness and cues": follow_curve(clip, mouth_shapes(clip.speech, clip.times_s)[:, 0].astype(np.float64)),
        "regressor, no picture": mean + predicted(clip, regressor),
        "bound: true opening and width": true_opening_and_width(clip),
        "bound: six true components": mean + six_components(clip, regressor),
    }


def predicted(clip: TruthClip, regressor: Regressor) -> np.ndarray:
    """Return how the regressor would move the lips by the clip's speech alone, float64 [F, 40, 2]."""
    shapes, _ = lip_shapes(clip.speech, speech_statistics([clip.speech], regressor), clip.times_s, regressor)
    return regressor.displacements(shapes)


def follow_curve(clip: TruthClip, curve: Curve) -> np.ndarray:
    """Open and close the clip's mouth along a curve, scaled to how the true opening varies, float64 [F, 40, 2]."""
    true = clip.openings
    spread = float(np.nanstd(curve))
    scaled = (curve - np.nanmean(curve)) / (spread if spread > 0 else 1.0) * np.nanstd(true)
    return clip.mean_lips + _by(clip, true[:, None], scaled[:, None])


def true_opening_and_width(clip: TruthClip) -> np.ndarray:
    """Return the best lips that move by the true opening and width alone, float64 [F, 40, 2]."""
    true = np.stack([clip.openings, widths(clip.lips)], axis=1)
    return clip.mean_lips + _by(clip, true, true - np.nanmean(true, axis=0))


def six_components(clip: TruthClip, regressor: Regressor) -> np.ndarray:
    """Return what six shape components can hold of the true displacements, float64 [F, 40, 2]."""
    moved = clip.lips - clip.mean_lips
    return regressor.displacements(np.einsum("fpx,cpx->fc", moved, regressor.basis))


def _by(clip: TruthClip, true: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Displace the lips linearly: fitted on true values, float64 [F, K], applied to wanted ones, [F, K]."""
    seen = np.isfinite(true).all(axis=1)
    moved = (clip.lips - clip.mean_lips).reshape(len(true), -1)
    slopes = np.linalg.lstsq(true[seen] - true[seen].mean(axis=0), moved[seen], rcond=None)[0]
    return (wanted @ slopes).reshape(clip.lips.shape)


def _shut(clip: TruthClip) -> np.ndarray:
    """Return the clip's mean closed mouth, float64 [40, 2], or its least open one."""
    true = clip.openings
    closed = is_closed(true)
    if closed.sum() >= LEAST_CLOSED:
        return np.asarray(clip.lips[closed].mean(axis=0))
    return np.asarray(clip.lips[int(np.nanargmin(true))])


def _loudness(clip: TruthClip) -> Curve:
    levels = log_mel(clip.speech)[:, -1]
    return np.interp(clip.times_s, np.arange(len(levels)) / HOPS_PER_SECOND, levels)
