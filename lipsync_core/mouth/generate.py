"""Warps the mouths of a chunk of frames to given shapes. Does not depend on Triton."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lipsync_core.checks import check_finite, check_rows
from lipsync_core.mouth.geometry import FloatArray, mouth_geometry
from lipsync_core.mouth.interior import Donor, open_donor, painted_interior
from lipsync_core.mouth.speaker import speaker_template
from lipsync_core.mouth.target import lip_moves, motion_strength, mouth_target
from lipsync_core.mouth.visible import Strengths
from lipsync_core.mouth.warp import Image, warp_mouth
from lipsync_core.reasons import Reason

PAINTED = -1  # index of the painted interior


@dataclass(frozen=True)
class ClipMouth:
    """What is known about a clip's mouth from outside the chunk (see MouthProfile); all of it is optional."""

    mouth_template: FloatArray | None = None  # [468, 3], the face with its mean mouth; else each frame's own
    interior_frames: Image | None = None  # [K, h, w, 3], open mouths
    interior_landmarks: FloatArray | None = None  # [K, 468, 3], pixels of the interior_frames
    interior_indices: NDArray[np.int32] | None = None  # [F], -1 = painted; else all are painted

    def check(self, count: int) -> None:
        """Check that the values can be used for `count` frames.

        Raises:
            ValueError: Lengths differ, a number cannot be used, or an index is out of range.
        """
        if self.mouth_template is not None:
            check_finite("mouth_template", self.mouth_template, "Leave it out")
        self._check_interiors(count)

    def _check_interiors(self, count: int) -> None:
        frames, landmarks = _length(self.interior_frames), _length(self.interior_landmarks)
        if frames != landmarks:
            raise ValueError(
                f"interior_landmarks: expected one set for each of {frames} interior_frames, got {landmarks}. "
                "Send both or neither"
            )
        if self.interior_landmarks is not None:
            check_finite("interior_landmarks", self.interior_landmarks, "Send frames with a face")
        if self.interior_indices is None:
            return
        check_rows("interior_indices", self.interior_indices, count, advice="Match the frames")
        if count and not PAINTED <= self.interior_indices.min() <= self.interior_indices.max() < frames:
            raise ValueError(
                f"interior_indices: expected -1 (painted) to {frames - 1}, got {self.interior_indices.min()} to "
                f"{self.interior_indices.max()}. Count the interior_frames from 0"
            )

    def donors(self, count: int) -> list[Donor | None]:
        """Return what each of `count` frames shows between its lips; None for a painted inside."""
        if self.interior_frames is None or self.interior_landmarks is None or self.interior_indices is None:
            return [None] * count
        used = {int(index) for index in self.interior_indices} - {PAINTED}
        opened = {i: open_donor(self.interior_frames[i], self.interior_landmarks[i]) for i in used}
        return [opened.get(int(index)) for index in self.interior_indices]

    def template(self, landmarks: FloatArray) -> FloatArray:
        """Return the speaker's face from the front with the mean mouth in speech, float [468, 3]."""
        return speaker_template(landmarks[None]) if self.mouth_template is None else self.mouth_template


def sync_mouths(
    frames: Image,
    landmarks: FloatArray,
    mouth_shapes: FloatArray,
    clip: ClipMouth | None = None,
    visible: Strengths | None = None,
) -> tuple[Image, Strengths]:
    """Warp the mouth of each frame to its shape.

    Frames without a face, with the head turned far or with a mouth that cannot be seen are unchanged.

    Args:
        frames: uint8 RGB [F, H, W, 3].
        landmarks: float32 [F, 468, 3], in pixels of the frames; NaN for frames without a face.
        mouth_shapes: float32 [F, 7], components of the lips' displacement at their real size, and closure 0 to 1.
        clip: What is known about the clip's mouth.
        visible: How far each mouth can be seen, from `visible_mouths`; else all are taken for visible.

    Returns:
        synced_frames, uint8 RGB [F, H, W, 3]; how much of each frame's motion was done.

    Raises:
        ValueError: Row counts differ, or a shape is not finite.
    """
    clip, count = clip or ClipMouth(), len(frames)
    check_rows("landmarks", landmarks, count, advice="Match the frames")
    check_rows("shapes", mouth_shapes, count, advice="Match the frames")
    check_finite("shapes", mouth_shapes, "Use 0 for the mean mouth")
    clip.check(count)
    done = Strengths.full(count) if visible is None else Strengths(*(values.copy() for values in visible))
    check_rows("mouth_strengths", done.strengths, count, advice="Match the frames")
    synced_frames, donors = frames.copy(), clip.donors(count)
    for index, (frame, points) in enumerate(zip(synced_frames, landmarks, strict=True)):
        if not np.isfinite(points).all():
            done.lower(index, 0, Reason.NO_FACE)
            continue
        geometry = mouth_geometry(points)
        done.lower(index, motion_strength(geometry), Reason.TURNED)
        strength = float(done.strengths[index])
        if strength == 0:
            continue
        moves = lip_moves(points[None], clip.template(points), mouth_shapes[index : index + 1])[0]
        target = mouth_target(geometry, points, moves, strength)
        donor = donors[index]
        interior = painted_interior(frame, points) if donor is None else donor.matched(frame, points)
        if not warp_mouth(frame, geometry, target, interior):
            done.lower(index, 0, Reason.TOO_SMALL)
    return synced_frames, done


def _length(array: np.ndarray | None) -> int:
    return 0 if array is None else len(array)
