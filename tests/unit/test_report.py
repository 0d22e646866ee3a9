from __future__ import annotations

from client.errors import ref
from client.option import flag
from client.report import Report
from lipsync_core.reasons import Reason


def report() -> Report:
    found = Report("out.mp4", "job", "mouth-motion", "shm", 64, 64, 25.0)
    reasons = [Reason.NO_FACE] * 2 + [Reason.CHANGED] * 3 + [Reason.COVERED] * 4 + [Reason.NO_FACE]
    for index, reason in enumerate(reasons):
        found.count_frame(index / 25, (index + 1) / 25, reason)
    return found


def test_unchanged_frames_are_listed_by_reason() -> None:
    """Only what was changed counts as lip-synced; the older keys keep their meaning."""
    found = report().as_dict()
    assert (found["frames"], found["frames_synced"], found["frames_without_face"]) == (10, 3, 7)
    assert found["spans_without_face"] == [[0.0, 0.08], [0.2, 0.4]]
    assert found["unchanged"] == {
        "no_face": {"reason": "no usable face", "frames": 3, "spans": [[0.0, 0.08], [0.36, 0.4]]},
        "covered": {"reason": "mouth covered", "frames": 4, "spans": [[0.2, 0.36]]},
    }


def test_the_summary_has_a_line_per_reason() -> None:
    """The most frequent one first."""
    assert report().summary().splitlines()[1:] == [
        "4 frames unchanged, mouth covered: 0.20-0.36 s",
        "3 frames unchanged, no usable face: 0.00-0.08 s, 0.36-0.40 s",
    ]
    assert report().reasons() == "4 mouth covered, 3 no usable face"


def test_each_front_end_spells_options_in_warnings() -> None:
    """Flags on the command line, names in batches and Python."""
    found = report()
    found.warnings.append(f"set {ref('in_silence')} to model")
    assert found.summary(flag).endswith("warning: set --in-silence to model")
    assert found.as_dict(flag)["warnings"] == ["set --in-silence to model"]
    assert found.as_dict()["warnings"] == ["set in_silence to model"]


def test_what_told_who_speaks_is_named() -> None:
    """A line of the summary, and a field; neither where nobody asked."""
    found = report()
    assert "who speaks" not in found.summary()
    found.speaking = "syncnet"
    assert "who speaks was found by SyncNet" in found.summary().splitlines()
    assert found.as_dict()["speaking"] == "syncnet"


def test_a_single_frame_is_one_frame() -> None:
    found = Report("out.mp4", "job", "mouth-motion", "shm", 64, 64, 25.0)
    found.count_frame(0.0, 0.04, Reason.COVERED)
    assert "out.mp4: 1 frame, " in found.summary()
    assert "1 frame unchanged, mouth covered" in found.summary()
