"""Warps the mouths of a chunk of frames to given shapes. Does not depend on Triton."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lipsync_core.checks import check_finite, check_rows
from lipsync_core.mouth.cover import lower_face_colours, visibility
from lipsync_core.mouth.geometry import FloatArray, mouth_geometry
from lipsync_core.mouth.interior import DonorInterior, donor_interior, painted_interior
from lipsync_core.mouth.target import MAX_GAP_DEFAULT, motion_strength, mouth_target
from lipsync_core.mouth.warp import Image, warp_mouth

PAINTED = -1  # index of the painted interior


@dataclass(frozen=True)
class ClipMouth:
    """What is known about a clip's mouth from outside the chunk (see MouthProfile); all of it is optional."""

    mouth_range: FloatArray | None = None  # [2], gap at opening 1 and usual width; else a common gap, own width
    mouth_colours: FloatArray | None = None  # [2, 16, 3]; else covered mouths are not looked for
    interior_frames: Image | None = None  # [K, h, w, 3], open mouths
    interior_landmarks: FloatArray | None = None  # [K, 468, 3], pixels of the interior_frames
    interior_indices: NDArray[np.int32] | None = None  # [F], -1 = painted; else all are painted

    def check(self, count: int) -> None:
        """Check that the values can be used for `count` frames.

        Raises:
            ValueError: Lengths differ, a number cannot be used, or an index is out of range.
        """
        if self.mouth_range is not None and not _all_positive(self.mouth_range):
            got = self.mouth_range.tolist()
            raise ValueError(f"mouth_range: expected two positive numbers, got {got}. Leave it out")
        if self.mouth_colours is not None and not (
            np.isfinite(self.mouth_colours).all() and _all_positive(self.mouth_colours[1])
        ):
            raise ValueError("mouth_colours: expected finite numbers and positive tolerances. Leave it out")
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

    def interiors(self, count: int) -> list[DonorInterior | None]:
        """Return the interior for each of `count` frames; None for painted."""
        if self.interior_frames is None or self.interior_landmarks is None or self.interior_indices is None:
            return [None] * count
        donors = list(map(donor_interior, self.interior_frames, self.interior_landmarks))
        return [None if index == PAINTED else donors[index] for index in self.interior_indices]


def sync_mouths(frames: Image, landmarks: FloatArray, mouth_shapes: FloatArray, clip: ClipMouth | None = None) -> Image:
    """Warp the mouth of each frame to its shape.

    Frames without a face, with the head turned far or with a covered mouth are unchanged.

    Args:
        frames: uint8 RGB [F, H, W, 3].
        landmarks: float32 [F, 468, 3], in pixels of the frames; NaN for frames without a face.
        mouth_shapes: float32 [F, 2], opening 0 to 1.15 and spread -1 to 1.
        clip: What is known about the clip's mouth.

    Returns:
        synced_frames, uint8 RGB [F, H, W, 3].

    Raises:
        ValueError: Row counts differ, or a shape is not finite.
    """
    clip, count = clip or ClipMouth(), len(frames)
    check_rows("landmarks", landmarks, count, advice="Match the frames")
    check_rows("shapes", mouth_shapes, count, advice="Match the frames")
    check_finite("shapes", mouth_shapes, "Use 0 for a closed mouth")
    clip.check(count)
    synced_frames = frames.copy()
    for frame, points, shape, donor in zip(synced_frames, landmarks, mouth_shapes, clip.interiors(count), strict=True):
        if np.isfinite(points).all():
            _sync_mouth(frame, points, shape, donor, clip)
    return synced_frames


def _sync_mouth(
    frame: Image, landmarks: FloatArray, shape: FloatArray, donor: DonorInterior | None, clip: ClipMouth
) -> None:
    geometry = mouth_geometry(landmarks)
    strength = motion_strength(geometry)
    if clip.mouth_colours is not None:
        strength *= visibility(lower_face_colours(frame, landmarks), clip.mouth_colours)
    if strength == 0:
        return
    max_gap, width = MAX_GAP_DEFAULT, geometry.relative_width
    if clip.mouth_range is not None:
        max_gap, width = map(float, clip.mouth_range)
    target = mouth_target(geometry, float(shape[0]), float(shape[1]), max_gap, width, strength)
    warp_mouth(frame, geometry, target, donor or painted_interior(frame, landmarks))


def _all_positive(numbers: FloatArray) -> bool:
    return bool(np.isfinite(numbers).all() and (numbers > 0).all())


def _length(array: np.ndarray | None) -> int:
    return 0 if array is None else len(array)
