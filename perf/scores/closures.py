"""How often lips close at the p, b and m of what they say, and of what they do not say: for `python -m perf check`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from client.quality.closures import SeenClosures, closed_below, judge_closures
from client.quality.judging import MouthSamples

PER_JOB = 12  # closures in a row that are judged together, like those of a short clip


@dataclass(frozen=True, eq=False)
class ClipClosures:
    """A mouth beside the closures of what it says.

    Attributes:
        times_s: float64 [F], the frames' centres.
        samples: the mouth in these frames, beside its own voice.
        closures: float64 [C, 2], in seconds of the clip.
    """

    times_s: np.ndarray
    samples: MouthSamples
    closures: np.ndarray

    def closed(self, closures: np.ndarray) -> list[bool]:
        """Return whether the lips close, for each of some closures that the clip shows."""
        limit = closed_below(self.samples)
        if np.isnan(limit):
            return []
        least = SeenClosures(closures, self.times_s, self.samples.openings, limit).least
        return [bool(one < limit) for one in least[np.isfinite(least)]]


def measure_closures(
    clips: Sequence[ClipClosures], moves_s: Sequence[float], others: Sequence[Sequence[int]]
) -> dict[str, object]:
    """Count closures with each clip's own phones, with its own moved by some time, and with those of other clips.

    Args:
        clips: the clips.
        moves_s: how much later phones are, in seconds.
        others: for each clip the positions of the clips whose phones it is judged with.
    """
    foreign = (clip.closed(clips[i].closures) for clip, chosen in zip(clips, others, strict=True) for i in chosen)
    return {
        "own": _figures(clip.closed(clip.closures) for clip in clips),
        **{f"{move_s:+.2f} s": _figures(clip.closed(clip.closures + move_s) for clip in clips) for move_s in moves_s},
        "foreign": _figures(foreign),
    }


def _figures(by_clip: Iterable[list[bool]]) -> dict[str, object]:
    found = list(chain.from_iterable(by_clip))
    jobs = [found[i : i + PER_JOB] for i in range(0, len(found) - PER_JOB + 1, PER_JOB)]
    return {
        "closures": len(found),
        "closed": round(float(np.mean(found)), 3) if found else None,
        f"verdicts of {PER_JOB} each": dict(Counter(judge_closures(sum(job), len(job)).verdict for job in jobs)),
    }
