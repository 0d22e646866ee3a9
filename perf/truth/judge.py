"""Judges one clip: its two results, baselines and bounds, phones, and sounds without speech."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from export.mouth_shapes.phones import read_phones
from lipsync_core.audio.lip_shapes import fitted_regressor
from lipsync_core.mouth.lips import openings
from perf.truth.baselines import baselines, predicted
from perf.truth.belonging import Belonging, check_belonging
from perf.truth.clips import TruthClip
from perf.truth.drawing import DrawLips, own_speech, speech_on_other_picture
from perf.truth.likeness import Likeness, compare_lips
from perf.truth.phones import LipPhones, lip_phones

OWN, FAIR = "own picture", "fair"  # the two results


@dataclass(frozen=True, eq=False)
class ClipFigures:
    """All figures of a clip.

    Attributes:
        name: The clip's.
        frames: Number of frames.
        belonging: Whether its sound belongs to its picture.
        lips: float64 [F, 40, 2] of the two results.
        likeness: Figures of the results, baselines and bounds, by name.
        phones: Those of the results and the regressor, by name; empty without alignments.
        silence: Share of frames with an open mouth, by sound; empty if not measured.
    """

    name: str
    frames: int
    belonging: Belonging
    lips: Mapping[str, np.ndarray]
    likeness: Mapping[str, Likeness]
    phones: Mapping[str, LipPhones] = field(default_factory=dict)
    silence: Mapping[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return all figures for JSON."""
        return {
            "frames": self.frames,
            "sync": vars(self.belonging),
            "likeness": {name: figures.as_dict() for name, figures in self.likeness.items()},
            "phones": {name: {"auc": found.auc, "recall": found.recall} for name, found in self.phones.items()},
            "open_without_speech": dict(self.silence),
        }


def belonging(clip: TruthClip) -> Belonging:
    """Check whether a clip's sound belongs to its picture."""
    return check_belonging(openings(clip.mean_lips + predicted(clip, fitted_regressor())), clip.openings, clip.fps)


def judge_clip(draw: DrawLips, clip: TruthClip, checked: Belonging) -> ClipFigures:
    """Lip-sync a clip twice to its own speech, and compare the results, baselines and bounds with the truth.

    Raises:
        LipSyncError: a job fails.
    """
    drawn = {OWN: own_speech(draw, clip), FAIR: speech_on_other_picture(draw, clip)}
    lips = {**drawn, **baselines(clip, fitted_regressor())}
    energetic = clip.energetic
    likeness = {name: compare_lips(made, clip.lips, energetic, clip.fps) for name, made in lips.items()}
    phones = read_phones(clip.path)
    found = {
        name: lip_phones(phones, openings(made), clip.openings, clip.fps)
        for name, made in {**lips, "truth": clip.lips}.items()
        if phones
    }
    return ClipFigures(clip.path.name, clip.frames, checked, drawn, likeness, found)
