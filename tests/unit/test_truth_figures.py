from __future__ import annotations

import numpy as np
import pytest

from export.mouth_shapes.phones import Phone
from lipsync_core.mouth.lips import LIPS, frontal_template
from perf.truth.belonging import check_belonging
from perf.truth.closures import Closures, count_closures
from perf.truth.curves import Run, best_lag, correlation, runs
from perf.truth.likeness import Likeness, compare_lips, summary_line
from perf.truth.phones import LipPhones, lip_phones
from tests.unit.mouth_samples import LANDMARKS

FPS = 25.0
FRAMES = 250
LOWER_LIPS = [LIPS.index(point) for point in (14, 87, 317)]


def babble(seed: int = 0) -> np.ndarray:
    """Openings like those of speech: smooth, irregular, at least 0."""
    rough = np.random.default_rng(seed).standard_normal(FRAMES + 8)
    return np.maximum(np.convolve(rough, np.hanning(9), "valid") * 0.05 + 0.08, 0)


def lips_of(openings: np.ndarray) -> np.ndarray:
    lips = np.repeat(frontal_template(LANDMARKS[None])[None, list(LIPS), :2], len(openings), axis=0)
    upper = [LIPS.index(point) for point in (13, 82, 312)]
    lips[:, LOWER_LIPS, 1] = lips[:, upper, 1] + openings[:, None]
    return lips


def compare(result: np.ndarray, truth: np.ndarray) -> Likeness:
    return compare_lips(lips_of(result), lips_of(truth), np.ones(len(truth), bool), FPS)


def test_the_truth_is_like_itself() -> None:
    """Every figure is perfect."""
    figures = compare(babble(), babble())
    assert (figures.r0, figures.best_r, figures.lag_ms, figures.lmd) == (pytest.approx(1), pytest.approx(1), 0, 0)
    assert figures.closures.found_share == 1
    assert figures.closures.false_share == 0
    for ratio in (figures.median, figures.range, figures.velocity, figures.jerk):
        assert ratio == pytest.approx(1)


@pytest.mark.parametrize("late", [-3, 2])
def test_a_late_result_shows_its_lag(late: int) -> None:
    """Frames become milliseconds; positive is late."""
    figures = compare(np.roll(babble(), late), babble())
    assert figures.lag_ms == 40 * late
    assert figures.best_r > figures.r0


def test_half_the_motion_has_half_the_range() -> None:
    """Correlation doesn't see it; range, velocity and jerk do."""
    figures = compare(babble() / 2, babble())
    assert figures.r0 == pytest.approx(1)
    assert (figures.range, figures.velocity, figures.jerk) == (pytest.approx(0.5),) * 3


def test_lmd_is_in_percent_of_the_eyes_distance() -> None:
    """All points off by a hundredth: 1 %."""
    truth = lips_of(babble())
    figures = compare_lips(truth + np.array([0.01, 0]), truth, np.ones(FRAMES, bool), FPS)
    assert figures.lmd == pytest.approx(1)


def test_frames_without_a_face_are_left_out() -> None:
    """The others are compared all the same."""
    result = babble()
    result[50:60] = np.nan
    figures = compare(result, babble())
    assert figures.r0 == pytest.approx(1)
    assert figures.lmd == pytest.approx(0)


def test_a_mouth_that_never_moves_correlates_with_nothing() -> None:
    """Its r is 0, not undefined."""
    figures = compare(np.full(FRAMES, 0.1), babble())
    assert (figures.r0, figures.best_r, figures.lag_ms) == (0, 0, 0)


def closing_at(*frames: int) -> np.ndarray:
    curve = np.full(100, 0.2)
    for frame in frames:
        curve[frame : frame + 3] = 0
    return curve


def test_closures_are_found_near_the_true_ones() -> None:
    """Two frames away is found, four are not; what falls on an open mouth is false."""
    counted = count_closures(closing_at(20, 44, 80), closing_at(22, 40, 60), np.ones(100, bool), FPS)
    assert counted == Closures(true=3, found=2, made=3, false=1)


def test_pauses_and_quiet_frames_have_no_closures() -> None:
    """Half a second of closed lips is a pause, and lips may rest where nothing is heard."""
    truth = closing_at(20, 60)
    truth[30:45] = 0
    energetic = np.arange(100) < 50
    assert count_closures(truth, truth, energetic, FPS).true == 1


def test_runs_are_listed_with_their_ends() -> None:
    """Those at the ends of the clip, too."""
    assert runs(np.array([1, 1, 0, 0, 1, 0, 1], bool)) == [Run(0, 1), Run(4, 4), Run(6, 6)]


def test_correlation_needs_enough_frames() -> None:
    """A few frames agree by chance."""
    assert correlation(np.arange(5.0), np.arange(5.0)) == 0
    assert best_lag(np.arange(5.0), np.arange(5.0), 10) == (0, 0)


def test_sound_of_another_clip_does_not_belong() -> None:
    """The own one does, at its lag."""
    noise = 0.5 * np.random.default_rng(1).standard_normal(FRAMES) * babble().std()
    own = check_belonging(np.roll(babble(), -2) + noise, babble(), FPS)
    assert own.is_certain
    assert own.lag_ms == 80
    assert not check_belonging(babble(5), babble(), FPS).is_certain


def test_phones_that_close_the_lips_are_told_from_open_ones() -> None:
    """A perfect result has an AUC of 1, one that does the opposite 0."""
    truth = closing_at(20, 40, 60)
    phones = [Phone("SIL", 0, 0.4), Phone("B", 0.4, 0.8), Phone("AA", 0.8, 1.56)]
    phones += [Phone("M", 1.6, 1.72), Phone("EH", 1.76, 2.36), Phone("P", 2.4, 2.52), Phone("T", 2.52, 4)]
    found = lip_phones(phones, truth, truth, FPS)
    assert (len(found.closed), len(found.open)) == (2, 2)  # the first B comes after silence
    assert (found.auc, found.recall) == (1, 1)
    assert lip_phones(phones, 0.2 - truth, truth, FPS).auc == 0
    assert LipPhones().recall is None


def test_the_last_line_sums_up_all_clips() -> None:
    """Means, the worst r, the lag furthest from 0, and all closures together."""
    line = summary_line([compare(babble(), babble()), compare(np.roll(babble(), 1), babble())])
    assert line.startswith("r0 mean 0.")
    assert "lag 40 ms, LMD " in line
    assert line.endswith("false 0.00")
