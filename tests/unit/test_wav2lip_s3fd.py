from __future__ import annotations

import numpy as np
import pytest

from lipsync_core.wav2lip.s3fd import anchor_grids, decode, enlarge_small, find_faces, remove_overlapping
from tests.data.wav2lip_goldens import FOLDER, whole_boxes

GOLDENS = np.load(FOLDER / "s3fd_decode.npz")
SIZE = (120, 160)
BOX_PX = 0.01


def by_anchor(kind: str) -> np.ndarray:
    """Join the heads of all levels as the exported network does."""
    heads = [GOLDENS[f"head{level}_{kind}"][0] for level in range(6)]
    return np.concatenate([head.reshape(len(head), -1).T for head in heads])


def test_golden_candidates_hold() -> None:
    """All 712, in the order of their anchors."""
    boxes, scores = decode(by_anchor("conf"), by_anchor("loc"), anchor_grids(*SIZE))
    assert boxes.shape == (712, 4)
    assert np.abs(boxes - GOLDENS["candidates"][:, :4]).max() < BOX_PX
    assert np.abs(scores - GOLDENS["candidates"][:, 4]).max() < 1e-6  # float32 softmax written in another way


@pytest.mark.parametrize(("candidates", "kept"), [("candidates", "nms_keep"), ("nms_in", "nms_out")])
def test_golden_choice_of_overlapping_boxes_holds(candidates: str, kept: str) -> None:
    """Which boxes stay, best first."""
    values = GOLDENS[candidates]
    assert np.array_equal(remove_overlapping(values[:, :4], values[:, 4]), GOLDENS[kept])


def test_golden_faces_hold() -> None:
    """Boxes and scores above a half, and the best one in whole pixels."""
    boxes, scores = find_faces(by_anchor("conf"), by_anchor("loc"), *SIZE)
    assert np.abs(np.column_stack([boxes, scores]) - GOLDENS["final"]).max() < BOX_PX
    assert np.array_equal(whole_boxes(boxes[:1]), GOLDENS["rect_single"])


def test_no_face_is_no_row() -> None:
    """Nothing above the threshold is no error."""
    anchors = len(by_anchor("conf"))
    boxes, scores = find_faces(np.tile(np.float32([9, -9]), (anchors, 1)), np.zeros((anchors, 4), np.float32), *SIZE)
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)


def test_whole_boxes_do_not_begin_outside() -> None:
    """Below 0 they are cut, above the frame they are not."""
    assert whole_boxes(np.float32([-3.7, 2.9, 900.2, 5.0])).tolist() == [0, 2, 900, 5]


def test_small_frames_are_enlarged_for_the_network() -> None:
    """By repeating their last row and column; larger ones stay the same array."""
    small = np.arange(2 * 5 * 40 * 3, dtype=np.uint8).reshape(2, 5, 40, 3)
    large = enlarge_small(small)
    assert large.shape == (2, 32, 40, 3)
    assert np.array_equal(large[:, :5], small)
    assert np.array_equal(large[:, 31], small[:, 4])
    assert enlarge_small(large) is large
