"""Crops faces out of frames, as the Wav2Lip generator takes them."""

import numpy as np

from lipsync_core.checks import check_frames, check_rows
from lipsync_core.face import quarter_turns
from lipsync_core.triton.face_step import FaceStep
from lipsync_core.wav2lip.faces import boxes_from_landmarks, generator_input


class TritonPythonModel(FaceStep):
    """Crop one face per frame; without boxes it is the largest one."""

    def run(
        self, frames: np.ndarray, boxes: np.ndarray | None = None, landmarks: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Crop the faces, turned upright by whole quarters.

        Args:
            frames: uint8 RGB [F, H, W, 3].
            boxes: float32 [F, 4]; NaN for frames without a face.
            landmarks: float32 [F, 468, 3], of the faces in the boxes; NaN where they are not known.

        Returns:
            face, float32 [F, 6, 96, 96], BGR 0 to 1; face_boxes, float32 [F, 4]; face_landmarks, float32 [F, 468, 3].

        Raises:
            ValueError: There are no frames, or `boxes` or `landmarks` have another number of rows.
        """
        check_frames(frames)
        if landmarks is None:
            landmarks = self.largest_faces(frames, find=boxes is None)
        check_rows("landmarks", landmarks, len(frames))
        if boxes is None:
            boxes = boxes_from_landmarks(landmarks)
        check_rows("boxes", boxes, len(frames))
        face = generator_input(frames, boxes, quarter_turns(landmarks))
        return {"face": face, "face_boxes": boxes, "face_landmarks": landmarks}
