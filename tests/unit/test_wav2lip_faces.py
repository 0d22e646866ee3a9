from __future__ import annotations

import cv2
import numpy as np
import pytest

from lipsync_core.wav2lip.faces import blend_weights, boxes_from_landmarks, generator_input, inside_boxes, paste_faces
from tests.data.wav2lip_goldens import astronaut

BOX = (180, 60, 270, 180)
FRAMES = astronaut()[None]
NOWHERE = [
    (np.nan,) * 4,
    (600, 10, 700, 90),
    (-90, 10, 0, 90),
    (100, 100, 100, 180),
    (150, 100, 100, 180),
    (np.inf,) * 4,
]


def boxes(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, np.float32)


def drawn(colour: tuple[float, float, float] = (0.25, 0.5, 0.75), count: int = 1) -> np.ndarray:
    """Return faces of one BGR colour."""
    return np.tile(np.array(colour, np.float32)[:, None, None], (count, 1, 96, 96))


def test_the_generator_sees_the_face_twice() -> None:
    """BGR from 0 to 1, first with its lower half black, then whole; bilinear without filtering."""
    x1, y1, x2, y2 = BOX
    face = generator_input(FRAMES, boxes(BOX))
    expected = cv2.resize(FRAMES[0, y1:y2, x1:x2, ::-1], (96, 96)).transpose(2, 0, 1).astype(np.float64) / 255
    assert face.shape == (1, 6, 96, 96)
    assert np.array_equal(face[0, 3:], expected.astype(np.float32))
    assert np.array_equal(face[0, :3, :48], expected[:, :48].astype(np.float32))
    assert not face[0, :3, 48:].any()


def test_a_hard_box_is_filled_and_nothing_else() -> None:
    """Values are cut off, not rounded, and come back as RGB."""
    x1, y1, x2, y2 = BOX
    synced = paste_faces(FRAMES, boxes(BOX), drawn(), hard_box=True)
    assert (synced[0, y1:y2, x1:x2] == (191, 127, 63)).all()
    synced[0, y1:y2, x1:x2] = FRAMES[0, y1:y2, x1:x2]
    assert np.array_equal(synced, FRAMES)


def test_a_blend_changes_the_lower_face_alone() -> None:
    """Edges, the upper half and everything outside the box stay bit-identical; the mouth does change."""
    x1, y1, x2, y2 = BOX
    synced = paste_faces(FRAMES, boxes(BOX), np.random.default_rng(0).random((1, 3, 96, 96), np.float32))
    changed = (synced != FRAMES)[0].any(axis=2)
    inside = changed[y1:y2, x1:x2]
    assert changed.sum() == inside.sum()
    assert not inside[: (y2 - y1) * 45 // 100].any()
    assert not np.concatenate([inside[-1], inside[:, 0], inside[:, -1]]).any()
    assert inside[(y2 - y1) * 74 // 100, 20:70].mean() > 0.9


@pytest.mark.parametrize("size", [(120, 90), (501, 399), (7, 5), (1, 1)])
def test_a_blend_has_no_visible_edge(size: tuple[int, int]) -> None:
    """Weights rise from 0 in small steps for faces of usual size, and stay in 0..1 for all."""
    weights = blend_weights(*size)
    assert weights.shape == size
    assert weights.min() == 0
    assert weights.max() <= 1
    if size[0] > 100:
        assert weights.max() == 1
        for axis, side in enumerate(size):
            assert np.abs(np.diff(weights, axis=axis)).max() < 16 / side


def test_a_blend_keeps_the_light() -> None:
    """The same face drawn a little darker and redder leaves the frame nearly as it was."""
    x1, y1, x2, y2 = BOX
    face = cv2.resize(FRAMES[0, y1:y2, x1:x2, ::-1], (96, 96)).transpose(2, 0, 1).astype(np.float32)
    tinted = np.clip(face + np.array([-10, -10, 5], np.float32)[:, None, None], 0, 255)[None] / 255
    plain, kept = (paste_faces(FRAMES, boxes(BOX), faces) for faces in (face[None] / 255, tinted))
    difference = np.abs(kept.astype(int) - plain)
    assert difference.mean() < 0.5
    assert np.percentile(difference[0, 140:160, 210:240], 95) <= 2  # rounding, where nothing was cut off at 0 or 255


@pytest.mark.parametrize("hard_box", [True, False])
@pytest.mark.parametrize("box", NOWHERE)
def test_a_frame_without_a_box_inside_is_left_alone(box: tuple[float, ...], hard_box: bool) -> None:
    """No face, beside the frame, empty, inside out, infinite."""
    assert inside_boxes(boxes(box), 512, 512) == [None]
    assert not generator_input(FRAMES, boxes(box)).any()
    assert np.array_equal(paste_faces(FRAMES, boxes(box), drawn(), hard_box=hard_box), FRAMES)


@pytest.mark.parametrize("hard_box", [True, False])
@pytest.mark.parametrize(
    "box", [(-40, -30, 90, 100), (450, 440, 600, 3000), (-1e9, -1e9, 1e9, 1e9), (511, 511, 513, 513)]
)
def test_a_box_partly_outside_is_cut_to_the_frame(box: tuple[float, ...], hard_box: bool) -> None:
    """A face leaving the picture still speaks."""
    cut = np.clip(box, 0, 512)
    assert inside_boxes(boxes(box), 512, 512) == [tuple(cut.astype(int).tolist())]
    assert np.array_equal(generator_input(FRAMES, boxes(box)), generator_input(FRAMES, boxes(tuple(cut))))
    synced = paste_faces(FRAMES, boxes(box), drawn(), hard_box=hard_box)
    assert np.array_equal(synced, paste_faces(FRAMES, boxes(tuple(cut)), drawn(), hard_box=hard_box))


def test_frames_are_pasted_each_with_its_own() -> None:
    """A frame without a face among others neither moves nor stops them."""
    frames = np.repeat(FRAMES, 3, axis=0)
    rows = boxes(BOX, NOWHERE[0], (0, 0, 50, 50))
    faces = np.concatenate([drawn((0, 0, 1)), drawn(), drawn((1, 0, 0))])
    synced = paste_faces(frames, rows, faces, hard_box=True)
    assert (synced[0, 100, 200] == (255, 0, 0)).all()
    assert np.array_equal(synced[1], FRAMES[0])
    assert (synced[2, 10, 10] == (0, 0, 255)).all()


def test_landmarks_give_the_box_around_them() -> None:
    """In whole pixels; a frame without landmarks gets none."""
    landmarks = np.full((2, 468, 3), 50.0, np.float32)
    landmarks[0, 3], landmarks[0, 7] = (10.7, 20.2, -9), (90.1, 80.0, 9)
    landmarks[1] = np.nan
    found = boxes_from_landmarks(landmarks)
    assert found[0].tolist() == [10, 20, 91, 80]
    assert np.isnan(found[1]).all()
