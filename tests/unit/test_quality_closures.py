"""Closures of the lips: which phones make one, which frames show it, and whether a mouth closes there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from client.errors import UsageError
from client.job_options import JobOptions
from client.option import OptionValues
from client.options import read_options
from client.quality import check
from client.quality.alignment import Phone
from client.quality.check import QualityCheck, SpokenVoice
from client.quality.closures import (
    CLOSED_SHARE,
    LEAST_CLOSURES,
    SeenClosures,
    closed_below,
    closes_lips,
    closures_of,
    frames_at_closures,
)
from client.quality.guard import Guard
from client.quality.job import JobCheck
from client.quality.judging import MouthSamples
from client.quality.options import ALIGNMENT, CLOSURE_FRAMES, QUICK_FRAMES
from client.quality.plan import RUNS
from client.quality.report import QualityReport, SpeakerQuality
from client.scene.scene import Scene, Speaker, Voice
from client.sound.voices import VoicePlan
from client.tracking.faces import LARGEST
from client.web.report_view import QualityView
from tests.unit.test_quality_check import FPS, FacelessTriton, StraightCurves, lane

OPEN, SHUT = 0.2, 0.01


def phones(*names: str, each_s: float = 0.1) -> list[Phone]:
    return [Phone(name, round(i * each_s, 3), round((i + 1) * each_s, 3)) for i, name in enumerate(names)]


@pytest.mark.parametrize("name", ["P", "b", "M", "M0", "B_I", "m_E", "pʰ", "bʲ", "m̩", "p\u02d0", "mʷ", "p\u02bc", "b̥"])
def test_phones_that_close_the_lips(name: str) -> None:
    """In ARPABET and IPA, as aligners write them."""
    assert closes_lips(name)


@pytest.mark.parametrize("name", ["", "sil", "AH0", "F", "V", "ɱ", "n", "w", "pf", "EM", "spn", "S_B", "ʰ"])
def test_phones_that_do_not_close_the_lips(name: str) -> None:
    assert not closes_lips(name)


def test_adjacent_phones_are_one_closure() -> None:
    """Those beside a pause are none: lips may rest closed there."""
    said = phones("sil", "B", "AH1", "M", "B", "ER0", "P", "sil", "M", "IH", "P")
    assert closures_of(said).tolist() == [[0.3, 0.5]]
    assert closures_of([]).shape == (0, 2)


def test_gaps_are_pauses() -> None:
    """Formats without silences leave them out."""
    said = [
        Phone("AH", 0.0, 0.2),
        Phone("M", 0.21, 0.3),
        Phone("AH", 0.3, 0.4),
        Phone("P", 0.6, 0.7),
        Phone("AH", 0.7, 1),
    ]
    assert closures_of(said).tolist() == [[0.21, 0.3]]


def spoken(openings: np.ndarray) -> MouthSamples:
    count = len(openings)
    return MouthSamples(openings, np.zeros((count, 1)), np.ones(count, bool), None)


def every(period_s: float, count: int, length_s: float = 0.1) -> np.ndarray:
    """Return closures in the middle of periods."""
    starts = (np.arange(count) + 0.5) * period_s
    return np.stack([starts, starts + length_s], axis=1)


def mouth(times_s: np.ndarray, closures: np.ndarray, late_s: float = 0.0) -> np.ndarray:
    """Return the openings of a mouth that is closed at closures, or later, and open else."""
    moved = times_s[:, None] - late_s
    inside = (moved >= closures[:, 0]) & (moved <= closures[:, 1])
    return np.where(inside.any(axis=1), SHUT, OPEN)


TIMES_S = (np.arange(250) + 0.5) / FPS
CLOSURES = every(0.4, 24)


def seen(openings: np.ndarray, closures: np.ndarray = CLOSURES, times_s: np.ndarray = TIMES_S) -> SeenClosures:
    return SeenClosures(closures, times_s, openings, closed_below(spoken(openings)))


def test_mouth_that_closes_is_told_from_one_that_closes_later() -> None:
    good = seen(mouth(TIMES_S, CLOSURES)).judged()
    assert (good.verdict, good.value, good.text) == ("good", 1.0, "the lips close in 24 of 24 closures")
    late = seen(mouth(TIMES_S, CLOSURES, late_s=0.2)).judged()
    assert (late.verdict, late.value, late.text) == ("bad", 0.0, "the lips close in only 0 of 24 closures")
    some = mouth(TIMES_S, CLOSURES[:17])
    assert seen(some).judged().text == "the lips close in 17 of 24 closures"
    assert seen(some).judged().verdict == "doubtful"
    assert seen(some).judged(0, 4).verdict == "good"


def test_closed_means_nearly_shut() -> None:
    """A mouth that only opens less at closures does not close."""
    openings = mouth(TIMES_S, CLOSURES)
    assert seen(np.maximum(openings, 0.9 * CLOSED_SHARE * OPEN)).judged().value == 1
    assert seen(np.maximum(openings, 1.1 * CLOSED_SHARE * OPEN)).judged().value == 0


def test_verdicts_do_not_depend_on_how_often_the_mouth_is_open() -> None:
    """A quick check looks at few frames besides closures, in which the mouth may be hardly open."""
    times_s = TIMES_S[mouth(TIMES_S, CLOSURES) == SHUT]
    openings = np.full(len(times_s), 0.015)
    openings[::7] = 0.05
    openings[::40] = 0.2
    found = SeenClosures(CLOSURES, times_s, openings, closed_below(spoken(openings))).judged()
    assert found.verdict == "good"


def test_frames_may_come_in_any_order() -> None:
    order = np.random.default_rng(0).permutation(len(TIMES_S))
    found = SeenClosures(CLOSURES, TIMES_S[order], mouth(TIMES_S, CLOSURES)[order], 0.03)
    assert found.judged().value == 1


def test_closures_count_only_where_the_mouth_is_seen_throughout() -> None:
    openings = mouth(TIMES_S, CLOSURES)
    hidden = np.where(TIMES_S < 5, np.nan, openings)
    assert seen(hidden).judged().text == "the lips close in 12 of 12 closures"
    sparse = TIMES_S[::5]
    assert seen(mouth(sparse, CLOSURES), times_s=sparse).judged().verdict == "unknown"


def test_too_few_closures_are_not_judged() -> None:
    few = every(1.0, LEAST_CLOSURES - 1)
    found = seen(mouth(TIMES_S, few), few).judged()
    assert (found.verdict, found.value) == ("unknown", None)
    assert found.text.endswith(f"{LEAST_CLOSURES - 1} closures that are seen are too few")
    assert seen(mouth(TIMES_S, few), few[:1]).judged().text.endswith("1 closure that is seen is too few")
    assert seen(mouth(TIMES_S, CLOSURES), np.zeros((0, 2))).judged().verdict == "unknown"


def test_a_mouth_that_rests_is_not_praised() -> None:
    """It is closed at all closures, and at all else."""
    found = seen(np.full(250, SHUT)).judged()
    assert (found.verdict, found.text[-22:]) == ("unknown", "the mouth hardly moves")


@pytest.mark.parametrize("rate", [24.0, 25.0, 29.97, 50.0, 60.0])
def test_quick_checks_see_whole_closures(rate: float) -> None:
    """At any rate, with few frames, spread over the result."""
    shown = np.ones(int(60 * rate), bool)
    closures = every(0.5, 119)
    runs = frames_at_closures(closures, shown, rate)
    numbers = np.array([number for run in runs for number in run])
    assert len(numbers) <= CLOSURE_FRAMES
    times_s = (numbers + 0.5) / rate
    found = SeenClosures(closures, times_s, mouth(times_s, closures), 0.03)
    assert np.isfinite(found.least).sum() == len(runs) >= LEAST_CLOSURES
    assert times_s.min() < 15
    assert times_s.max() > 45


def test_quick_checks_choose_closures_that_are_shown() -> None:
    shown = TIMES_S > 6
    runs = frames_at_closures(CLOSURES, shown, FPS)
    assert len(runs) >= LEAST_CLOSURES
    assert all(shown[number] for run in runs for number in run)
    assert frames_at_closures(CLOSURES + 100, shown, FPS) == []
    assert frames_at_closures(CLOSURES[:0], shown, FPS) == []


def checked(how: Any, closures: Sequence[np.ndarray] | None, frames: int = 1500) -> QualityCheck:
    return QualityCheck(how, FacelessTriton(), [lane(0)], frames, FPS, 16, Guard(), None, closures)  # type: ignore[arg-type]


def test_quick_checks_still_see_flicker() -> None:
    """Closures of two frames are no run of adjacent ones; others are looked at besides."""
    chosen = sorted(checked("quick", [every(0.5, 119, 0.08)])._chosen or ())
    runs = sum(b - a == 1 and c - b == 1 for a, b, c in zip(chosen, chosen[1:], chosen[2:], strict=False))
    assert runs >= RUNS


@pytest.mark.parametrize("how", ["quick", "full"])
def test_checks_report_closures(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the speaker and of each part; a quick check looks at no more frames for them."""
    monkeypatch.setattr(check, "VoiceCurves", StraightCurves)
    closures = every(0.5, 119)
    found = checked(how, [closures])
    numbers = sorted(range(1500) if found._chosen is None else found._chosen)
    assert how == "full" or 40 <= len(numbers) <= QUICK_FRAMES
    times_s = (np.array(numbers) + 0.5) / FPS
    for time_s, opening in zip(times_s, mouth(times_s, closures), strict=True):
        found._mouths._note(0, float(time_s), float(opening))
    report = found.finish([SpokenVoice("ann", None, np.ones_like)])  # type: ignore[arg-type]
    assert report.failure is None
    (speaker,) = report.speakers
    assert speaker.closures is not None
    assert speaker.closures.verdict == "good"
    assert "; the lips close in " in report.sentence()
    assert all(span.closures is not None and span.closures.verdict == "good" for span in report.spans)
    assert len(report.spans) == (6 if how == "full" else 1)


def test_without_an_alignment_the_same_frames_are_chosen_as_before() -> None:
    """And nothing is said of closures."""
    assert checked("quick", None)._chosen != checked("quick", [every(0.5, 119)])._chosen
    assert checked("quick", None)._chosen == checked("quick", [np.zeros((0, 2))])._chosen
    assert checked("quick", [every(0.5, 3)], 50)._chosen == set(range(50))
    unknown = check.NOT_SEEN
    report = QualityReport("quick", speakers=[SpeakerQuality("ann", 0, unknown, unknown, unknown)])
    assert "closures" not in report.sentence()
    assert QualityView.model_validate(report, from_attributes=True).speakers[0].closures is None


def test_recordings_are_placed_in_the_result() -> None:
    """Behind a delay, from a later start, at another speed; what is left out is heard at no time."""
    times_s = np.array([0.5, 2.0, 9.0])
    assert VoicePlan(Path("a"), delay_s=1.0).heard_at(times_s).tolist() == [1.5, 3.0, 10.0]
    part = VoicePlan(Path("a"), start_s=1.0, end_s=5.0, delay_s=0.5, speed=2.0).heard_at(times_s)
    assert np.isnan(part[[0, 2]]).all()
    assert part[1] == 1.0


def values_with(folder: Path, text: str, **chosen: object) -> OptionValues:
    (folder / "a.txt").write_text(text)
    return read_options({"alignment": str(folder / "a.txt"), **chosen})


SAID = "0 0.3 AH\n0.3 0.4 M\n0.4 0.9 AH\n0.9 1.0 P\n1.0 1.3 AH\n"


def heard(values: OptionValues, *plans: VoicePlan, duration_s: float = 3.0) -> JobCheck:
    found = JobCheck(values, 0.0)
    found.hear(plans, [SimpleNamespace(duration=duration_s)] * len(plans))  # type: ignore[list-item]
    return found


def test_a_job_places_closures_for_each_speaker(tmp_path: Path) -> None:
    """What a voice leaves out has none."""
    values = values_with(tmp_path, SAID)
    found = heard(values, VoicePlan(Path("v"), delay_s=1.0), VoicePlan(Path("v"), start_s=0.5))
    assert found._closures is not None
    assert [np.round(spans, 3).tolist() for spans in found._closures] == [[[1.3, 1.4], [1.9, 2.0]], [[0.4, 0.5]]]
    assert heard(read_options({}), VoicePlan(Path("v")))._closures is None


def test_an_alignment_of_another_speech_fails(tmp_path: Path) -> None:
    """As one does whose times are no seconds."""
    with pytest.raises(UsageError, match=r"alignment: expected phones of v, which is heard until 0.20 s, got one that"):
        heard(values_with(tmp_path, SAID), VoicePlan(Path("v")), duration_s=0.2)
    with pytest.raises(UsageError, match="a.txt, line 1: expected a TextGrid"):
        JobCheck(values_with(tmp_path, "no times\n"), 0.0)


def test_an_alignment_without_a_check_fails(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="alignment: expected check quick or full beside it, got off"):
        values_with(tmp_path, SAID, check="off")
    assert values_with(tmp_path, SAID, check="off", fix_offset=True)


def test_an_alignment_of_several_recordings_fails(tmp_path: Path) -> None:
    """One recording may have several speakers."""
    values = values_with(tmp_path, SAID)
    names = ("ann", "bob")

    def job(*files: str) -> JobOptions:
        speakers = tuple(Speaker(name, Voice(Path(file)), LARGEST) for name, file in zip(names, files, strict=True))
        return JobOptions(Path("v.mp4"), None, Path("o.mp4"), values, script=Scene(speakers))

    with pytest.raises(UsageError, match="alignment: expected speakers of one recording, got 2 recordings or channels"):
        job("a.wav", "b.wav")
    assert job("a.wav", "a.wav").values.chosen


def test_the_api_takes_no_path_of_an_alignment() -> None:
    """It would read files of the service."""
    for front_end in ("api", "page"):
        with pytest.raises(UsageError, match="alignment: expected an option of a job, got no such option"):
            read_options({"alignment": "/etc/passwd"}, front_end)
    values = read_options({"alignment": "phones.ctm"}, "batch")
    assert values[ALIGNMENT] == Path("phones.ctm").absolute()
