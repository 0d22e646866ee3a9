"""Warps the mouths of frames to given shapes."""

import numpy as np

from lipsync_core.mouth import ClipMouth, Strengths, sync_mouths
from lipsync_core.triton.picture_step import PictureStep


class TritonPythonModel(PictureStep):
    """Warp the mouth of each frame's face to its shape."""

    def run(
        self,
        frames: np.ndarray,
        face_landmarks: np.ndarray,
        mouth_shapes: np.ndarray,
        mouth_strengths: np.ndarray,
        mouth_reasons: np.ndarray,
        mouth_template: np.ndarray | None = None,
        interior_frames: np.ndarray | None = None,
        interior_landmarks: np.ndarray | None = None,
        interior_indices: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Warp the mouths of a chunk of frames.

        Args:
            frames: uint8 RGB [F, H, W, 3].
            face_landmarks: float32 [F, 468, 3]; NaN for frames without a face.
            mouth_shapes: float32 [F, 7], components and closure.
            mouth_strengths: float32 [F], how far each mouth can be seen, 0 to 1.
            mouth_reasons: int32 [F], why not; see `lipsync_core.reasons`.
            mouth_template: float32 [468, 3], the face from the front with its mean mouth; see `speaker_template`.
            interior_frames: uint8 RGB [K, h, w, 3], crops of open mouths.
            interior_landmarks: float32 [K, 468, 3], in pixels of the crops.
            interior_indices: int32 [F], the crop for each frame; -1 for a painted interior.

        Returns:
            synced_frames, uint8 RGB [F, H, W, 3]; strengths, float32 [F], 0 for unchanged frames; reasons, int32 [F].
        """
        clip = ClipMouth(mouth_template, interior_frames, interior_landmarks, interior_indices)
        visible = Strengths(mouth_strengths, mouth_reasons)
        synced_frames, done = sync_mouths(frames, face_landmarks, mouth_shapes, clip, visible)
        return {"synced_frames": synced_frames, "strengths": done.strengths, "reasons": done.reasons}
