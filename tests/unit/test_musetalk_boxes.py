from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lipsync_core.musetalk.boxes import (
    MARGIN,
    SMOOTHING_RADIUS,
    BoxRule,
    boxes_from_landmarks,
    clipped,
    mesh_boxes,
    original_box,
    place_boxes,
    smooth_stream,
    turn_box,
    turned_mesh_boxes,
    with_margin,
)

BRIDGE_OF_68 = 29


def mesh(seed: int = 0) -> np.ndarray:
    """A face of random points, its bridge in the middle."""
    points = np.random.default_rng(seed).uniform((200, 120, -20), (300, 260, 20), (468, 3)).astype(np.float32)
    points[5] = 250, 190, 30
    return points


@pytest.mark.parametrize("shift", [0, -7, 5, 40])
def test_musetalk_boxes_are_the_originals(reference_dir: Path, shift: int) -> None:
    """Fifty faces, with fallbacks to the detector's box and frames without a face."""
    goldens = np.load(reference_dir / "musetalk" / "crop.npz")
    found = [
        original_box(points, BRIDGE_OF_68, None if detected[0] < 0 else detected, shift)
        for points, detected in zip(goldens["points"], goldens["detector"], strict=True)
    ]
    assert np.array_equal(found, goldens[f"boxes_shift_{shift}"])


def test_musetalk_boxes_end_below_the_chin_but_within_the_frame() -> None:
    """Where the frame ends sooner, the margin is cut off."""
    boxes = np.array([[10, 10, 50, 60], [10, 10, 50, 95]])
    assert with_margin(boxes, 100)[:, 3].tolist() == [70, 100]


def test_musetalk_boxes_of_version_1_0_end_at_the_chin_and_may_be_shifted() -> None:
    """A shift moves the vertical centre down, and the upper edge twice as far; the lower edge stays at the chin."""
    upright, turns = mesh()[None], np.zeros(1, int)
    plain, old, shifted = (
        place_boxes(turned_mesh_boxes(upright, turns, 400, 400, rule), turns, 400, 400, rule)[0]
        for rule in (BoxRule(), BoxRule(margin=0), BoxRule(margin=0, shift=7))
    )
    assert (plain - old).tolist() == [0, 0, 0, 10]
    assert (shifted - old).tolist() == [0, 14, 0, 0]


def test_musetalk_the_original_lets_boxes_reach_beyond_the_frame_and_the_default_does_not() -> None:
    """The original corrects the left and upper edge alone."""
    points = mesh()[:, :2]
    assert original_box(points, 5, np.zeros(4, int))[2] > 280
    box = boxes_from_landmarks(mesh()[None], np.zeros(1, int), 240, 280)[0]
    assert box[2:].tolist() == [280, 240]


def test_musetalk_the_mesh_gives_the_box_of_the_rule() -> None:
    """Up to the rounding of points, which only the original does; NaN stays NaN."""
    found = mesh_boxes(np.stack([mesh(), np.full((468, 3), np.nan)]))
    np.testing.assert_allclose(found[0], original_box(mesh()[:, :2], 5, np.zeros(4, int)), atol=3)
    assert (found[0, 1] + found[0, 3]) / 2 == pytest.approx(190)  # the bridge
    assert np.isnan(found[1]).all()


@pytest.mark.parametrize("turn", range(4))
def test_musetalk_boxes_of_rolled_faces_are_those_of_upright_ones(turn: int) -> None:
    """Turned with the frame: the margin stays under the chin."""
    height, width = 400, 500
    upright = boxes_from_landmarks(mesh()[None], np.zeros(1, int), height, width)[0]
    points = mesh()
    tall, wide = height, width
    for _ in range(turn):  # clockwise: what was left is up
        points[:, 0], points[:, 1] = tall - points[:, 1].copy(), points[:, 0].copy()
        tall, wide = wide, tall
    found = boxes_from_landmarks(points[None], np.array([turn]), tall, wide)[0]
    np.testing.assert_allclose(turn_box(found, turn, tall, wide), upright, atol=1)  # halves round to either side
    assert upright[3] == pytest.approx(round(mesh()[:, 1].max() + MARGIN), abs=1)


@pytest.mark.parametrize("count", [1, 2, 4, 5, 6, 9, 30])
def test_musetalk_smoothing_keeps_every_box(count: int) -> None:
    """A still face keeps its box; a moving one is followed, and short runs lose no frame."""
    still = list(smooth_stream([np.array([10.0, 20, 30, 40])] * count))
    np.testing.assert_allclose(still, np.tile([10.0, 20, 30, 40], (count, 1)))
    assert len(list(smooth_stream(np.random.default_rng(0).normal(size=(count, 4))))) == count
    moving = np.arange(count)[:, None] * [1.0, -0.5, 2.0, 0.25]
    inner = slice(SMOOTHING_RADIUS, count - SMOOTHING_RADIUS)  # beyond it, the first and last boxes are repeated
    np.testing.assert_allclose(np.array(list(smooth_stream(moving)))[inner], moving[inner], atol=1e-9)


def test_musetalk_boxes_jitter_less_than_the_originals() -> None:
    """Points that tremble by half a pixel move the original's box every other frame."""
    rng = np.random.default_rng(0)
    meshes = [mesh() + rng.normal(0, 0.5, (468, 3)).astype(np.float32) for _ in range(100)]
    original = np.array([original_box(points[:, :2], 5, np.zeros(4, int)) for points in meshes])
    smoothed = clipped(np.array(list(smooth_stream(mesh_boxes(np.array(meshes))))), 400, 400)
    moves = [np.abs(np.diff(boxes, axis=0)).mean() for boxes in (original, smoothed)]
    assert moves[0] > 0.4
    assert moves[1] < moves[0] / 3
