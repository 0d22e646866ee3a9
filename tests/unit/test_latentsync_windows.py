from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from lipsync_core.latentsync.windows import (
    audio_tokens,
    end_of_frames_s,
    features_for_frames,
    frame_position,
    positions_at,
    window_positions,
)

FEATURES = np.arange(80 * 5 * 384, dtype=np.float32).reshape(80, 5, 384)


def frame_count(positions: int) -> int:
    """Count frames of 25 per second up to the first one at the original's end."""
    return 1 + next(index for index in itertools.count() if index / 25 >= end_of_frames_s(positions))


def native_positions(count: int) -> np.ndarray:
    return np.array([frame_position(index) for index in range(count)], np.int32)


def test_golden_windows_hold(reference_dir: Path) -> None:
    """Number of frames, positions and tokens, for twenty lengths."""
    goldens = np.load(reference_dir / "latentsync" / "windows.npz")
    for length, count in zip(goldens["lengths"].tolist(), goldens["counts"].tolist(), strict=True):
        assert frame_count(length) == count
        assert np.array_equal(window_positions(native_positions(count), length), goldens[f"pos_{length}"])
    position, state = np.moveaxis(goldens["tokens_80"], 2, 0)
    assert np.array_equal(audio_tokens(FEATURES, native_positions(42)), FEATURES[position, state])


def test_golden_tokens_hold(reference_dir: Path) -> None:
    """The original's first, last and a middle frame."""
    goldens = np.load(reference_dir / "latentsync" / "whisper.npz")
    tokens = audio_tokens(goldens["feat"], native_positions(int(goldens["num_chunks"])))
    for index, name in ((0, "chunk_0"), (100, "chunk_100"), (-1, "chunk_last")):
        assert np.array_equal(tokens[index], goldens[name])


@pytest.mark.parametrize(("positions", "frames"), [(1, 2), (2, 3), (3, 3), (4, 4), (51, 27), (480, 242), (1501, 752)])
def test_frames_outlast_the_audio_by_one_or_two(positions: int, frames: int) -> None:
    """As the original counts them."""
    assert frame_count(positions) == frames


def test_tokens_are_ten_positions_with_five_states_each() -> None:
    """Beyond the ends the last position there is counts again."""
    tokens = audio_tokens(FEATURES, np.array([0, 40, 82], np.int32))
    for token in range(50):
        for row, centre in enumerate((0, 40, 82)):
            position = min(max(centre - 4 + token // 5, 0), 79)
            assert np.array_equal(tokens[row, token], FEATURES[position, token % 5])


@pytest.mark.parametrize("first", [0, 1, 2, 12, 34, 38])
def test_a_part_of_the_features_gives_the_same_tokens(first: int) -> None:
    """At both ends and between them."""
    positions = native_positions(42)[first : first + 16]
    part, own = features_for_frames(positions, len(FEATURES))
    assert np.array_equal(audio_tokens(FEATURES[part], own), audio_tokens(FEATURES, positions))
    assert part.stop - part.start <= 2 * 15 + 10


def test_frames_of_other_rates_are_placed_by_time() -> None:
    """Regular frames fall where their numbers put them."""
    for fps in (23.976, 24, 25, 29.97, 30, 50, 60):
        times = np.arange(1000) / fps
        assert positions_at(times).tolist() == [int(index * 50 / fps + 1e-6) for index in range(1000)]
    assert positions_at(np.array([-0.1])).tolist() == [0]


@pytest.mark.parametrize(
    ("count", "positions", "message"),
    [
        (0, [0], "audio_features: expected at least one position, got none"),
        (10, [0, 14], "audio_positions: expected 0 to 13 for these 10 audio features, got 0 to 14"),
        (10, [-1, 4], "audio_positions: expected 0 to 13 for these 10 audio features, got -1 to 4"),
    ],
)
def test_audio_tokens_fails_on_features_that_are_too_short(count: int, positions: list[int], message: str) -> None:
    """What is missing is named."""
    with pytest.raises(ValueError, match=message):
        audio_tokens(FEATURES[:count], np.array(positions, np.int32))
