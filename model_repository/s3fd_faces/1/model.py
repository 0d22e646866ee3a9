"""Finds faces as the original Wav2Lip does, with the network s3fd."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lipsync_core.checks import check_frames
from lipsync_core.face import fill_slots
from lipsync_core.triton.step import TritonStep
from lipsync_core.wav2lip.s3fd import enlarge_small, find_faces


@dataclass(frozen=True)
class S3fdFacesParameters:
    """Parameters set in config.pbtxt.

    Attributes:
        images_per_call: Images per call of s3fd; at most its max_batch_size. One 1080p frame takes 1.4 GB.
    """

    images_per_call: int


class TritonPythonModel(TritonStep):
    """Find the faces of each frame, best first."""

    Parameters = S3fdFacesParameters

    def run(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        """Detect faces in whole frames at full size.

        Args:
            frames: uint8 RGB [F, H, W, 3].

        Returns:
            boxes, float32 [F, N, 4]; scores, float32 [F, N]. Slots without a face are NaN, with score 0.
        """
        check_frames(frames)
        images = enlarge_small(frames)
        found = []
        for start in range(0, len(images), self.parameters.images_per_call):
            part = images[start : start + self.parameters.images_per_call]
            outputs = self.infer("s3fd", {"images": part})
            found += [
                find_faces(*raw, *part.shape[1:3]) for raw in zip(outputs["logits"], outputs["offsets"], strict=True)
            ]
        frame_indices = np.repeat(np.arange(len(frames)), [len(faces.scores) for faces in found])
        boxes, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return {
            "boxes": fill_slots(boxes, frame_indices, len(frames)),
            "scores": fill_slots(scores, frame_indices, len(frames), empty=0),
        }
