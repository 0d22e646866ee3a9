"""Pastes the faces from the Wav2Lip generator back into their frames."""

import numpy as np

from lipsync_core.face import quarter_turns
from lipsync_core.mouth import Strengths
from lipsync_core.triton.picture_step import PictureStep
from lipsync_core.wav2lip.faces import paste_faces


class TritonPythonModel(PictureStep):
    """Paste one generated face into each frame."""

    def run(
        self,
        frames: np.ndarray,
        face_boxes: np.ndarray,
        face_landmarks: np.ndarray,
        mouth_strengths: np.ndarray,
        mouth_reasons: np.ndarray,
        drawn: np.ndarray,
        hard_box: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Blend the faces, or fill the whole box.

        Args:
            frames: uint8 RGB [F, H, W, 3].
            face_boxes: float32 [F, 4]; NaN for frames without a face.
            face_landmarks: float32 [F, 468, 3]; NaN where they are not known, and the mouth is taken for visible.
            mouth_strengths: float32 [F], how far each mouth can be seen, 0 to 1.
            mouth_reasons: int32 [F], why not; see `lipsync_core.reasons`.
            drawn: float32 [F, 3, 96, 96], generated faces, BGR 0 to 1.
            hard_box: bool [1], whether to fill the whole box.

        Returns:
            synced_frames, uint8 RGB [F, H, W, 3]; strengths, float32 [F], 0 for unchanged frames; reasons, int32 [F].
        """
        boxes_alone = np.isfinite(face_boxes).all(axis=1) & ~np.isfinite(face_landmarks).all(axis=(1, 2))
        done = Strengths(mouth_strengths, mouth_reasons).or_full(boxes_alone)
        hard = hard_box is not None and bool(hard_box[0])
        turns = quarter_turns(face_landmarks)
        synced_frames = paste_faces(frames, face_boxes, drawn, turns, done.strengths, hard_box=hard)
        return {"synced_frames": synced_frames, "strengths": done.strengths, "reasons": done.reasons}
