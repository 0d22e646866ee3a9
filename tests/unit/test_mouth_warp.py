from __future__ import annotations

import numpy as np
import pytest

from lipsync_core.mouth import (
    ClipMouth,
    changed_region,
    mouth_geometry,
    mouth_target,
    painted_interior,
    sync_mouths,
    warp_mouth,
)
from tests.unit.mouth_samples import astronaut, enlarged

OPEN, CLOSED = (1.0, 0.0), (0.0, 0.0)


def sync_one(frame: np.ndarray, landmarks: np.ndarray, shape: tuple[float, float], donor: bool = False) -> np.ndarray:
    own = ClipMouth(None, None, frame[None], landmarks[None], np.zeros(1, np.int32))
    shapes = np.array([shape], np.float32)
    return sync_mouths(frame[None], landmarks[None], shapes, own if donor else None)[0]


def teeth(frame: np.ndarray, landmarks: np.ndarray) -> float:
    """Brightest thing between the lips of the unwarped face."""
    middle = landmarks[[13, 14], :2].mean(axis=0).round().astype(int)
    return float(frame[middle[1] - 1 : middle[1] + 2, middle[0] - 8 : middle[0] + 9].mean())


@pytest.mark.parametrize("shape", [OPEN, CLOSED, (0.5, -1.0), (0.3, 1.0)])
@pytest.mark.parametrize("donor", [False, True])
def test_only_the_lower_face_changes(shape: tuple[float, float], donor: bool) -> None:
    """Every pixel outside the mouth's region is bit-identical, and something inside changes."""
    frame, landmarks = astronaut()
    synced = sync_one(frame, landmarks, shape, donor)
    changed = (synced != frame).any(axis=2)
    box = changed_region(mouth_geometry(landmarks), mouth_geometry(landmarks).half_width * 1.1)
    assert changed[box.y0 : box.y1, box.x0 : box.x1].any()
    changed[box.y0 : box.y1, box.x0 : box.x1] = False
    assert not changed.any()


def test_a_mouth_that_has_the_shape_already_is_left_alone() -> None:
    """Where nothing would move by 0.03 pixels, no pixel is written."""
    frame, landmarks = astronaut()
    geometry = mouth_geometry(landmarks)
    opening = 0.04 + 0.96 * geometry.relative_gap / 0.15
    target = mouth_target(geometry, opening, 0.0, 0.15, geometry.relative_width / (1 - 0.04 * opening))
    synced = frame.copy()
    warp_mouth(synced, geometry, target, painted_interior(frame, landmarks))
    np.testing.assert_array_equal(synced, frame)


def test_closing_hides_the_teeth_and_a_donor_keeps_them() -> None:
    """Her smile closes to lips; opened with her own interior, her teeth are there, not a painted cavity."""
    frame, landmarks = astronaut()
    filmed = teeth(frame, landmarks)
    assert teeth(sync_one(frame, landmarks, CLOSED), landmarks) < filmed - 20
    assert teeth(sync_one(frame, landmarks, (0.9, 0.0), donor=True), landmarks) > filmed - 30


def test_opening_lowers_the_chin() -> None:
    """The jaw goes along: the skin of the chin moves down when the mouth opens wide."""
    frame, landmarks = astronaut()
    geometry = mouth_geometry(landmarks)
    target = mouth_target(geometry, 1.15, 0.0, 0.2, geometry.relative_width)
    x, y = landmarks[152, :2].round().astype(int)
    gradient = np.repeat(np.linspace(0, 250, 512).astype(np.uint8)[:, None, None], 512, axis=1).repeat(3, axis=2)
    warped = gradient.copy()
    warp_mouth(warped, geometry, target, painted_interior(frame, landmarks))
    assert warped[y - 3, x, 0] < gradient[y - 3, x, 0]
    assert (warped[: int(landmarks[2, 1]) - 8] == gradient[: int(landmarks[2, 1]) - 8]).all()


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_a_crop_gives_the_same_pixels_as_the_whole_frame(factor: float) -> None:
    """The region of interest, cut anywhere around the face, changes like the whole frame."""
    frame, landmarks = enlarged(factor)
    whole = sync_one(frame, landmarks, OPEN)
    left, top, edge = round(31 * factor) + 1, round(17 * factor) + 2, round(210 * factor)
    crop = np.ascontiguousarray(frame[top : top + edge, left : left + edge])
    shift = np.array([left, top, 0], np.float32)
    part = sync_one(crop, landmarks - shift, OPEN)
    difference = np.abs(part.astype(int) - whole[top : top + edge, left : left + edge])
    assert difference.max() <= 6  # cv2.remap rounds positions to 1/32 pixel; a rounding may tip over on an edge
    assert (difference > 1).mean() < 1e-3


def test_a_face_at_the_frames_edge_is_warped_as_far_as_it_is_seen() -> None:
    """A mouth half outside the frame neither fails nor writes elsewhere."""
    frame, landmarks = astronaut()
    for left, top in ((215, 0), (0, 120)):
        crop = np.ascontiguousarray(frame[top:260, left:300])
        moved = landmarks - np.array([left, top, 0], np.float32)
        synced = sync_one(crop, moved, OPEN)
        assert synced.shape == crop.shape
        assert (synced != crop).any()
    outside = landmarks + np.array([2000, 0, 0], np.float32)
    np.testing.assert_array_equal(sync_one(frame, outside, OPEN), frame)


def test_a_tiny_face_is_handled() -> None:
    """A face of a few pixels is warped, or left alone, without failing."""
    frame, landmarks = astronaut()
    small = np.ascontiguousarray(frame[::16, ::16])
    assert sync_one(small, landmarks / 16, OPEN).shape == small.shape


def test_frames_without_a_face_stay_as_they_are() -> None:
    """Rows of NaN leave their frames bit-identical; the input is never written to."""
    frame, landmarks = astronaut()
    frames, points = np.stack([frame] * 3), np.stack([landmarks] * 3)
    points[1] = np.nan
    before = frames.copy()
    synced = sync_mouths(frames, points, np.array([OPEN] * 3, np.float32))
    np.testing.assert_array_equal(frames, before)
    np.testing.assert_array_equal(synced[1], frame)
    np.testing.assert_array_equal(synced[0], synced[2])
    assert (synced[0] != frame).any()


def test_frames_do_not_depend_on_their_neighbours() -> None:
    """A frame alone gives what it gives within its chunk."""
    frame, landmarks = astronaut()
    shapes = np.array([OPEN, CLOSED, (0.4, 0.5)], np.float32)
    together = sync_mouths(np.stack([frame] * 3), np.stack([landmarks] * 3), shapes)
    for synced, shape in zip(together, shapes, strict=True):
        np.testing.assert_array_equal(synced, sync_one(frame, landmarks, tuple(shape)))


GOOD_CLIP = {
    "mouth_range": np.array([0.15, 0.5], np.float32),
    "mouth_colours": np.ones((2, 16, 3), np.float32),
    "interior_frames": np.zeros((1, 4, 4, 3), np.uint8),
    "interior_landmarks": np.zeros((1, 468, 3), np.float32),
    "interior_indices": np.array([-1, 0], np.int32),
}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("mouth_range", np.array([0.15, 0], np.float32), "mouth_range: expected two positive numbers"),
        (
            "mouth_colours",
            np.zeros((2, 16, 3), np.float32),
            "mouth_colours: expected finite numbers and positive",
        ),
        (
            "interior_landmarks",
            None,
            "interior_landmarks: expected one set for each of 1 interior_frames, got 0",
        ),
        (
            "interior_landmarks",
            np.full((1, 468, 3), np.nan, np.float32),
            "interior_landmarks: expected finite",
        ),
        (
            "interior_indices",
            np.zeros(3, np.int32),
            "interior_indices: expected one row for each of 2 frames",
        ),
        (
            "interior_indices",
            np.array([0, 1], np.int32),
            "interior_indices: expected -1 .painted. to 0, got 0 to 1",
        ),
    ],
)
def test_clip_mouth_fails_on_parts_that_do_not_fit(name: str, value: object, message: str) -> None:
    """Each part that is not usable is named, with what to do."""
    ClipMouth(**GOOD_CLIP).check(2)
    with pytest.raises(ValueError, match=message):
        ClipMouth(**(GOOD_CLIP | {name: value})).check(2)


@pytest.mark.parametrize(
    ("landmarks", "shapes", "message"),
    [
        (np.zeros((3, 468, 3)), np.zeros((2, 2)), "landmarks: expected one row for each of 2 frames, got 3"),
        (np.zeros((2, 468, 3)), np.zeros((1, 2)), "shapes: expected one row for each of 2 frames, got 1"),
        (np.zeros((2, 468, 3)), np.full((2, 2), np.nan), "shapes: expected finite values"),
    ],
)
def test_sync_fails_on_inputs_that_do_not_match_the_frames(
    landmarks: np.ndarray, shapes: np.ndarray, message: str
) -> None:
    """A length that differs from the frames' is named."""
    frames = np.zeros((2, 32, 32, 3), np.uint8)
    with pytest.raises(ValueError, match=message):
        sync_mouths(frames, landmarks.astype(np.float32), shapes.astype(np.float32))
