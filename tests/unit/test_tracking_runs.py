"""Which frames of a window follow each other."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from client.tracking.finder import consecutive_runs


@pytest.mark.parametrize(
    ("indices", "expected"),
    [
        ([], []),
        ([4, 5, 6], [[4, 5, 6]]),
        ([6, 5, 4], [[6, 5, 4]]),
        ([10, 11, 10, 9], [[10, 11], [10, 9]]),  # it turns back
        ([10, 11, 0, 1], [[10, 11], [0, 1]]),  # it starts anew
        ([0, 2, 5, 7], [[0, 2, 5, 7]]),  # from 60 to 25 frames per second
        ([0, 40, 80], [[0], [40], [80]]),
    ],
)
def test_frames_are_split_where_the_clip_jumps_or_turns(indices: list[int], expected: list[list[int]]) -> None:
    """Faces are followed only through frames that lie beside each other, all in one direction."""
    frames = [SimpleNamespace(index=index, picture=None) for index in indices]
    assert [[frame.index for frame in run] for run in consecutive_runs(frames)] == expected
