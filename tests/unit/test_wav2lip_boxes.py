from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from lipsync_core.wav2lip.boxes import Pads, pad_boxes, smooth_stream
from tests.data.wav2lip_goldens import FOLDER, smooth_boxes

GOLDENS = np.load(FOLDER / "smoothing.npz")
LENGTHS = [int(name.removeprefix("raw_")) for name in GOLDENS if name.startswith("raw_")]


@pytest.mark.parametrize("length", LENGTHS)
def test_golden_smoothing_holds(length: int) -> None:
    """Clips of every length from 1 to 12 frames, and of 40, with the original's odd ends."""
    smoothed = smooth_boxes(GOLDENS[f"raw_{length}"])
    assert smoothed.dtype == np.int64
    assert np.array_equal(smoothed, GOLDENS[f"smooth_{length}"])


@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_golden_pads_and_smoothing_hold(case: str) -> None:
    """Pads first, cut to the frame, then smoothing unless it is off."""
    height, width = GOLDENS["pipe_frame_hw"].tolist()
    boxes = pad_boxes(GOLDENS["pipe_raw_xyxy"], Pads(*GOLDENS[f"pipe_{case}_pads"].tolist()), height, width)
    if not GOLDENS[f"pipe_{case}_nosmooth"]:
        boxes = smooth_boxes(boxes)
    assert np.array_equal(boxes[:, [1, 3, 0, 2]], GOLDENS[f"pipe_{case}_yyxx"])


def test_a_stream_waits_for_four_frames_and_no_more() -> None:
    """Memory does not grow, and a box leaves as soon as it is settled."""
    taken = 0

    def boxes() -> Iterator[np.ndarray]:
        nonlocal taken
        for box in GOLDENS["raw_40"]:
            taken += 1
            yield box

    for position, box in enumerate(smooth_stream(boxes())):
        assert np.array_equal(box, GOLDENS["smooth_40"][position])
        assert taken == min(position + 5, 40)


def test_no_boxes_are_no_boxes() -> None:
    """An empty clip is no error."""
    assert smooth_boxes(np.zeros((0, 4), np.int64)).shape == (0, 4)
