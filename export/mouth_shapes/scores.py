"""Leave-one-speaker-out: how well the regressor does on speakers that it was not fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from export.mouth_shapes.corpus import Speaker
from export.mouth_shapes.fit import fit_regressor
from export.mouth_shapes.phones import closed_phones, read_phones
from lipsync_core.audio.lip_features import HOPS_PER_SECOND, energetic, log_mel
from lipsync_core.audio.lip_shapes import Regressor, SpeechStatistics, lip_shapes, speech_statistics
from lipsync_core.mouth.lips import openings, widths

FALSE_SHARE = 0.10
RANGE_PERCENTILE = 95


@dataclass(frozen=True)
class SpeakerScore:
    """How well one speaker's lips are predicted by a fit on the others.

    Attributes:
        speaker: The speaker's name.
        clips: Number of clips.
        opening: Correlation of the opening over frames with speech.
        opening_always: The same over all frames; that speech opens the mouth counts here.
        width: Correlation of the width over frames with speech.
        gain: How much further the true opening goes beyond its mean than the predicted one, at their 95th percentiles.
        recall: Share of p, b and m whose closure term exceeds what 10 % of the other frames with speech exceed; NaN
            without alignments.
    """

    speaker: str
    clips: int
    opening: float
    opening_always: float
    width: float
    gain: float
    recall: float


@dataclass(frozen=True, eq=False)
class _Frames:
    """Frames of a speaker's clips, one after the other."""

    true: np.ndarray
    predicted: np.ndarray
    closures: np.ndarray
    has_speech: np.ndarray
    is_closed: np.ndarray


def leave_one_out(speakers: Sequence[Speaker]) -> list[SpeakerScore]:
    """Score each speaker by a fit on all others."""
    return [
        score_speaker(speaker, fit_regressor([other for other in speakers if other is not speaker]))
        for speaker in speakers
    ]


def score_speaker(speaker: Speaker, regressor: Regressor) -> SpeakerScore:
    """Score one speaker by a regressor that was fitted on others."""
    statistics = speech_statistics([clip.speech for clip in speaker.clips], regressor)
    parts = [_predict(speaker, number, regressor, statistics) for number in range(len(speaker.clips))]
    frames = _Frames(*(np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])))
    speech = frames.has_speech
    ours, theirs = openings(frames.predicted), openings(frames.true)
    wide, truly_wide = widths(frames.predicted), widths(frames.true)
    return SpeakerScore(
        speaker.name,
        len(speaker.clips),
        opening=_correlation(ours[speech], theirs[speech]),
        opening_always=_correlation(ours, theirs),
        width=_correlation(wide[speech], truly_wide[speech]),
        gain=_rise(theirs[speech]) / max(_rise(ours[speech]), 1e-6),
        recall=_recall(frames.closures[frames.is_closed], frames.closures[speech & ~frames.is_closed]),
    )


def as_table(scores: Sequence[SpeakerScore]) -> str:
    """Return a line for each speaker, then means over speakers."""
    lines = [f"{'left out':12}{'clips':>6}{'r opening':>11}{'always':>8}{'r width':>9}{'gain':>7}{'p b m recall':>14}"]
    figures = np.array([[s.opening, s.opening_always, s.width, s.gain, s.recall] for s in scores])
    for score, row in zip(scores, figures, strict=True):
        lines.append(f"{score.speaker:12}{score.clips:6d}{_cells(row)}")
    lines.append(f"{'mean':12}{sum(score.clips for score in scores):6d}{_cells(_means(figures))}")
    return "\n".join(lines)


def _predict(speaker: Speaker, number: int, regressor: Regressor, statistics: SpeechStatistics) -> _Frames:
    clip = speaker.clips[number]
    shapes, closures = lip_shapes(clip.speech, statistics, clip.times_s, regressor)
    loud = energetic(log_mel(clip.speech))
    hops = np.clip(np.round(clip.times_s * HOPS_PER_SECOND).astype(int), 0, len(loud) - 1)
    closed = np.zeros(len(clip.times_s), bool)
    for phone in closed_phones(read_phones(clip.path)):
        closed[np.argmin(np.abs(clip.times_s - (phone.start_s + phone.end_s) / 2))] = True
    return _Frames(clip.lips, speaker.mean_lips + regressor.displacements(shapes), closures, loud[hops], closed)


def _recall(wanted: np.ndarray, others: np.ndarray) -> float:
    if not (len(wanted) and len(others)):
        return float("nan")
    return float((wanted > np.quantile(others, 1 - FALSE_SHARE)).mean())


def _rise(curve: np.ndarray) -> float:
    """Return how far the 95th percentile lies above the mean."""
    return float(np.percentile(curve, RANGE_PERCENTILE) - curve.mean()) if len(curve) else 0.0


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 2 and np.ptp(a) > 0 and np.ptp(b) > 0 else float("nan")


def _means(figures: np.ndarray) -> np.ndarray:
    """Return the mean of each column's known figures; NaN where there is none."""
    known = np.isfinite(figures)
    return np.where(
        known.any(axis=0), np.where(known, figures, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1), np.nan
    )


def _cells(row: np.ndarray) -> str:
    return f"{row[0]:11.2f}{row[1]:8.2f}{row[2]:9.2f}{row[3]:7.2f}{row[4]:14.2f}"
