"""The check of results: what it says of mouths that follow, are late, frozen or restless, and of changed pictures."""

from __future__ import annotations

import itertools
from dataclasses import replace

import av
import numpy as np
import pytest

from client.media import Picture
from client.media.pixels import ColorTags, plane_array
from client.quality.judging import (
    LAGS_S,
    MouthSamples,
    joined,
    judge_edge,
    judge_flicker,
    judge_following,
    judge_offset,
    judge_silence,
)
from client.quality.options import QUICK_FRAMES
from client.quality.pictures import FlickerMeter, count_outside, edge_step
from client.quality.plan import frames_to_check
from client.quality.report import Finding, QualityReport, SpeakerQuality

FPS = 25
SIZE = 320, 240
REGION = (96, 96, 192, 192)


def speech(seed: int, times_s: np.ndarray) -> np.ndarray:
    """Return how far somebody opens the mouth, with a few syllables in a second."""
    grid = np.arange(-1, 60, 0.01)
    noise = np.random.default_rng(seed).standard_normal(len(grid))
    smooth = np.convolve(noise, np.hanning(25) / np.hanning(25).sum(), "same")
    return 0.1 + 0.1 * np.interp(times_s, grid, smooth)


def mouth(*, late_s: float = 0.0, seed: int = 1, count: int = 50, noise: float = 0.01) -> MouthSamples:
    """Return a mouth that says voice 1, or another one, at frames spread over ten seconds."""
    times_s = np.linspace(0.2, 10, count)
    openings = speech(seed, times_s - late_s) + noise * np.random.default_rng(9).standard_normal(count)
    suggested = speech(1, times_s[:, None] - LAGS_S)
    return MouthSamples(openings, suggested, np.ones(count, bool), np.zeros(count, bool))


def test_mouth_that_follows_is_told_from_one_that_says_something_else() -> None:
    assert judge_following(mouth()).verdict == "good"
    assert judge_following(mouth(seed=5)).verdict == "bad"
    assert judge_following(mouth(late_s=0.3)).verdict == "bad"


@pytest.mark.parametrize("late_s", [-0.24, -0.12, 0.1, 0.2])
def test_offset_is_found_within_a_frame(late_s: float) -> None:
    found = judge_offset(mouth(late_s=late_s))
    assert found.verdict == "bad"
    assert found.value == pytest.approx(late_s, abs=1 / FPS)
    assert ("later" if late_s > 0 else "earlier") in found.text


def test_mouth_in_time_has_no_offset() -> None:
    assert judge_offset(mouth()).verdict == "good"
    assert judge_offset(mouth(seed=5)).verdict == "unknown"


def test_frozen_mouth_is_told() -> None:
    still = mouth()
    still.openings[:] = 0.1 + 0.002 * np.random.default_rng(3).standard_normal(len(still.openings))
    found = judge_following(still)
    assert (found.verdict, found.text) == ("bad", "the mouth does not move with the speech")


def test_weak_evidence_is_no_number() -> None:
    """Too few frames with speech, or a mouth that is not seen in them."""
    for samples in (mouth(count=15), mouth()):
        if len(samples.openings) > 20:
            samples.openings[:40] = np.nan
        found = judge_following(samples)
        assert (found.verdict, found.value) == ("unknown", None)
        assert "cannot tell" in found.text
        assert judge_offset(samples).verdict == "unknown"


@pytest.mark.parametrize(("motion", "verdict"), [(0.001, "good"), (0.1, "bad")])
def test_motion_in_silence_is_told(motion: float, verdict: str) -> None:
    samples = mouth()
    samples.silent[:12], samples.voiced[:12] = True, False
    samples.openings[:12] = 0.02 + motion * np.array([0, 1] * 6)
    assert judge_silence(samples).verdict == verdict


def test_silence_that_is_too_short_is_not_judged() -> None:
    found = judge_silence(mouth())
    assert (found.verdict, found.text[-25:]) == ("unknown", "there is too little of it")


def test_silence_of_which_nothing_is_known_is_not_called_short() -> None:
    """Nor are frames called frames with speech where nobody asked when there is any."""
    samples = replace(mouth(), silent=None)
    found = judge_silence(samples)
    assert (found.verdict, "the job does not find out" in found.text) == ("unknown", True)
    few = replace(mouth(count=1), silent=None)
    assert judge_following(few).text.endswith("1 frame is too few")
    assert judge_following(mouth(count=15)).text.endswith("15 frames with speech are too few")
    assert joined([samples, samples]).silent is None


def test_findings_are_phrases_of_their_own() -> None:
    """They stand in a list without a heading."""
    assert judge_edge(1.0).text == "no visible edge around the changed region"
    assert judge_edge(None).text == "cannot tell whether the changed region has a visible edge"
    assert judge_flicker(9.0).text == "the changed region flickers"
    assert judge_offset(mouth()).text == "lips and speech are in time"


def test_quick_check_looks_at_few_frames() -> None:
    """At most 50 of long videos, spread to the end, with some adjacent ones; all of short ones."""
    for total in (51, 250, 90_000):
        chosen = sorted(frames_to_check("quick", total) or ())
        assert 35 <= len(chosen) <= QUICK_FRAMES
        assert chosen[0] < 0.05 * total
        assert 0.9 * total < chosen[-1] < total
        assert sum(b - a == 1 for a, b in itertools.pairwise(chosen)) >= 12
    assert list(frames_to_check("quick", 50)) == list(range(50))
    assert list(frames_to_check("full", 90_000)) == list(range(90_000))
    assert not frames_to_check("off", 100)


def picture(luma: np.ndarray) -> Picture:
    frame = av.VideoFrame(luma.shape[1], luma.shape[0], "yuv420p")
    found = Picture(frame, ColorTags())
    for plane in range(3):
        plane_array(frame, plane, found.native)[:] = 128
    plane_array(frame, 0, found.native)[:] = luma
    return found


def scene(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(90, 110, SIZE[::-1], np.uint8)


def changed(luma: np.ndarray, by: float, *, fades: bool) -> np.ndarray:
    """Change a disc or, without a fade, a square."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    far = np.hypot(x - 144, y - 144)
    share = np.clip((40 - far) / 20, 0, 1) if fades else (np.maximum(abs(x - 144), abs(y - 144)) < 36)
    return np.clip(luma + by * share, 0, 255).astype(np.uint8)


def test_samples_outside_the_region_are_counted() -> None:
    before = scene()
    after = changed(before, 40, fades=True)
    assert count_outside(picture(before), picture(after), [REGION]) == 0
    after[5, 7] ^= 1
    after[200, 300] ^= 1
    assert count_outside(picture(before), picture(after), [REGION]) == 2
    assert count_outside(picture(before), picture(after), []) > 1000


def test_hard_edge_is_told_from_a_faded_one() -> None:
    before = scene()
    faded = edge_step(picture(before), picture(changed(before, 40, fades=True)))
    hard = edge_step(picture(before), picture(changed(before, 40, fades=False)))
    assert judge_edge(faded).verdict == "good"
    assert judge_edge(hard).verdict == "bad"
    assert edge_step(picture(before), picture(before)) is None
    assert judge_edge(None).verdict == "unknown"


def flicker(swing: float, move: float = 0.0) -> float | None:
    meter = FlickerMeter()
    for number in range(9):
        before = scene(number)
        after = changed(before, 20 + swing * (-1) ** number + move * number, fades=True)
        meter.see(number, picture(before), picture(after))
    return meter.extra


def test_added_flicker_is_told_from_motion() -> None:
    """A region that alternates by a few levels flickers; one that grows steadily brighter does not."""
    assert judge_flicker(flicker(0)).verdict == "good"
    assert judge_flicker(flicker(0, move=4)).verdict == "good"
    assert judge_flicker(flicker(6)).verdict == "bad"
    assert judge_flicker(None).verdict == "unknown"


def test_flicker_needs_adjacent_frames() -> None:
    meter = FlickerMeter()
    for number in (0, 2, 4, 5, 8):
        meter.see(number, picture(scene(number)), picture(changed(scene(number), 30, fades=True)))
    assert meter.extra is None


def test_summary_is_one_line() -> None:
    good, unknown = Finding("good", 0.71, "the mouth follows the speech"), Finding("unknown", None, "cannot tell")
    speaker = SpeakerQuality("speaker", 50, good, Finding("good", 0.1, "the mouth is still in silence"), unknown)
    found = QualityReport("quick", 50, 1.25, [speaker], flicker=Finding("good", 0.1, "no added flicker"))
    line = found.sentence()
    assert line.startswith(
        "quality: the mouth follows the speech (0.71); the mouth is still in silence; no added flicker (0.10)"
    )
    assert "; nothing outside the face was changed (quick check of 50 frames, 1.2 s)" in line
    one = QualityReport("full", 1, outside_samples=1).sentence()
    assert "; 1 sample outside the face was changed (full check of 1 frame, 0.0 s)" in one
    assert "\n" not in line
    assert QualityReport("quick", failure="no server").sentence() == "quality: not checked: no server"
