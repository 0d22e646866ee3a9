from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from perf.scores.picture import Tally, compare, mouth_region, surroundings, warping_error
from tests.unit.mouth_samples import astronaut

HEIGHT, WIDTH = 512, 512


@pytest.fixture(scope="module")
def mouth() -> np.ndarray:
    return mouth_region([astronaut()[1]], HEIGHT, WIDTH)


def noisy(frame: np.ndarray, where: np.ndarray, spread: float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, spread, frame.shape)
    return np.clip(np.rint(frame + noise * where[..., None]), 0, 255).astype(np.uint8)


def test_the_mouth_region_is_the_lower_face(mouth: np.ndarray) -> None:
    """Mouth, chin and cheeks are inside; eyes, hair and the picture's corners are not; no face, no region."""
    landmarks = astronaut()[1]
    columns, rows = np.rint(landmarks[:, :2]).astype(int).T
    inside = mouth[rows, columns]
    assert inside[[0, 13, 14, 17, 61, 291, 152]].all()
    assert not inside[[33, 263, 10, 151]].any()
    assert not mouth[[0, 0, -1, -1], [0, -1, 0, -1]].any()
    assert 0.02 < mouth.mean() < 0.1
    assert not mouth_region([], HEIGHT, WIDTH).any()


def test_a_jaw_that_drops_enlarges_the_region(mouth: np.ndarray) -> None:
    """What either of the two faces covers is inside."""
    landmarks = astronaut()[1]
    lower = landmarks + np.array([0, 40, 0], np.float32)
    both = mouth_region([landmarks, lower], HEIGHT, WIDTH)
    assert (both >= mouth).all()
    assert (both >= mouth_region([lower], HEIGHT, WIDTH)).all()


def test_equal_frames_have_no_error(mouth: np.ndarray) -> None:
    """Infinite PSNR, full similarity, in and outside."""
    frame = astronaut()[0]
    for tally in compare(frame, frame.copy(), mouth):
        assert tally.psnr_db == math.inf
        assert tally.mean_ssim == pytest.approx(1, abs=1e-6)


def test_a_change_of_the_mouth_is_inside(mouth: np.ndarray) -> None:
    """Outside stays without any error."""
    frame = astronaut()[0]
    outside, inside = compare(frame, noisy(frame, mouth, 20), mouth)
    assert outside.psnr_db == math.inf
    assert inside.psnr_db == pytest.approx(20 * math.log10(255 / 20), abs=1)  # black and white cut some noise off
    assert outside.mean_ssim is not None
    assert inside.mean_ssim is not None
    assert inside.mean_ssim < 0.9 < outside.mean_ssim


def test_the_whole_frame_agrees_with_the_library() -> None:
    """Without a face all is outside: scikit-image's own PSNR and SSIM of the whole."""
    frame = astronaut()[0]
    other = noisy(frame, np.ones((HEIGHT, WIDTH)), 8)
    outside, inside = compare(frame, other, np.zeros((HEIGHT, WIDTH), bool))
    assert outside.psnr_db == pytest.approx(peak_signal_noise_ratio(frame, other), abs=1e-4)
    grey = [np.rint(picture @ [0.299, 0.587, 0.114]) for picture in (frame, other)]
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    assert outside.mean_ssim == pytest.approx(structural_similarity(*grey, **settings), abs=5e-3)  # it leaves a rim out
    assert inside.psnr_db is None
    assert inside.mean_ssim is None


def test_tallies_pool_errors_not_decibels() -> None:
    """One broken frame among many counts by its error; a mean of decibels would be infinite."""
    total = Tally()
    for error in (0.0, 0.0, 0.0, 12.0):
        total.add(Tally(error, 1.0, 1))
    assert total.psnr_db == pytest.approx(10 * math.log10(255**2))
    assert total.mean_ssim == 1


def test_flicker_is_seen_and_motion_is_not(mouth: np.ndarray) -> None:
    """A step in brightness counts in full; a face that moves counts for little."""
    frame = astronaut()[0]
    part = surroundings(mouth)
    assert part is not None
    still, region = frame[part], mouth[part]
    brighter = np.minimum(still.astype(int) + 12, 255).astype(np.uint8)
    moved = np.roll(frame, (2, 3), axis=(0, 1))[part]
    assert warping_error(still, still, region) == 0
    assert warping_error(still, brighter, region) == pytest.approx(12, abs=2)
    motion = warping_error(still, moved, region)
    assert motion < 2
    assert motion < 0.4 * np.abs(still.astype(int) - moved)[region].mean()


def test_an_empty_region_has_no_surroundings(mouth: np.ndarray) -> None:
    """And a full one does not reach beyond the frame."""
    assert surroundings(np.zeros((20, 30), bool)) is None
    assert surroundings(np.ones((20, 30), bool)) is not None
    assert mouth[surroundings(mouth)].sum() == mouth.sum()
