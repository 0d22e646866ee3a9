from __future__ import annotations

import numpy as np
import pytest

from lipsync_core.mouth import ClipMouth, InteriorChooser, MouthProfile, MouthProfileBuilder, sync_mouths
from lipsync_core.mouth.profile import CANDIDATES, CROP_EYE_SPAN, INTERIORS
from tests.unit.mouth_samples import astronaut, enlarged

COLOURS = np.ones((2, 16, 3), np.float32)


def closed_mouth(landmarks: np.ndarray) -> np.ndarray:
    """The same landmarks with the lower lip's line on the upper one."""
    closed = landmarks.copy()
    closed[[95, 88, 178, 87, 14, 317, 402, 318, 324]] = closed[[191, 80, 81, 82, 13, 312, 311, 310, 415]]
    return closed


def build(*faces: tuple[np.ndarray, np.ndarray]) -> MouthProfile:
    builder = MouthProfileBuilder()
    for frame, landmarks in faces:
        builder.add(frame, landmarks)
    profile = builder.build()
    assert profile is not None
    return profile


def test_a_photograph_with_teeth_is_its_own_donor() -> None:
    """The only frame, its mouth open, becomes the only interior, at its own scale and place."""
    frame, landmarks = astronaut()
    profile = build((frame, landmarks))
    assert len(profile.interior_frames) == len(profile.interior_landmarks) == 1
    x, y = profile.interior_landmarks[0, 13, :2].round().astype(int)
    full_x, full_y = landmarks[13, :2].round().astype(int)
    np.testing.assert_array_equal(profile.interior_frames[0, y, x], frame[full_y, full_x])
    assert profile.interior_frames.nbytes < frame.nbytes / 50


def test_an_interior_serves_like_the_frame_it_was_cut_from() -> None:
    """Warping with the crop gives the pixels of warping with the whole donor frame."""
    frame, landmarks = astronaut()
    profile = build((frame, landmarks))
    shapes, indices = np.array([[0.7, 0.0]], np.float32), np.zeros(1, np.int32)
    donors = (frame[None], landmarks[None]), (profile.interior_frames, profile.interior_landmarks)
    whole, crop = (
        sync_mouths(frame[None], landmarks[None], shapes, ClipMouth(None, None, *donor, indices)) for donor in donors
    )
    assert np.abs(whole.astype(int) - crop).max() <= 2  # cv2.remap rounds positions to 1/32 pixel


def test_a_silent_person_has_no_interior_and_a_common_gap() -> None:
    """Closed mouths teach the width alone."""
    frame, landmarks = astronaut()
    profile = build((frame, closed_mouth(landmarks)))
    assert profile.interior_frames.shape[0] == 0
    assert profile.interior_landmarks.shape == (0, 468, 3)
    assert profile.max_gap == pytest.approx(0.15)
    np.testing.assert_allclose(profile.mouth_range, [0.15, profile.width])


def test_memory_is_bounded_and_interiors_are_few_and_apart() -> None:
    """However long the scan, few crops are kept and at most six given out."""
    frame, landmarks = astronaut()
    builder = MouthProfileBuilder()
    for i in range(100):
        builder.add(frame, landmarks + np.float32(0.1 * (i % 7)))
    assert len(builder._candidates) <= CANDIDATES
    profile = builder.build()
    assert profile is not None
    assert 1 <= len(profile.interior_frames) <= INTERIORS


def test_large_faces_are_scaled_down() -> None:
    """A face of 4K video leaves crops of bounded size that still fit their landmarks."""
    frame, landmarks = enlarged(10)
    profile = build((frame, landmarks))
    span = np.linalg.norm(profile.interior_landmarks[0, 263] - profile.interior_landmarks[0, 33])
    assert span == pytest.approx(CROP_EYE_SPAN, rel=0.02)  # whole pixels
    assert profile.interior_frames.shape[2] < 2 * CROP_EYE_SPAN


def test_frames_without_a_face_or_with_a_cut_mouth_give_no_interior() -> None:
    """NaN landmarks teach nothing; a mouth that leaves the frame is not borrowed from."""
    frame, landmarks = astronaut()
    builder = MouthProfileBuilder()
    builder.add(frame, np.full((468, 3), np.nan, np.float32))
    assert builder.build() is None
    builder.add(frame[:, :220], landmarks)
    profile = builder.build()
    assert profile is not None
    assert len(profile.interior_frames) == 0


def test_crops_of_different_sizes_are_stacked() -> None:
    """Padding keeps each interior's own pixels and place."""
    small, large = enlarged(1.0), enlarged(2.0)
    profile = build(*[small] * 2, *[large] * 2)
    spans = {round(float(np.linalg.norm(m[263] - m[33]))) for m in profile.interior_landmarks}
    assert len(spans) == 2


def chooser() -> tuple[InteriorChooser, np.ndarray]:
    """Two interiors: one as filmed, one with its nose further down; equal scores."""
    _, landmarks = astronaut()
    lower = landmarks.copy()
    lower[[1, 2, 152], 1] += 10
    both = np.stack([landmarks, lower])
    profile = MouthProfile(0.15, 0.5, np.zeros((2, 4, 4, 3), np.uint8), both, np.ones(2, np.float32), COLOURS)
    return InteriorChooser(profile), both


def test_interiors_are_exchanged_behind_closed_lips_only() -> None:
    """The nearest pose is taken when the mouth opens, and kept until it has closed."""
    choose, (plain, lower) = chooser()
    gaps = np.array([0, 0.1, 0.1, 0.1, 0.0, 0.1], np.float32)
    poses = np.stack([plain, plain, lower, lower, lower, lower])
    assert choose.choose(gaps, poses).tolist() == [0, 0, 0, 0, 0, 1]


def test_the_choice_does_not_depend_on_how_the_clip_is_cut() -> None:
    """Two chunks give what one gives."""
    gaps = np.tile(np.array([0, 0.1, 0.1, 0.0], np.float32), 4)
    (whole, (plain, lower)), (parts, _) = chooser(), chooser()
    poses = np.stack([plain if i % 3 else lower for i in range(len(gaps))])
    poses[5] = np.nan
    expected = whole.choose(gaps, poses)
    cut = [*parts.choose(gaps[:6], poses[:6]), *parts.choose(gaps[6:], poses[6:])]
    np.testing.assert_array_equal(cut, expected)
    assert expected.dtype == np.int32


def test_without_interiors_all_frames_are_painted() -> None:
    """-1 stands for a painted inside."""
    _, landmarks = astronaut()
    none = MouthProfile(0.15, 0.5, np.zeros((0, 1, 1, 3), np.uint8), np.zeros((0, 468, 3)), np.zeros(0), COLOURS)
    assert InteriorChooser(none).choose(np.ones(2, np.float32), np.stack([landmarks] * 2)).tolist() == [
        -1,
        -1,
    ]


def test_covered_mouths_teach_nothing() -> None:
    """A few frames with something black over an open mouth change neither gap nor interiors."""
    frame, landmarks = astronaut()
    covered = frame.copy()
    x, y = landmarks[14, :2].round().astype(int)
    covered[y - 16 : y + 24, x - 36 : x + 36] = np.tile(np.array([[30], [90]], np.uint8), (20, 1))[:, :, None]
    wider = landmarks.copy()
    wider[[95, 88, 178, 87, 14, 317, 402, 318, 324], 1] += 4
    profile = build(*[(frame, landmarks)] * 7, *[(covered, wider)] * 3)
    np.testing.assert_allclose(profile.mouth_range, build((frame, landmarks)).mouth_range, rtol=1e-5)
    assert all(crop[: len(crop) // 2].mean() > 120 for crop in profile.interior_frames)
