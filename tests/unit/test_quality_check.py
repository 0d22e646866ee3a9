"""Which frames a check looks at, how it divides what it saw, and that it never harms the result."""

from __future__ import annotations

import tracemalloc
from collections.abc import Hashable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from client.errors import ServerUnavailable
from client.job_options import JobOptions
from client.lanes.lane import Lane
from client.lanes.stage import DrawnFrame
from client.lanes.times import LaneTimes
from client.media import Picture, TimelineFrame
from client.media.pixels import ColorTags
from client.option import OptionValues
from client.options import read_options
from client.quality import check, fixing
from client.quality.check import QualityCheck, SpokenVoice
from client.quality.guard import Guard
from client.quality.job import JobCheck, LipsOffError
from client.quality.judging import LAGS_S
from client.quality.options import QUICK_FRAMES, Check
from client.quality.report import Finding, QualityReport, SpeakerQuality
from client.report import Report
from client.scene.scene import TimeSpan
from client.tracking.faces import LARGEST, Face

FPS = 25.0
FACE = Face(np.array([10.0, 10, 50, 50], np.float32), 1.0)
PICTURE = Picture(av.VideoFrame(64, 64, "yuv420p"), ColorTags())


class FacelessTriton:
    """Finds no face."""

    server_count, transport = 1, "grpc"

    def infer(self, request: Any) -> dict[str, np.ndarray]:
        count = len(request.inputs["frames"])
        return {
            "boxes": np.zeros((count, 0, 4), np.float32),
            "scores": np.zeros((count, 0), np.float32),
            "landmarks": np.zeros((count, 0, 478, 3), np.float32),
        }

    def serves(self, model: str) -> bool:
        return model == "faces"


class BareTriton(FacelessTriton):
    """Serves no model that a check needs, and is not to be asked."""

    def serves(self, model: str) -> bool:
        return False

    def infer(self, request: Any) -> dict[str, np.ndarray]:
        raise AssertionError


class StraightCurves:
    """Suggests the same for every voice."""

    def __init__(self, voice: object) -> None:
        pass

    def openings(self, times_s: np.ndarray, lags_s: np.ndarray) -> np.ndarray:
        return np.sin(7 * (times_s[:, None] - lags_s))


class SeenRuns:
    """Notes the tracks by which SyncNet's figures are measured."""

    def __init__(self) -> None:
        self.tracks: list[Hashable] = []

    def see(self, speaker: int, frame: object, picture: object, face: object, track: Hashable) -> None:
        self.tracks.append(track)

    def figures(self, speaker: int) -> None:
        return None


def lane(speaker: int, *spans: tuple[float, float]) -> Lane:
    own = [TimeSpan(start_s, end_s) for start_s, end_s in spans]
    return Lane(speaker, LARGEST, (), LaneTimes(own) if own else LaneTimes())


def drawn(number: int, faces: Sequence[Face | None], tracks: Sequence[int] = ()) -> DrawnFrame:
    shown = TimelineFrame(PICTURE, number, 1, number, number / FPS, 1 / FPS)
    return DrawnFrame(shown, PICTURE, faces=tuple(faces), tracks=tuple(tracks) or (1,) * len(faces))


def opened(how: Check, lanes: Sequence[Lane], total: int, guard: Guard | None = None, sync: Any = None) -> QualityCheck:
    return QualityCheck(how, FacelessTriton(), lanes, total, FPS, 16, guard or Guard(), sync)  # type: ignore[arg-type]


def voices(*names: str) -> list[SpokenVoice]:
    return [SpokenVoice(name, None, np.ones_like) for name in names]  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def curves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "VoiceCurves", StraightCurves)


def fill(checked: QualityCheck, speaker: int, count: int) -> None:
    """Note a mouth that follows in as many frames."""
    for number in range(count):
        checked._mouths._note(speaker, number / FPS, float(np.sin(7 * number / FPS)))


def test_speakers_share_a_quick_check() -> None:
    """One who speaks for two seconds of a minute is looked at as closely as the other."""
    first, second = lane(0, (0, 58)), lane(1, (58, 60))
    chosen = opened("quick", [first, second], 1500)._chosen
    assert chosen is not None
    late = [number for number in chosen if number >= 58 * FPS]
    assert 35 <= len(late) <= QUICK_FRAMES
    assert 35 <= len(chosen) - len(late) <= QUICK_FRAMES
    assert opened("full", [first, second], 1500)._chosen is None


def test_a_quick_check_judges_its_own_span() -> None:
    """Its frames are enough for one, which is the whole."""
    checked = opened("quick", [lane(0)], 1500)
    fill(checked, 0, QUICK_FRAMES)
    found = checked.finish(voices("ann"))
    assert found.failure is None
    assert [(span.follows.verdict, span.frames) for span in found.spans] == [("good", QUICK_FRAMES)]


def test_a_full_check_divides_frames_evenly() -> None:
    """By their number: pauses make no part too short to be judged."""
    checked = opened("full", [lane(0)], 1500)
    fill(checked, 0, 520)
    checked._mouths._note(0, 3600.0, 0.1)
    found = checked.finish(voices("ann"))
    assert [span.frames for span in found.spans] == [261, 260]
    assert {span.follows.verdict for span in found.spans} == {"good"}


def test_page_is_tested_with_what_a_check_can_find() -> None:
    """As many parts, of as many frames, as a full check of such a video has."""
    page_states = pytest.importorskip("tests.page_states", reason="no playwright")
    report, quality = page_states.REPORT, page_states.QUALITY
    checked = QualityCheck("full", FacelessTriton(), [lane(0)], report["frames"], report["video_fps"], 16, Guard())  # type: ignore[arg-type]
    fill(checked, 0, report["frames"])
    assert [span.frames for span in checked.finish(voices("speaker")).spans] == [span.frames for span in quality.spans]


def test_speakers_who_are_never_seen_are_named() -> None:
    """With what is not known of them; narrators, who have no lane, are left out."""
    checked = opened("quick", [lane(0), lane(2)], 100)
    fill(checked, 0, 50)
    found = checked.finish(voices("ann", "narrator", "bob"))
    assert [(speaker.speaker, speaker.follows.verdict) for speaker in found.speakers] == [
        ("ann", "good"),
        ("bob", "unknown"),
    ]
    assert "bob: cannot tell whether the mouth follows the speech: the face is in none" in found.sentence()


def test_syncnet_is_told_of_cuts_and_people() -> None:
    """Another track is another run, and so is another person's lane of the same speaker."""
    seen, left = SeenRuns(), Lane(0, Face, ())  # type: ignore[arg-type]
    checked = opened("full", [lane(0, (0, 0.16)), left], 6, sync=seen)
    for number, track in enumerate((1, 1, 2, 2, 1, 1)):
        checked.see(drawn(number, (FACE, FACE), (track, track)))
    assert checked._guard.failure is None
    assert [seen.tracks[i] == seen.tracks[i + 1] for i in range(5)] == [True, False, True, False, True]
    assert len(set(seen.tracks)) == 3


def test_long_results_are_judged_in_little_memory() -> None:
    """What a voice suggests at all lags is held of a part at a time: 33 MB for these frames."""
    checked = opened("full", [lane(0)], 100_000)
    fill(checked, 0, 100_000)
    tracemalloc.start()
    try:
        found = checked.finish(voices("ann"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.failure is None
    assert found.speakers[0].follows.verdict == "good"
    assert peak < 0.5 * 100_000 * len(LAGS_S) * 8


class BrokenVoice:
    """Cannot be read."""

    @property
    def duration(self) -> float:
        raise ServerUnavailable("gone")


class DeafLanes:
    """Loses the server when asked for speech."""

    def activity_of(self, speaker: int) -> None:
        raise ServerUnavailable("gone")


def options_of(**chosen: object) -> OptionValues:
    return read_options(chosen)


@pytest.mark.parametrize("served", [True, False])
def test_a_check_that_cannot_begin_harms_nothing(served: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither SyncNet's opening nor the question when there is speech costs the result; the report says why."""
    monkeypatch.setattr("client.quality.job.towers_of", lambda _: object() if served else None)
    found = JobCheck(options_of(check="full"), 0.0)
    voice: Any = BrokenVoice()
    found.open(FacelessTriton(), [lane(0)], [voice], total=50, rate=FPS, most_at_once=16)  # type: ignore[arg-type]
    report: Any = SimpleNamespace(speakers=[SimpleNamespace(name="ann")], quality=None)
    found.finish(report, [voice], DeafLanes())  # type: ignore[arg-type]
    assert report.quality.failure == "gone"


def test_a_server_without_the_face_model_is_asked_for_nothing() -> None:
    found, report = JobCheck(options_of(), 0.0), SimpleNamespace(speakers=[], quality=None)
    found.open(BareTriton(), [lane(0)], [], total=50, rate=FPS, most_at_once=16)  # type: ignore[arg-type]
    found.see(drawn(0, [FACE]))
    found.finish(report, [], DeafLanes())  # type: ignore[arg-type]
    assert report.quality.failure == "faces: expected a model that is served, got none"  # type: ignore[attr-defined]


def test_nothing_is_said_of_a_job_without_a_check() -> None:
    found, report = JobCheck(options_of(check="off"), 0.0), SimpleNamespace(speakers=[], quality=None)
    found.open(FacelessTriton(), [lane(0)], [], total=50, rate=FPS, most_at_once=16)  # type: ignore[arg-type]
    found.finish(report, [], DeafLanes())  # type: ignore[arg-type]
    assert report.quality is None


def quality(follows: float | None, offset_s: float | None, seconds: float = 1.0, **changes: object) -> QualityReport:
    unknown = Finding("unknown", None, "cannot tell")
    speaker = SpeakerQuality("ann", 50, Finding("good", follows, ""), unknown, unknown)
    return QualityReport("full", 50, seconds, [speaker], audio_offset_s=offset_s, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("after", "warning"),
    [
        (quality(0.7, None), ""),
        (quality(0.2, None), "the check finds them no better: 0.20 in place of 0.40"),
        (quality(0.5, -0.3), "the check finds them no better"),
        (quality(None, None, failure="gone"), "whether that is better could not be checked: gone"),
    ],
)
def test_a_correction_is_judged(
    after: QualityReport, warning: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The report counts both runs, and warns of lips that are no better than before."""

    class Opened:
        def __init__(self, options: JobOptions, ahead_s: float = 0.0) -> None:
            self.ahead_s = ahead_s

        def __enter__(self) -> Opened:
            return self

        def __exit__(self, *exception: object) -> None:
            pass

    def run(job: Any) -> Report:
        if not job.ahead_s:
            found = LipsOffError(quality(0.4, 0.16))
            found.seconds = 3.0
            raise found
        report = Report("out.mp4", "id", "mouth-motion", "shm", 256, 256, 25.0, duration_s=2.0)
        report.seconds, report.quality = 5.0, after
        return report

    monkeypatch.setattr(fixing, "Job", Opened)
    options = JobOptions.read(tmp_path / "a.mp4", tmp_path / "a.wav", tmp_path / "b.mp4", {"fix_offset": True})
    report = fixing.run_corrected(options, run)
    assert (report.seconds, report.realtime_factor) == (8.0, 4.0)
    assert report.quality is not None
    assert report.quality.seconds == 2.0
    assert [warning in line for line in report.warnings] == [True] * bool(warning)


def test_the_first_failure_of_a_check_is_kept() -> None:
    """A defect is named by its class; what follows from it says less."""
    guard = Guard()
    with guard.step():
        raise ZeroDivisionError("one")
    with guard.step():
        raise ServerUnavailable("gone")
    assert guard.failure == "ZeroDivisionError: one"
    assert guard.seconds > 0
