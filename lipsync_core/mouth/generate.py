"""Give every frame of a chunk its mouth shape. Knows nothing of audio, files or servers."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lipsync_core.mouth.cover import lower_face_colours, visibility
from lipsync_core.mouth.geometry import FloatArray, mouth_geometry
from lipsync_core.mouth.interior import DonorInterior, painted_interior
from lipsync_core.mouth.target import MAX_GAP_DEFAULT, motion_strength, mouth_target
from lipsync_core.mouth.warp import Image, warp_mouth

PAINTED = -1  # index of the painted interior


def sync_mouths(
    frames: Image,
    landmarks: FloatArray,
    mouth_shapes: FloatArray,
    mouth_range: FloatArray | None = None,
    interiors: Sequence[DonorInterior] = (),
    interior_indices: NDArray[np.int32] | None = None,
    mouth_colours: FloatArray | None = None,
) -> Image:
    """Warp each frame's mouth to its shape; frames without a face stay as they are.

    Args:
        frames: uint8 RGB [F, H, W, 3].
        landmarks: float32 [F, 468, 3], pixels of the frames; NaN where a frame has no face.
        mouth_shapes: float32 [F, 2], opening 0..1.15 and spread -1..1.
        mouth_range: float32 [2], gap at opening 1 and usual width in eye spans (see MouthProfile);
            without it a common gap and each frame's own width.
        interiors: open mouths of this speaker.
        interior_indices: int32 [F], which interior each frame shows, -1 = a painted one;
            without it all are painted.
        mouth_colours: float32 [2, 16, 3], how the lower face usually looks (see MouthProfile); frames that look
            otherwise, covered by a hand for example, stay as they are.

    Returns:
        synced_frames, uint8 RGB [F, H, W, 3].
    """
    indices = np.full(len(frames), PAINTED) if interior_indices is None else interior_indices
    synced_frames = frames.copy()
    for frame, points, shape, index in zip(synced_frames, landmarks, mouth_shapes, indices, strict=True):
        if np.isfinite(points).all():
            donor = None if index == PAINTED else interiors[index]
            _sync_mouth(frame, points, shape, mouth_range, donor, mouth_colours)
    return synced_frames


def check_chunk(
    count: int,
    landmarks: FloatArray,
    mouth_shapes: FloatArray,
    mouth_range: FloatArray | None = None,
    interior_frames: Image | None = None,
    interior_landmarks: FloatArray | None = None,
    interior_indices: NDArray[np.int32] | None = None,
    mouth_colours: FloatArray | None = None,
) -> None:
    """Refuse a chunk of `count` frames whose parts do not belong together.

    Raises:
        ValueError: lengths differ, a shape or the range is not usable, or an index names no interior.
    """
    _check_length("landmarks", len(landmarks), count)
    _check_length("shapes", len(mouth_shapes), count)
    if not np.isfinite(mouth_shapes).all():
        raise ValueError("shapes: expected finite numbers, got NaN or infinity. Use 0 for a closed mouth")
    if mouth_range is not None and not (np.isfinite(mouth_range).all() and (mouth_range > 0).all()):
        raise ValueError(
            f"mouth_range: expected two positive numbers, got {mouth_range.tolist()}. Leave it out"
        )
    if mouth_colours is not None and not (np.isfinite(mouth_colours).all() and (mouth_colours[1] > 0).all()):
        raise ValueError("mouth_colours: expected finite numbers and positive tolerances. Leave it out")
    available = 0 if interior_frames is None else len(interior_frames)
    if available != (0 if interior_landmarks is None else len(interior_landmarks)):
        raise ValueError(
            f"interior_landmarks: expected one set for each of {available} interior_frames, "
            f"got {0 if interior_landmarks is None else len(interior_landmarks)}. Send both or neither"
        )
    if interior_landmarks is not None and not np.isfinite(interior_landmarks).all():
        raise ValueError("interior_landmarks: expected finite numbers, got NaN. Send frames with a face only")
    if interior_indices is not None:
        _check_length("interior_indices", len(interior_indices), count)
        if count and not PAINTED <= interior_indices.min() <= interior_indices.max() < available:
            raise ValueError(
                f"interior_indices: expected -1 (painted) to {available - 1}, got "
                f"{interior_indices.min()} to {interior_indices.max()}. Count the interior_frames from 0"
            )


def _check_length(name: str, length: int, count: int) -> None:
    if length != count:
        raise ValueError(
            f"{name}: expected one row for each of {count} frames, got {length}. Match the frames"
        )


def _sync_mouth(
    frame: Image,
    landmarks: FloatArray,
    shape: FloatArray,
    mouth_range: FloatArray | None,
    donor: DonorInterior | None,
    mouth_colours: FloatArray | None,
) -> None:
    geometry = mouth_geometry(landmarks)
    strength = motion_strength(geometry)
    if mouth_colours is not None:
        strength *= visibility(lower_face_colours(frame, landmarks), mouth_colours)
    if strength == 0:
        return
    max_gap, width = MAX_GAP_DEFAULT, geometry.relative_width
    if mouth_range is not None:
        max_gap, width = map(float, mouth_range)
    target = mouth_target(geometry, float(shape[0]), float(shape[1]), max_gap, width, strength)
    warp_mouth(frame, geometry, target, donor or painted_interior(frame, landmarks))
