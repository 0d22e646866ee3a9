"""Finds faces; the network is the model face_detector."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from lipsync_core.checks import check_frames
from lipsync_core.face import fill_slots, find_faces, in_batches, largest_faces
from lipsync_core.triton.step import TritonStep


@dataclass(frozen=True)
class DetectFacesParameters:
    """What config.pbtxt sets."""

    max_faces: int  # per frame
    images_per_call: int  # at most face_detector's max_batch_size


class TritonPythonModel(TritonStep):
    """Find the faces of each frame, largest first."""

    Parameters = DetectFacesParameters

    def setup(self) -> None:
        """Leave the cores to the other instances and networks."""
        cv2.setNumThreads(1)

    def run(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        """Detect in whole frames, and by tiles in those where nothing was found."""
        check_frames(frames)
        found = [
            largest_faces(detections, self.parameters.max_faces)
            for detections in find_faces(frames, self._run_detector)
        ]
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
