"""Who speaks when, decided from the evidence for each person: one person or nobody, without flicker.

Knows nothing of lips, sounds or files.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NOBODY = 0  # people count from 1
SWITCH = 12.0  # evidence, summed over frames at 25 per second, that a change of the speaker must gain
FALL_SILENT = 24.0  # that a change to nobody, or from nobody, must gain: a person who speaks seldom only seems to
AWAY = -1e6  # evidence for somebody who is out of view

People = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class PersonEvidence:
    """The evidence that one person speaks, in the frames that show the person.

    Attributes:
        frames: int32 [N], the frames, rising.
        odds: float64 [N], logarithm of the odds; positive speaks for the person.
    """

    frames: NDArray[np.int32]
    odds: NDArray[np.float64]

    def within(self, first: int, end: int) -> NDArray[np.float64]:
        """Return the evidence in adjacent frames, float64 [end - first]; AWAY in those without the person."""
        start, stop = np.searchsorted(self.frames, (first, end))
        odds = np.full(end - first, AWAY)
        odds[self.frames[start:stop] - first] = self.odds[start:stop]
        return odds


Evidence = Mapping[int, PersonEvidence]  # by person


def decide(evidence: Evidence, voiced: NDArray[np.bool_], shots: NDArray[np.int32], fps: float) -> People:
    """Return who speaks in each frame with a voice: the person with the most evidence, or nobody if none has any.

    A change of the speaker within a shot costs SWITCH, one to or from nobody FALL_SILENT; at a cut it is free. Shots
    are decided one by one.

    Args:
        evidence: for each person who is in view at some time.
        voiced: bool [F], frames in which the sound is speech.
        shots: int32 [F], numbers of the shots, rising.
        fps: frames per second.

    Returns:
        int32 [F]; NOBODY in frames without a voice, too.
    """
    speakers = np.full(len(voiced), NOBODY, np.int32)
    for first, end in _shots(shots):
        people, odds = _in_shot(evidence, first, end)
        if len(people) > 1 and voiced[first:end].any():
            gains = np.where((odds == AWAY) | voiced[first:end, None], odds, 0.0)
            speakers[first:end] = people[_best_path(gains, SWITCH * fps / 25, FALL_SILENT * fps / 25)]
    speakers[~voiced] = NOBODY
    return speakers


def hold(speakers: People, voiced: NDArray[np.bool_], in_view: Mapping[int, NDArray[np.bool_]]) -> People:
    """Give frames without a voice to somebody too, so that a new voice has a face where the video is silent.

    This is the rule of holding: such a frame belongs to the last or the next speaker, whichever is nearer in time, or
    to the other one if only that one is in view; if neither is, to nobody. Frames with a voice stay as they are: where
    somebody out of view is heard, nobody in view speaks.

    Args:
        speakers: int32 [F], as `decide` returns them.
        voiced: bool [F].
        in_view: person -> bool [F].
    """
    held = speakers.copy()
    known = np.flatnonzero(speakers != NOBODY)
    silent = np.flatnonzero(~voiced)
    if not len(known) or not len(silent):
        return held
    after = np.searchsorted(known, silent)
    last, following = known[np.maximum(after - 1, 0)], known[np.minimum(after, len(known) - 1)]
    for frame, before, behind in zip(silent.tolist(), last.tolist(), following.tolist(), strict=True):
        nearest_first = sorted((before, behind), key=lambda place: abs(place - frame))
        people = [int(speakers[place]) for place in nearest_first]
        held[frame] = next((person for person in people if in_view[person][frame]), NOBODY)
    return held


def confidences(evidence: Evidence, speakers: People, shots: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return how sure each frame's speaker is, float64 [F], 0 to 1, by the evidence at that frame alone."""
    sure = np.zeros(len(speakers))
    for first, end in _shots(shots):
        people, odds = _in_shot(evidence, first, end)
        likelihoods = np.exp(odds - odds.max(axis=1, keepdims=True))
        chosen = people == speakers[first:end, None]
        sure[first:end] = (likelihoods * chosen).sum(axis=1) / likelihoods.sum(axis=1)
    return sure


def _shots(shots: NDArray[np.int32]) -> Iterator[tuple[int, int]]:
    """Yield the first frame of each shot, and the one behind its last."""
    return itertools.pairwise([0, *(np.flatnonzero(np.diff(shots)) + 1).tolist(), len(shots)])


def _in_shot(evidence: Evidence, first: int, end: int) -> tuple[People, NDArray[np.float64]]:
    """Return nobody and those who are in view in a shot, int32 [P], and their evidence, float64 [end - first, P]."""
    within = {number: evidence[number].within(first, end) for number in sorted(evidence)}
    there = {number: odds for number, odds in within.items() if (odds > AWAY).any()}
    return np.array([NOBODY, *there], np.int32), np.stack([np.zeros(end - first), *there.values()], axis=1)


def _best_path(gains: NDArray[np.float64], switch: float, fall_silent: float) -> NDArray[np.intp]:
    """Return the states that gain most, int [F], if changes cost `switch`, or `fall_silent` to or from the first."""
    count = gains.shape[1]
    cost = np.full((count, count), switch)
    cost[0], cost[:, 0] = fall_silent, fall_silent
    np.fill_diagonal(cost, 0)
    best, came = gains[0].copy(), np.zeros((len(gains), count), np.intp)
    for frame in range(1, len(gains)):
        totals = best[:, None] - cost
        came[frame] = totals.argmax(axis=0)
        best = totals[came[frame], np.arange(count)] + gains[frame]
    path = np.zeros(len(gains), np.intp)
    path[-1] = best.argmax()
    for frame in range(len(gains) - 1, 0, -1):
        path[frame - 1] = came[frame, path[frame]]
    return path
