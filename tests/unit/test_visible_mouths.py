from __future__ import annotations

import numpy as np
import pytest

from lipsync_core.mouth import Strengths, sync_mouths, visible_mouths
from lipsync_core.mouth.geometry import LEFT_SIDE, RIGHT_SIDE
from lipsync_core.reasons import REASON_TEXTS, Reason, reasons_of
from tests.unit.mouth_samples import astronaut, shape

OPEN = shape(0.1)[None]


def test_a_mouth_outside_the_picture_is_left_alone() -> None:
    """A face cut off above its mouth, or beside it, has nothing to change; half a mouth counts as one."""
    frame, landmarks = astronaut()
    mouth_y, mouth_x = landmarks[13, 1], landmarks[13, 0]
    for cut, reason in (
        (np.s_[: int(mouth_y) - 20], Reason.OUTSIDE),
        (np.s_[:, int(mouth_x) + 30 :], Reason.OUTSIDE),
        (np.s_[: int(mouth_y) + 20], Reason.CHANGED),
    ):
        crop, moved = frame[cut], landmarks.copy()
        moved[:, 0] -= frame.shape[1] - crop.shape[1]
        found = visible_mouths(crop[None], moved[None])
        assert found.reasons.tolist() == [reason]
        assert found.strengths.tolist() == [1 if reason is Reason.CHANGED else 0]


def test_a_head_turned_away_says_so() -> None:
    """Beyond 45 degrees the frame is unchanged, and between 35 and 45 the motion is partial."""
    frame, landmarks = astronaut()
    for degrees, low, high in ((0, 1, 1), (40, 0.1, 0.9), (50, 0, 0)):
        turned = landmarks.copy()
        half = np.hypot(*(landmarks[RIGHT_SIDE, :2] - landmarks[LEFT_SIDE, :2])) / 2 * np.tan(np.radians(degrees))
        turned[LEFT_SIDE, 2], turned[RIGHT_SIDE, 2] = -half, half
        synced, done = sync_mouths(frame[None], turned[None], OPEN)
        assert low <= done.strengths[0] <= high
        assert done.reasons.tolist() == [Reason.TURNED if degrees > 45 else Reason.CHANGED]
        assert (synced != frame).any() == (high > 0)


def test_frames_without_a_face_are_named() -> None:
    """NaN rows have no mouth to judge."""
    frame, landmarks = astronaut()
    found = visible_mouths(np.stack([frame, frame]), np.stack([landmarks, np.full_like(landmarks, np.nan)]))
    assert found.reasons.tolist() == [Reason.CHANGED, Reason.NO_FACE]


def test_colours_that_cannot_be_used_fail() -> None:
    """A tolerance of 0 would make every mouth a covered one."""
    frame, landmarks = astronaut()
    with pytest.raises(ValueError, match="mouth_colours: expected finite numbers and positive"):
        visible_mouths(frame[None], landmarks[None], np.zeros((2, 16, 3), np.float32))


def test_strengths_multiply_and_the_first_reason_stays() -> None:
    """A covered mouth in a turned head is covered."""
    found = Strengths.full(2)
    found.lower(0, 0.5, Reason.TURNED)
    found.lower(0, 0.5, Reason.COVERED)
    found.lower(1, 0, Reason.COVERED)
    found.lower(1, 0, Reason.TURNED)
    assert found.strengths.tolist() == [0.25, 0]
    assert found.reasons.tolist() == [Reason.CHANGED, Reason.COVERED]


def test_every_reason_has_a_text_and_unknown_ones_are_other() -> None:
    """A server may know reasons that the client does not."""
    assert set(REASON_TEXTS) == set(Reason)
    answer = reasons_of(np.array([1, 0, 0, 0], np.float32), np.array([4, 4, 77, 0], np.int32))
    assert answer == [Reason.CHANGED, Reason.COVERED, Reason.OTHER, Reason.OTHER]
