"""Fits a logistic regression that tells covered mouths, and judges each speaker by a fit on the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lipsync_core.mouth.visible import COVER_LOGITS

PENALTY = 30.0  # on squared weights of features of unit deviation
NEWTON_STEPS = 25
LEAST_DEVIATION = 1e-3  # of a feature; smaller ones are constant
CONFIDENT = 30.0  # logits beyond this are as good as certain
LIMIT = sum(COVER_LOGITS) / 2  # logit above which a mouth counts as covered; the motion fades out around it


@dataclass(frozen=True, eq=False)
class Sample:
    """One picture of a mouth.

    Attributes:
        speaker: Whose.
        cover: What is drawn over it; empty if nothing is.
        is_changed: Whether light, sharpness or compression were changed.
        features: float64 [512], of the landmark network's lip head.
    """

    speaker: str
    cover: str
    is_changed: bool
    features: np.ndarray


@dataclass(frozen=True, eq=False)
class CoverJudge:
    """Weights, float64 [512], and bias of the regression."""

    weights: np.ndarray
    bias: float

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Judge float64 [N, 512]; float64 [N], above 0 for covered mouths."""
        return np.asarray(features @ self.weights + self.bias)


def fit_judge(samples: Sequence[Sample]) -> CoverJudge:
    """Fit the regression on samples, by Newton's method."""
    features = np.stack([sample.features for sample in samples])
    covered = np.array([bool(sample.cover) for sample in samples], np.float64)
    deviations = features.std(axis=0) + LEAST_DEVIATION
    scaled = features / deviations
    means = scaled.mean(axis=0)
    inputs = np.column_stack([scaled - means, np.ones(len(scaled))])
    fitted = np.zeros(inputs.shape[1])
    for _ in range(NEWTON_STEPS):
        likely = 1 / (1 + np.exp(-np.clip(inputs @ fitted, -CONFIDENT, CONFIDENT)))
        slope = inputs.T @ (likely - covered) + PENALTY * np.append(fitted[:-1], 0)  # the bias is free
        bend = (inputs * (likely * (1 - likely) + 1e-6)[:, None]).T @ inputs + PENALTY * np.eye(len(fitted))
        fitted -= np.linalg.solve(bend, slope)
    return CoverJudge(fitted[:-1] / deviations, float(fitted[-1] - means @ fitted[:-1]))


def leave_one_out(samples: Sequence[Sample]) -> np.ndarray:
    """Return the logit of each sample, float64 [N], by a fit on the other speakers.

    Raises:
        ValueError: there are fewer than two speakers.
    """
    speakers = sorted({sample.speaker for sample in samples})
    if len(speakers) < 2:
        raise ValueError(f"--fit: expected clips of at least two speakers, got {len(speakers)}")
    logits = np.zeros(len(samples))
    for speaker in speakers:
        judge = fit_judge([sample for sample in samples if sample.speaker != speaker])
        own = [index for index, sample in enumerate(samples) if sample.speaker == speaker]
        logits[own] = judge.logits(np.stack([samples[index].features for index in own]))
    return logits


def as_table(samples: Sequence[Sample], logits: np.ndarray) -> str:
    """Return a line for each kind of sample with how many are judged wrongly."""
    lines = [f"judged by the other speakers, at logit {LIMIT:g}:"]
    covers = ["", *sorted({sample.cover for sample in samples} - {""})]
    for cover in covers:
        for is_changed in (False, True):
            chosen = [(sample.cover, sample.is_changed) == (cover, is_changed) for sample in samples]
            found = logits[chosen] > LIMIT
            wrong = int((~found if cover else found).sum())
            name, fault = (cover, "missed") if cover else ("not covered", "refused")
            change = "light, blur, noise and compression changed" if is_changed else "as filmed"
            lines.append(f"  {name}, {change}: {wrong} of {len(found)} {fault}")
    return "\n".join(lines)
