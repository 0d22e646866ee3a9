from __future__ import annotations

import numpy as np
import pytest

from lipsync_core.mouth import (
    ClipMouth,
    MouthTarget,
    changed_region,
    lip_moves,
    mouth_geometry,
    mouth_target,
    painted_interior,
    speaker_template,
    sync_mouths,
    warp_mouth,
)
from lipsync_core.mouth.warp import STILL
from lipsync_core.reasons import Reason
from tests.unit.mouth_samples import astronaut, enlarged, shape

OPEN, CLOSED, NARROW = shape(0.1), shape(closure=1), shape(-0.03)


def sync_one(frame: np.ndarray, landmarks: np.ndarray, wanted: np.ndarray, donor: bool = False) -> np.ndarray:
    own = ClipMouth(None, frame[None], landmarks[None], np.zeros(1, np.int32))
    return sync_mouths(frame[None], landmarks[None], wanted[None], own if donor else None)[0][0]


def target_of(landmarks: np.ndarray, wanted: np.ndarray, strength: float = 1.0) -> MouthTarget:
    moves = lip_moves(landmarks[None], speaker_template(landmarks[None]), wanted[None])[0]
    return mouth_target(mouth_geometry(landmarks), landmarks, moves, strength)


def teeth(frame: np.ndarray, landmarks: np.ndarray) -> float:
    """Brightest thing between the lips of the unwarped face."""
    middle = landmarks[[13, 14], :2].mean(axis=0).round().astype(int)
    return float(frame[middle[1] - 1 : middle[1] + 2, middle[0] - 8 : middle[0] + 9].mean())


@pytest.mark.parametrize("wanted", [OPEN, CLOSED, NARROW])
@pytest.mark.parametrize("donor", [False, True])
def test_only_the_lower_face_changes(wanted: np.ndarray, donor: bool) -> None:
    """Every pixel outside the mouth's region is bit-identical, and something inside changes."""
    frame, landmarks = astronaut()
    synced = sync_one(frame, landmarks, wanted, donor)
    changed = (synced != frame).any(axis=2)
    box = changed_region(mouth_geometry(landmarks), target_of(landmarks, wanted))
    assert changed[box.y0 : box.y1, box.x0 : box.x1].any()
    changed[box.y0 : box.y1, box.x0 : box.x1] = False
    assert not changed.any()


def warped_to(target: MouthTarget) -> np.ndarray:
    frame, landmarks = astronaut()
    synced = frame.copy()
    warp_mouth(synced, mouth_geometry(landmarks), target, painted_interior(frame, landmarks))
    return synced


def test_no_strength_leaves_the_mouth_as_filmed() -> None:
    """A head that is turned away keeps every pixel."""
    frame, landmarks = astronaut()
    np.testing.assert_array_equal(warped_to(target_of(landmarks, OPEN, strength=0.0)), frame)


def test_a_motion_too_small_to_see_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing moves by 0.03 pixels, no pixel is written; sampled there, hundreds would change."""
    frame, landmarks = astronaut()
    target = target_of(landmarks, OPEN, strength=0.008)
    moves = np.concatenate([target.outer_moves, target.upper_moves, target.lower_moves, [[0, target.jaw]]])
    assert 0 < np.abs(moves).sum(axis=1).max() < STILL == 0.03
    np.testing.assert_array_equal(warped_to(target), frame)
    monkeypatch.setattr("lipsync_core.mouth.warp.STILL", 0.0)
    assert (warped_to(target) != frame).sum() > 100


@pytest.mark.parametrize(("opening", "gap"), [(0.0, 0.07), (0.1, 0.17), (-0.2, 0.0), (0.6, 0.3)])
def test_lips_go_where_the_shape_says(opening: float, gap: float) -> None:
    """From the population's mean on; they never cross, and never open wider than 0.3 eye spans."""
    landmarks = astronaut()[1]
    geometry, target = mouth_geometry(landmarks), target_of(landmarks, shape(opening))
    assert target.gap / geometry.eye_span == pytest.approx(gap, abs=0.02)
    assert (target.lower - target.upper).min() >= -1e-3


def test_closed_lips_meet_at_every_column_and_relax_the_corners() -> None:
    """Her smile closes without a gap, and her corners come in."""
    landmarks = astronaut()[1]
    geometry, target = mouth_geometry(landmarks), target_of(landmarks, CLOSED)
    assert np.abs(target.lower - target.upper).max() < 0.01 * geometry.eye_span
    assert target.half_width < geometry.half_width


def test_the_filmed_motion_is_taken_out() -> None:
    """Two pictures of one speaker with different mouths get the same lips."""
    landmarks = astronaut()[1]
    other = landmarks.copy()
    other[[17, 84, 314, 14, 87, 317, 152], 1] += 6
    template = speaker_template(landmarks[None])
    moves = lip_moves(np.stack([landmarks, other]), template, np.stack([OPEN, OPEN]))
    targets = [mouth_target(mouth_geometry(p), p, m, 1.0) for p, m in zip((landmarks, other), moves, strict=True)]
    np.testing.assert_allclose(targets[0].lower, targets[1].lower, atol=0.3)


def test_a_head_that_turns_fades_the_motion_out() -> None:
    """Half the strength moves the lips half as far, and shows half of the new inside."""
    landmarks = astronaut()[1]
    whole, half = (target_of(landmarks, OPEN, strength) for strength in (1.0, 0.5))
    np.testing.assert_allclose(half.outer_moves, whole.outer_moves / 2, atol=1e-4)
    assert (whole.interior_opacity, half.interior_opacity) == (1.0, 0.5)


def test_closing_hides_the_teeth_and_a_donor_keeps_them() -> None:
    """Her smile closes to lips; opened with her own interior, her teeth are there, not a painted cavity."""
    frame, landmarks = astronaut()
    filmed = teeth(frame, landmarks)
    assert teeth(sync_one(frame, landmarks, CLOSED), landmarks) < filmed - 20
    assert teeth(sync_one(frame, landmarks, shape(0.02), donor=True), landmarks) > filmed - 30
    upper = landmarks - np.array([0, 2, 0], np.float32)  # pixels: her teeth hang on the upper lip, above a wider gap
    assert teeth(sync_one(frame, landmarks, shape(0.07), donor=True), upper) > teeth(frame, upper) - 30


def test_opening_lowers_chin_and_cheeks() -> None:
    """The jaw goes along: the skin of the chin moves down when the mouth opens, and that beside it, less far."""
    frame, landmarks = astronaut()
    geometry = mouth_geometry(landmarks)
    target = target_of(landmarks, shape(0.15))
    x, y = landmarks[152, :2].round().astype(int)
    gradient = np.repeat(np.linspace(0, 250, 512).astype(np.uint8)[:, None, None], 512, axis=1).repeat(3, axis=2)
    warped = gradient.copy()
    warp_mouth(warped, geometry, target, painted_interior(frame, landmarks))
    beside = round(0.3 * geometry.eye_span)
    sunk = [int(gradient[y - 3, at, 0]) - int(warped[y - 3, at, 0]) for at in (x, x - beside, x + beside)]
    assert sunk[0] > max(sunk[1:]) >= min(sunk[1:]) > 0
    assert (warped[: int(landmarks[2, 1]) - 8] == gradient[: int(landmarks[2, 1]) - 8]).all()


def test_a_darker_donor_is_put_into_the_frames_light() -> None:
    """An interior from a darker frame looks about like the frame's own."""
    frame, landmarks = astronaut()
    darker = (0.8 * frame).astype(np.uint8)
    donors = [ClipMouth(None, picture[None], landmarks[None], np.zeros(1, np.int32)) for picture in (frame, darker)]
    own, matched = (sync_mouths(frame[None], landmarks[None], OPEN[None], donor)[0][0] for donor in donors)
    assert abs(teeth(own, landmarks) - teeth(matched, landmarks)) < 10


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
    synced, done = sync_mouths(frames, points, np.stack([OPEN] * 3))
    assert done.reasons.tolist() == [Reason.CHANGED, Reason.NO_FACE, Reason.CHANGED]
    np.testing.assert_array_equal(frames, before)
    np.testing.assert_array_equal(synced[1], frame)
    np.testing.assert_array_equal(synced[0], synced[2])
    assert (synced[0] != frame).any()


def test_frames_do_not_depend_on_their_neighbours() -> None:
    """A frame alone gives what it gives within its chunk."""
    frame, landmarks = astronaut()
    shapes = np.stack([OPEN, CLOSED, NARROW])
    together, _ = sync_mouths(np.stack([frame] * 3), np.stack([landmarks] * 3), shapes)
    for synced, wanted in zip(together, shapes, strict=True):
        np.testing.assert_array_equal(synced, sync_one(frame, landmarks, wanted))


GOOD_CLIP = {
    "mouth_template": np.ones((468, 3), np.float32),
    "interior_frames": np.zeros((1, 4, 4, 3), np.uint8),
    "interior_landmarks": np.zeros((1, 468, 3), np.float32),
    "interior_indices": np.array([-1, 0], np.int32),
}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("mouth_template", np.full((468, 3), np.nan, np.float32), "mouth_template: expected finite"),
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
        (np.zeros((3, 468, 3)), np.zeros((2, 7)), "landmarks: expected one row for each of 2 frames, got 3"),
        (np.zeros((2, 468, 3)), np.zeros((1, 7)), "shapes: expected one row for each of 2 frames, got 1"),
        (np.zeros((2, 468, 3)), np.full((2, 7), np.nan), "shapes: expected finite values"),
    ],
)
def test_sync_fails_on_inputs_that_do_not_match_the_frames(
    landmarks: np.ndarray, shapes: np.ndarray, message: str
) -> None:
    """A length that differs from the frames' is named."""
    frames = np.zeros((2, 32, 32, 3), np.uint8)
    with pytest.raises(ValueError, match=message):
        sync_mouths(frames, landmarks.astype(np.float32), shapes.astype(np.float32))
