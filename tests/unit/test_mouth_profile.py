from __future__ import annotations

import numpy as np
import pytest

from lipsync_core.mouth import (
    ClipMouth,
    InteriorChooser,
    MouthProfile,
    MouthProfileBuilder,
    speaker_template,
    sync_mouths,
)
from lipsync_core.mouth.contour import POPULATION_OPENING
from lipsync_core.mouth.lips import openings
from lipsync_core.mouth.profile import CANDIDATES, CROP_EYE_SPAN, INTERIORS
from lipsync_core.mouth.speaker import measure_speaker
from tests.unit.mouth_samples import astronaut, enlarged, shape

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
    shapes, indices = shape(0.05)[None], np.zeros(1, np.int32)
    donors = (frame[None], landmarks[None]), (profile.interior_frames, profile.interior_landmarks)
    whole, crop = (
        sync_mouths(frame[None], landmarks[None], shapes, ClipMouth(None, *donor, indices))[0] for donor in donors
    )
    assert np.abs(whole.astype(int) - crop).max() <= 2  # cv2.remap rounds positions to 1/32 pixel


def test_the_mean_mouth_and_the_range_are_of_the_same_lips() -> None:
    """Faces are put onto one template once, so that both judge alike whether somebody speaks."""
    (frame, landmarks), faces = astronaut(), []
    for opened in (0, 2, 4, 8):
        faces.append(landmarks.copy())
        faces[-1][[14, 87, 317], 1] += opened
    profile, speaker = build(*((frame, face) for face in faces)), measure_speaker(np.stack(faces))
    np.testing.assert_array_equal(profile.openings, openings(speaker.lips))
    np.testing.assert_allclose(profile.mouth, speaker.lips.mean(axis=0), rtol=1e-6)


def test_a_silent_person_has_no_interior_and_speaks_as_people_do() -> None:
    """A closed mouth says nothing about how far it opens in speech: the population's mean is taken."""
    frame, landmarks = astronaut()
    profile = build((frame, closed_mouth(landmarks)))
    assert profile.interior_frames.shape[0] == 0
    assert profile.interior_landmarks.shape == (0, 468, 3)
    assert profile.openings.max() < 0.03
    assert openings(profile.mouth) == pytest.approx(POPULATION_OPENING, abs=0.01)


def test_a_speaking_person_keeps_its_own_mean_mouth() -> None:
    """A mouth that opens and closes in the clip stays as it is on average."""
    frame, landmarks = astronaut()
    wide = landmarks.copy()
    wide[[95, 88, 178, 87, 14, 317, 402, 318, 324, 17], 1] += 8
    profile = build((frame, wide), *[(frame, closed_mouth(landmarks))] * 4)
    assert openings(profile.mouth) == pytest.approx(float(profile.openings.mean()), abs=0.01)
    assert float(np.percentile(profile.openings, 95)) > 2 * profile.openings.mean()


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
    profile = build(small, large)
    spans = {round(float(np.linalg.norm(m[263] - m[33]))) for m in profile.interior_landmarks}
    assert len(spans) == 2


def profile_of(interiors: np.ndarray) -> MouthProfile:
    template, count = speaker_template(astronaut()[1][None]), len(interiors)
    crops, scores = np.zeros((count, 4, 4, 3), np.uint8), np.ones(count, np.float32)
    return MouthProfile(template, np.full(4, 0.1), crops, interiors, scores, COLOURS)


def forms(gaps: np.ndarray) -> np.ndarray:
    """Gap and width of what is coming: as wide as ever."""
    return np.stack([gaps, np.full(len(gaps), 0.6)], axis=1)


def chooser() -> tuple[InteriorChooser, np.ndarray]:
    """Two interiors: one as filmed, one with its nose further down; equal scores."""
    _, landmarks = astronaut()
    lower = landmarks.copy()
    lower[[1, 2, 152], 1] += 10
    both = np.stack([landmarks, lower])
    return InteriorChooser(profile_of(both)), both


def choices(choose: InteriorChooser, gaps: np.ndarray, coming: np.ndarray, landmarks: np.ndarray) -> list[int]:
    """What a chooser takes frame by frame."""
    return [choose.choose(*frame) for frame in zip(gaps, coming, landmarks, strict=True)]


def test_interiors_are_exchanged_behind_closed_lips_only() -> None:
    """The nearest pose is taken when the mouth opens, and kept until it has closed."""
    choose, (plain, lower) = chooser()
    gaps = np.array([0, 0.1, 0.1, 0.1, 0.0, 0.1], np.float32)
    poses = np.stack([plain, plain, lower, lower, lower, lower])
    assert choices(choose, gaps, forms(gaps), poses) == [0, 0, 0, 0, 0, 1]


def test_a_frame_without_a_face_keeps_the_choice() -> None:
    """The interior goes on behind it, also where the mouth would open there."""
    choose, (plain, lower) = chooser()
    gaps = np.array([0.1, 0.0, 0.1, 0.1, 0.0, 0.1], np.float32)
    poses = np.stack([plain, plain, lower, plain, plain, lower])
    poses[2] = np.nan
    assert choices(choose, gaps, forms(gaps), poses) == [0, 0, 0, 0, 0, 1]


def test_without_interiors_all_frames_are_painted() -> None:
    """-1 stands for a painted inside."""
    _, landmarks = astronaut()
    none, gaps = profile_of(np.zeros((0, 468, 3), np.float32)), np.ones(2, np.float32)
    assert choices(InteriorChooser(none), gaps, forms(gaps), np.stack([landmarks] * 2)) == [-1, -1]


def test_an_interior_of_the_coming_form_is_chosen() -> None:
    """In the same pose, a narrow opening shows the inside of a narrow mouth, and a wide one that of a wide mouth."""
    _, landmarks = astronaut()
    wide = landmarks.copy()
    wide[[95, 88, 178, 87, 14, 317, 402, 318, 324], 1] += 8
    choose = InteriorChooser(profile_of(np.stack([landmarks, wide])))
    gaps = np.array([0.05, 0.0, 0.05], np.float32)
    coming = forms(np.array([0.02, 0.0, 0.25], np.float32))
    assert choices(choose, gaps, coming, np.stack([landmarks] * 3)) == [0, 0, 1]


def test_covered_mouths_teach_nothing() -> None:
    """A few frames with something black over an open mouth change neither gap nor interiors."""
    frame, landmarks = astronaut()
    covered = frame.copy()
    x, y = landmarks[14, :2].round().astype(int)
    covered[y - 16 : y + 24, x - 36 : x + 36] = np.tile(np.array([[30], [90]], np.uint8), (20, 1))[:, :, None]
    wider = landmarks.copy()
    wider[[95, 88, 178, 87, 14, 317, 402, 318, 324], 1] += 4
    profile = build(*[(frame, landmarks)] * 7, *[(covered, wider)] * 3)
    np.testing.assert_allclose(profile.mouth_template, build((frame, landmarks)).mouth_template, atol=1e-5)
    assert all(crop[: len(crop) // 2].mean() > 120 for crop in profile.interior_frames)
