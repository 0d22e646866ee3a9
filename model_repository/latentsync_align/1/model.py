"""Cuts faces out of frames, as LatentSync's networks take them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from lipsync_core import face
from lipsync_core.latentsync.alignment import affine_matrices, align_faces, crop_size, has_face, running_bias
from lipsync_core.latentsync.mask import LATENT_STRIDE
from lipsync_core.latentsync.options import check_frames
from lipsync_core.triton_step import TritonStep


@dataclass(frozen=True)
class LatentSyncAlignParameters:
    """What config.pbtxt sets."""

    resolution: int  # edge of the faces, pixels: 256 for LatentSync 1.5, 512 for 1.6


class TritonPythonModel(TritonStep):
    """Warp one face of each frame upright."""

    Parameters = LatentSyncAlignParameters

    def setup(self) -> None:
        """Keep to one thread; the server runs several instances instead."""
        cv2.setNumThreads(1)
        resolution = self.parameters.resolution
        if resolution % LATENT_STRIDE or not min(crop_size(max(resolution, 0))):
            raise ValueError(f"resolution: expected a positive multiple of {LATENT_STRIDE}, got {resolution}")

    def run(
        self,
        frames: np.ndarray,
        landmarks: np.ndarray | None = None,
        alignment_points: np.ndarray | None = None,
        previous_bias: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Given points count as they are, NaN rows included; without any, the largest face does."""
        check_frames(len(frames), frames.size)
        points = self._find_points(frames, landmarks) if alignment_points is None else alignment_points
        if len(points) != len(frames):
            raise ValueError(f"alignment_points: expected one row for each of {len(frames)} frames, got {len(points)}")
        biases = running_bias(points, previous_bias)
        matrices = affine_matrices(points, biases, self.parameters.resolution)
        seen = has_face(matrices)
        return {
            "faces": align_faces(frames[seen], matrices[seen], self.parameters.resolution),
            "affine_matrices": matrices,
            "smoothing_bias": biases[-1],
        }

    def _find_points(self, frames: np.ndarray, landmarks: np.ndarray | None) -> np.ndarray:
        if landmarks is None:
            landmarks = self.infer("largest_face", {"frames": frames})["face_landmarks"]
        return face.alignment_points(landmarks)
