"""How the check of results is measured: each clip with voices of others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from client.quality.judging import LAGS_S, MouthSamples
from perf.scores import check
from perf.scores.check import FOREIGN, main, measure, others_of
from perf.scores.closures import ClipClosures, measure_closures


@pytest.mark.parametrize("count", [2, 3, 5, 7, 14, 21, 28, 79])
def test_foreign_voices_are_those_of_different_other_clips(count: int) -> None:
    """Never the clip's own, whatever the number of clips."""
    for number in range(count):
        others = others_of(number, count)
        assert len(set(others)) == len(others) == min(FOREIGN, count - 1)
        assert number not in others
        assert all(0 <= other < count for other in others)


def test_a_single_clip_fails_before_a_server_starts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["one.mp4"]) == 2
    assert capsys.readouterr().err == (
        "perf check: clips: expected at least two, to judge each with the voices of others, got 1\n"
    )


class NotedVoice:
    """A voice, or one that is moved."""

    def ahead(self, seconds: float) -> NotedVoice:
        return NotedVoice()


class NotedClip:
    """Notes with which voices it is judged."""

    times_s = np.arange(60) / 25
    closures = np.zeros((0, 2))

    def __init__(self) -> None:
        self.voice = NotedVoice()
        self.asked: list[NotedVoice] = []

    def said(self, triton: object, voice: NotedVoice) -> MouthSamples:
        self.asked.append(voice)
        suggested = np.sin(9 * (self.times_s[:, None] - LAGS_S))
        return MouthSamples(np.sin(9 * self.times_s), suggested, np.ones(60, bool), np.zeros(60, bool))


def test_each_clip_is_judged_once_with_its_own_voice() -> None:
    clips = [NotedClip() for _ in range(7)]
    figures = measure(None, clips)  # type: ignore[arg-type]
    assert [clip.asked.count(clip.voice) for clip in clips] == [1] * 7
    assert [len(clip.asked) for clip in clips] == [1 + FOREIGN + len(check.MOVES_S)] * 7
    assert figures["verdicts own"] == {"good": 7}
    assert figures["closures"] is None


def test_closures_are_counted_with_phones_of_the_clip_and_of_others() -> None:
    """A mouth that is closed at its own closures alone."""
    times_s = np.arange(60) / 25

    def clip(start_s: float) -> ClipClosures:
        closures = start_s + 0.4 * np.arange(6)[:, None] + np.array([0.0, 0.1])
        inside = ((times_s[:, None] >= closures[:, 0]) & (times_s[:, None] <= closures[:, 1])).any(axis=1)
        openings = np.where(inside, 0.0, 0.2)
        return ClipClosures(times_s, MouthSamples(openings, openings[:, None], np.ones(60, bool), None), closures)

    found: Any = measure_closures([clip(0.04), clip(0.2)], [0.2], [[1], [0]])
    assert found["own"] == {"closures": 12, "closed": 1.0, "verdicts of 12 each": {"good": 1}}
    assert (found["+0.20 s"]["closed"], found["foreign"]["closed"]) == (0.0, 0.0)
