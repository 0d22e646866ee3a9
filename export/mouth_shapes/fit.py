"""Fits the regressor: ridge regression from levels of speech to components of lip displacements.

Every speaker weighs the same. Features and lips are relative to the speaker's own means, so that neither the voice nor
the face matters. Source: docs/specs/truth.md, "The fit".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from export.mouth_shapes.corpus import Speaker, SpokenClip
from export.mouth_shapes.phones import SILENCES, closed_phones, read_phones
from lipsync_core.audio.lip_features import FEATURES, features_at, log_mel, normalise, speech_levels
from lipsync_core.audio.lip_shapes import COMPONENTS, LIP_POINTS, Regressor

RIDGE = 0.1  # against features of variance about 1
CLOSURE_RIDGE = 0.3
STRETCHES = (0.85, 0.92, 1.0, 1.08, 1.15)  # every voice also counts as if from a longer or a shorter throat
CLOSED_WITHIN_S = 0.04  # of the middle of a phone that closes the lips


@dataclass(frozen=True, eq=False)
class Rows:
    """What one speaker contributes.

    Attributes:
        features: float64 [N, 147], relative to their mean.
        lips: float64 [N, 80], relative to their mean.
    """

    features: np.ndarray
    lips: np.ndarray


def speaker_features(speaker: Speaker, stretch: float) -> list[np.ndarray]:
    """Return the features of each frame of each clip, float64 [F, 147], normalised over all clips."""
    levels = [log_mel(clip.speech, stretch) for clip in speaker.clips]
    speech = speech_levels(np.concatenate(levels))
    clips = zip(levels, speaker.clips, strict=True)
    return [features_at(normalise(clip_levels, speech), clip.times_s) for clip_levels, clip in clips]


def rows_of(speaker: Speaker) -> Rows:
    """Gather a speaker's frames, all of them, once for each stretch."""
    lips = np.concatenate([clip.lips for clip in speaker.clips])
    lips = lips.reshape(len(lips), -1)
    parts = [np.concatenate(speaker_features(speaker, stretch)) for stretch in STRETCHES]
    features = np.concatenate([part - part.mean(axis=0) for part in parts])
    return Rows(features, np.tile(lips - lips.mean(axis=0), (len(STRETCHES), 1)))


def lip_basis(rows: Sequence[Rows]) -> np.ndarray:
    """Return the strongest components of how lips move, float64 [6, 80], orthonormal."""
    covariance = np.mean([one.lips.T @ one.lips / len(one.lips) for one in rows], axis=0)
    vectors = np.linalg.eigh(covariance)[1][:, ::-1][:, :COMPONENTS].T
    strongest = np.abs(vectors).argmax(axis=1)
    return vectors * np.sign(vectors[np.arange(COMPONENTS), strongest])[:, None]  # the same signs in every run


def ridge(features: Sequence[np.ndarray], targets: Sequence[np.ndarray], penalty: float) -> np.ndarray:
    """Regress targets on features, each speaker with the same weight.

    Args:
        features: float64 [N, D] for each speaker.
        targets: float64 [N, K] for each speaker.
        penalty: What is added to the variance of each feature.

    Returns:
        float64 [D, K].
    """
    gram = np.mean([x.T @ x / len(x) for x in features], axis=0)
    cross = np.mean([x.T @ y / len(x) for x, y in zip(features, targets, strict=True)], axis=0)
    return np.linalg.solve(gram + penalty * np.eye(len(gram)), cross)


def fit_regressor(speakers: Sequence[Speaker], penalty: float = RIDGE) -> Regressor:
    """Fit all coefficients on some speakers; the same speakers always give the same ones."""
    rows = [rows_of(speaker) for speaker in speakers]
    basis = lip_basis(rows)
    weights = ridge([one.features for one in rows], [one.lips @ basis.T for one in rows], penalty)
    closures = fit_closures(speakers)
    return Regressor(weights, basis.reshape(COMPONENTS, LIP_POINTS, 2), *closures)


def fit_closures(speakers: Sequence[Speaker], penalty: float = CLOSURE_RIDGE) -> tuple[np.ndarray, float]:
    """Fit the closure term on phones: 1 in the middle of p, b and m, 0 in other speech, both with the same weight.

    Returns:
        Weights, float64 [147], and bias; zeros where no clip has phones.
    """
    parts = [part for speaker in speakers if (part := _closure_rows(speaker)) is not None]
    if not parts:
        return np.zeros(FEATURES), 0.0
    grams, crosses = [], []
    for features, closed in parts:
        shares = np.where(closed, 0.5 / closed.sum(), 0.5 / (~closed).sum())
        weighted = features * shares[:, None]
        grams.append(weighted.T @ features)
        crosses.append(weighted.T @ closed)
    penalties = np.append(np.full(FEATURES, penalty), 0)  # the bias is free
    solved = np.linalg.solve(np.mean(grams, axis=0) + np.diag(penalties), np.mean(crosses, axis=0))
    return solved[:-1], float(solved[-1])


def _closure_rows(speaker: Speaker) -> tuple[np.ndarray, np.ndarray] | None:
    """Return features with a column of ones, and which rows are of closed lips; None without any."""
    spans = [_spoken_frames(clip) for clip in speaker.clips]
    closed = np.concatenate([clip_closed[said] for said, clip_closed in spans])
    if not closed.any():
        return None
    features = [
        clip_features[said]
        for stretch in STRETCHES
        for clip_features, (said, _) in zip(speaker_features(speaker, stretch), spans, strict=True)
    ]
    rows = np.concatenate(features)
    return np.concatenate([rows, np.ones((len(rows), 1))], axis=1), np.tile(closed, len(STRETCHES))


def _spoken_frames(clip: SpokenClip) -> tuple[np.ndarray, np.ndarray]:
    """Return which frames lie between the first and the last phone, and which near a closed one, bool [F] each."""
    phones = read_phones(clip.path)
    spoken = [phone for phone in phones if phone.name not in SILENCES]
    if not spoken:
        return (np.zeros(len(clip.times_s), bool),) * 2
    middles = np.array([(phone.start_s + phone.end_s) / 2 for phone in closed_phones(phones)])
    said = (clip.times_s > spoken[0].start_s) & (clip.times_s < spoken[-1].end_s)
    apart = np.abs(clip.times_s[:, None] - middles).min(axis=1, initial=np.inf)
    return said, apart <= CLOSED_WITHIN_S
