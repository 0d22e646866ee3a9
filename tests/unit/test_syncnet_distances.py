from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lipsync_core.syncnet.distances import pair_distances, score, score_valid_pairs
from lipsync_core.syncnet.filters import median_filter
from tests.closeness import assert_close
from tests.data.syncnet_goldens import CASES, FOLDER

RECORDED = np.load(FOLDER / "distances.npz")
DISTANCE = 1e-5  # of the largest distance, about 8: float32 sums in another order; measured 3e-7


def check_case(goldens: np.lib.npyio.NpzFile, case: str) -> None:
    shift = int(case[1:3])
    distances = pair_distances(goldens["video"], np.pad(goldens[f"{case}_audio"], ((shift, shift), (0, 0))), shift)
    offset, least, confidence = goldens[f"{case}_result"]
    result = score(distances)
    scale = float(np.abs(goldens[f"{case}_dists"]).max())  # of the confidence too, a difference of two distances
    assert_close(distances, goldens[f"{case}_dists"], rel=DISTANCE)
    assert_close(distances.mean(axis=0), goldens[f"{case}_mean"], rel=DISTANCE)
    assert result.offset == offset
    assert_close([result.lse_d, result.lse_c], [least, confidence], rel=DISTANCE, scale=scale)


@pytest.mark.parametrize("case", CASES)
def test_recorded_distances_hold(case: str) -> None:
    """A sound three frames late, and one that is earlier than the search reaches."""
    check_case(RECORDED, case)


@pytest.mark.parametrize("shift", [15, 10])
@pytest.mark.parametrize("delay", [-12, -3, 0, 3, 9])
def test_golden_distances_hold(reference_dir: Path, shift: int, delay: int) -> None:
    """Every delay, with the search's sign: a late sound has a negative offset."""
    check_case(np.load(reference_dir / "syncnet" / "sync_math.npz"), f"v{shift}_delay{delay}")


@pytest.mark.parametrize(("size", "lengths"), [(9, (1, 3, 8, 9, 25)), (13, (5, 40))])
def test_recorded_medians_hold(size: int, lengths: tuple[int, ...]) -> None:
    """To the bit, with zeros outside."""
    for length in lengths:
        given, expected = (RECORDED[f"medfilt{size}_{kind}{length}"] for kind in ("in", "out"))
        assert np.array_equal(median_filter(given, size), expected)


def test_equal_embeddings_are_not_quite_at_no_distance() -> None:
    """Every component of a difference is raised by 1e-6: 3.2e-5 for 1024 numbers."""
    lips = np.ones((2, 1024), np.float32)
    assert pair_distances(lips, np.ones((4, 1024), np.float32), 1) == pytest.approx(3.2e-5, rel=1e-3)


def test_valid_pairs_leave_the_clips_ends_out() -> None:
    """A lip sequence far from zero looks in sync by its ends alone, but not in the other variant."""
    random = np.random.default_rng(0)
    lips = (10 + random.standard_normal((40, 64))).astype(np.float32)
    sounds = (10 + random.standard_normal((40, 64))).astype(np.float32)
    distances = pair_distances(lips, np.pad(sounds, ((15, 15), (0, 0))))
    valid = score_valid_pairs(distances)
    assert valid is not None
    assert score(distances).lse_c > 10
    assert valid.lse_c < 1
    assert valid.lse_d == pytest.approx(np.sqrt(2 * 64), rel=0.1)
    assert valid.windows == 40
    assert score_valid_pairs(distances[:15]) is None


def test_score_fails_on_what_is_no_number() -> None:
    """One NaN would poison the means."""
    distances = np.ones((20, 31), np.float32)
    distances[3, 4] = np.nan
    with pytest.raises(ValueError, match="distances: expected finite numbers, got NaN or infinity"):
        score(distances)
