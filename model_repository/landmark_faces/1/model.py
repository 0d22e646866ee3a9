"""Finds the landmarks of detected faces with the network face_landmarks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lipsync_core.face import (
    alignment_points,
    fill_slots,
    fit_keypoints,
    in_batches,
    landmark_detections,
    regions_from_detections,
)
from lipsync_core.triton.picture_step import PictureStep


@dataclass(frozen=True)
class LandmarkFacesParameters:
    """Parameters set in config.pbtxt.

    Attributes:
        images_per_call: Images per call of face_landmarks; at most its max_batch_size.
    """

    images_per_call: int


class TritonPythonModel(PictureStep):
    """Find the landmarks of detected faces, and drop detections that are not faces, or not as the detector saw them."""

    Parameters = LandmarkFacesParameters

    def run(
        self,
        frames: np.ndarray,
        detected_boxes: np.ndarray,
        detected_keypoints: np.ndarray,
        detected_scores: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """Find the landmarks of all faces of all frames together.

        Args:
            frames: uint8 RGB [F, H, W, 3].
            detected_boxes: float32 [F, N, 4].
            detected_keypoints: float32 [F, N, 6, 2].
            detected_scores: float32 [F, N], 0 for slots without a face.

        Returns:
            boxes, float32 [F, N, 4]; scores, float32 [F, N]; landmarks, float32 [F, N, 468, 3]; alignment_points,
            float32 [F, N, 3, 2]. Slots without a face are NaN, with score 0.
        """
        faces = np.nonzero(detected_scores > 0)  # frame and slot of each
        boxes, keypoints = detected_boxes[faces], detected_keypoints[faces]
        regions = regions_from_detections(boxes, keypoints)
        landmarks, present = landmark_detections(frames, faces[0], regions, self._run_landmarks)
        present &= fit_keypoints(landmarks, keypoints, boxes)
        kept = faces[0][present]
        results = {
            "boxes": boxes[present],
            "landmarks": landmarks[present],
            "alignment_points": alignment_points(landmarks[present]),
        }
        filled = {name: fill_slots(values, kept, len(frames)) for name, values in results.items()}
        scores = fill_slots(detected_scores[faces][present], kept, len(frames), empty=0)
        return {**filled, "scores": scores}

    def _run_landmarks(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return in_batches(self._call, images, self.parameters.images_per_call)

    def _call(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        outputs = self.infer("face_landmarks", {"images": images})
        return outputs["landmarks"], outputs["presence_logits"]
