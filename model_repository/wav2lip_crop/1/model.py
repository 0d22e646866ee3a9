"""Crops faces out of frames, as the Wav2Lip generator takes them."""

import cv2
import numpy as np

from lipsync_core.checks import check_frames, check_rows
from lipsync_core.triton.step import TritonStep
from lipsync_core.wav2lip.faces import boxes_from_landmarks, generator_input


class TritonPythonModel(TritonStep):
    """Crop one face per frame; without boxes it is the largest one."""

    def setup(self) -> None:
        """Use one thread; the server runs several instances instead."""
        cv2.setNumThreads(1)

    def run(self, frames: np.ndarray, boxes: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Crop the faces.

        Args:
            frames: uint8 RGB [F, H, W, 3].
            boxes: float32 [F, 4]; NaN for frames without a face.

        Returns:
            face, float32 [F, 6, 96, 96], BGR 0 to 1; face_boxes, float32 [F, 4].

        Raises:
            ValueError: There are no frames, or `boxes` has another number of rows.
        """
        check_frames(frames)
        if boxes is None:
            boxes = boxes_from_landmarks(self.infer("largest_face", {"frames": frames})["face_landmarks"])
        check_rows("boxes", boxes, len(frames))
        return {"face": generator_input(frames, boxes), "face_boxes": boxes}
