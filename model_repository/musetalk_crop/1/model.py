"""Crops faces out of frames, as MuseTalk's encoder takes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lipsync_core.checks import check_frames, check_rows
from lipsync_core.face import quarter_turns
from lipsync_core.musetalk.boxes import boxes_from_landmarks
from lipsync_core.musetalk.faces import encoder_images, place_faces
from lipsync_core.triton.face_step import FaceStep


@dataclass(frozen=True)
class MuseTalkCropParameters:
    """Parameters set in config.pbtxt.

    Attributes:
        max_frames: Most frames of one request; at most half of vae_encoder's max_batch_size.
    """

    max_frames: int


class TritonPythonModel(FaceStep):
    """Crop one face per frame; without boxes it is the largest one."""

    Parameters = MuseTalkCropParameters

    def run(
        self, frames: np.ndarray, boxes: np.ndarray | None = None, landmarks: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Crop the faces, turned upright by whole quarters.

        Args:
            frames: uint8 RGB [F, H, W, 3].
            boxes: float32 [F, 4], whole pixels, the margin included; NaN for frames without a face.
            landmarks: float32 [F, 468, 3], of the faces in the boxes; NaN where they are not known.

        Returns:
            images, float32 RGB [2 F, 3, 256, 256], -1 to 1, each face with its lower half black, then whole;
            face_boxes, float32 [F, 4]; face_landmarks, float32 [F, 468, 3]; mouth_strengths, float32 [F], and
            mouth_reasons, int32 [F], of visible_mouths.

        Raises:
            ValueError: There are no frames or too many, or `boxes` or `landmarks` have another number of rows.
        """
        check_frames(frames)
        if len(frames) > self.parameters.max_frames:
            raise ValueError(
                f"frames: expected at most {self.parameters.max_frames} in a chunk, got {len(frames)}."
                " Send smaller chunks"
            )
        if landmarks is None:
            landmarks = self.largest_faces(frames, find=boxes is None)
        check_rows("landmarks", landmarks, len(frames))
        turns = quarter_turns(landmarks)
        if boxes is None:
            boxes = boxes_from_landmarks(landmarks, turns, *frames.shape[1:3])
        check_rows("boxes", boxes, len(frames))
        images = encoder_images(place_faces(frames, boxes, turns))
        visible = self.infer("visible_mouths", {"frames": frames, "face_landmarks": landmarks})
        return {"images": images, "face_boxes": boxes, "face_landmarks": landmarks, **visible}
