"""Finds faces with the network face_detector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lipsync_core.checks import check_frames
from lipsync_core.face import fill_slots, find_faces, in_batches, largest_faces
from lipsync_core.triton.picture_step import PictureStep


@dataclass(frozen=True)
class DetectFacesParameters:
    """Parameters set in config.pbtxt.

    Attributes:
        max_faces: Most faces per frame.
        images_per_call: Images per call of face_detector; at most its max_batch_size.
    """

    max_faces: int
    images_per_call: int


class TritonPythonModel(PictureStep):
    """Find the faces of each frame, largest first."""

    Parameters = DetectFacesParameters

    def run(self, frames: np.ndarray, every_face: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Detect faces in whole frames, and in tiles of frames where none was found, or of all frames.

        Args:
            frames: uint8 RGB [F, H, W, 3].
            every_face: bool [1], whether all frames are searched in tiles too; not if absent.

        Returns:
            detected_boxes, float32 [F, N, 4]; detected_keypoints, float32 [F, N, 6, 2]; detected_scores, float32
            [F, N]. Slots without a face are NaN, with score 0.
        """
        check_frames(frames)
        thorough = every_face is not None and bool(every_face[0])
        searched = find_faces(frames, self._run_detector, every_face=thorough)
        found = [largest_faces(detections, self.parameters.max_faces) for detections in searched]
        frame_indices = np.repeat(np.arange(len(frames)), [len(detections.scores) for detections in found])
        boxes, keypoints, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return {
            "detected_boxes": fill_slots(boxes, frame_indices, len(frames)),
            "detected_keypoints": fill_slots(keypoints, frame_indices, len(frames)),
            "detected_scores": fill_slots(scores, frame_indices, len(frames), empty=0),
        }

    def _run_detector(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return in_batches(self._call, images, self.parameters.images_per_call)

    def _call(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        outputs = self.infer("face_detector", {"images": images})
        return outputs["regressors"], outputs["logits"]
