from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lipsync_core.syncnet.mfcc import audio_windows, filterbank, lifter, mfcc, whole_samples, window_count
from tests.closeness import assert_close
from tests.data.syncnet_goldens import FOLDER, speech

EXACT = 1e-9  # of the largest coefficient: float64 sums in another order; measured 1e-13


def test_the_library_agrees() -> None:
    """A second of speech gives python_speech_features' columns, the padded last one included."""
    columns = mfcc(speech())
    assert columns.shape == (99, 13)
    assert_close(columns, np.load(FOLDER / "speech_mfcc.npy"), rel=EXACT)


@pytest.mark.parametrize("case", ["", "zeros", "short", "len400", "len401", "len5001"])
def test_golden_columns_hold(reference_dir: Path, case: str) -> None:
    """Speech, silence, and lengths around the borders of a segment."""
    goldens = np.load(reference_dir / "syncnet" / "mfcc_demo1.npz")
    samples, expected = (
        (goldens[f"in_{case}"], goldens[f"mfcc_{case}"]) if case else (goldens["audio"], goldens["mfcc"])
    )
    columns = mfcc(samples)
    assert columns.shape == expected.shape
    assert_close(columns, expected, rel=EXACT)


def test_golden_tables_hold(reference_dir: Path) -> None:
    """The filters lie between whole bins, and the lifter is the original's."""
    goldens = np.load(reference_dir / "syncnet" / "mfcc_demo1.npz")
    assert_close(filterbank(), goldens["filterbank"], rel=EXACT)
    assert_close(lifter(), goldens["lifter"], rel=EXACT)


def test_the_scale_is_int16s() -> None:
    """Samples of full scale 1 would lower the first coefficient by 20.79 and leave the others: easy to miss."""
    shift = mfcc(speech()) - mfcc(speech() / 32_768)
    loud = mfcc(speech())[:, 0] > 10  # silence is the floor on either scale
    assert loud.sum() > 50
    assert np.abs(shift[loud, 0] - 2 * np.log(32_768)).max() < EXACT
    assert np.abs(shift[loud, 1:]).max() < EXACT


def test_golden_columns_of_another_scale_hold(reference_dir: Path) -> None:
    """The original's columns for samples of full scale 1."""
    goldens = np.load(reference_dir / "syncnet" / "mfcc_demo1.npz")
    assert_close(mfcc(goldens["audio"] / 32_768)[:20], goldens["mfcc_float_scaled"], rel=EXACT)


def test_golden_window_holds(reference_dir: Path) -> None:
    """The window of frame 20 is columns 80 to 99."""
    samples = np.load(reference_dir / "syncnet" / "e2e.npz")["audio"]
    expected = np.load(reference_dir / "syncnet" / "layers.npz")["aud_in"]
    assert_close(audio_windows(samples)[20], expected, rel=1e-6)  # kept as float32


def test_windows_of_a_part_are_those_of_the_whole() -> None:
    """A speech may be read in pieces, given the sample before each."""
    samples = speech()
    whole = audio_windows(samples)
    part = audio_windows(samples[4 * 640 :], before=int(samples[4 * 640 - 1]))
    assert len(part) == len(whole) - 4
    assert_close(part, whole[4:], rel=1e-6)  # kept as float32


def test_silence_is_finite() -> None:
    """Digital silence gives the floor's logarithm and nothing else."""
    columns = mfcc(np.zeros(4000, np.int16))
    assert columns[:, 0] == pytest.approx(np.log(np.finfo(float).eps))
    assert np.abs(columns[:, 1:]).max() < EXACT


@pytest.mark.parametrize(
    ("frames", "samples", "windows"),
    [(80, 51_200, 75), (40, 51_200, 35), (80, 19_700, 25), (6, 51_200, 1), (5, 9999, 0)],
)
def test_windows_are_counted_as_the_original_does(frames: int, samples: int, windows: int) -> None:
    """One less than would fit, by the shorter of pictures and sound."""
    assert window_count(frames, samples) == windows


def test_whole_samples_do_not_wrap() -> None:
    """Loud samples are cut off, and int16 survives the way through float."""
    assert whole_samples(np.float32([-2, -1, 0, 0.5, 2])).tolist() == [-32768, -32768, 0, 16384, 32767]
    every = np.arange(-32768, 32768, dtype=np.int16)
    assert np.array_equal(whole_samples(every.astype(np.float32) / 32_768), every)
