"""Crops faces out of frames, upright and square, as LatentSync's networks take them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from lipsync_core import face
from lipsync_core.checks import check_frames, check_rows
from lipsync_core.latentsync.alignment import affine_matrices, align_faces, has_face, running_bias
from lipsync_core.latentsync.options import MAX_RESOLUTION, check_chunk_length
from lipsync_core.latentsync.sizes import RESOLUTION_MULTIPLE
from lipsync_core.triton.step import TritonStep


@dataclass(frozen=True)
class LatentSyncAlignParameters:
    """Parameters set in config.pbtxt.

    Attributes:
        resolution: Edge length of the faces in pixels; default of requests.
    """

    resolution: int


class TritonPythonModel(TritonStep):
    """Crop one face per frame."""

    Parameters = LatentSyncAlignParameters

    def setup(self) -> None:
        """Use one thread; the server runs several instances instead."""
        cv2.setNumThreads(1)
        _check_resolution(self.parameters.resolution)

    def run(
        self,
        frames: np.ndarray,
        landmarks: np.ndarray | None = None,
        alignment_points: np.ndarray | None = None,
        smoothing_biases: np.ndarray | None = None,
        resolution: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Crop the face of each frame that has one.

        Args:
            frames: uint8 RGB [F, H, W, 3].
            landmarks: float32 [F, 468, 3]; NaN for frames without a face. Without them the largest face is found.
            alignment_points: float32 [F, 3, 2], instead of landmarks; NaN for frames without a face.
            smoothing_biases: float32 [F, 2]; without them smoothing starts with this chunk.
            resolution: int32 [1], edge length of the faces in pixels.

        Returns:
            faces, uint8 RGB [faces, R, R, 3]; affine_matrices, float32 [F, 2, 3], NaN for frames without a face.

        Raises:
            ValueError: There are no frames or too many, row counts differ, or the resolution is not supported.
        """
        check_frames(frames)
        check_chunk_length(len(frames))
        edge = self.parameters.resolution if resolution is None else _check_resolution(int(resolution[0]))
        points = self._find_points(frames, landmarks) if alignment_points is None else alignment_points
        check_rows("landmarks" if alignment_points is None else "alignment_points", points, len(frames))
        biases = running_bias(points) if smoothing_biases is None else smoothing_biases
        check_rows("smoothing_biases", biases, len(frames))
        matrices = affine_matrices(points, biases, edge)
        seen = has_face(matrices)
        faces = align_faces(frames[seen], matrices[seen], edge)
        return {"faces": faces, "affine_matrices": matrices}

    def _find_points(self, frames: np.ndarray, landmarks: np.ndarray | None) -> np.ndarray:
        if landmarks is None:
            landmarks = self.infer("largest_face", {"frames": frames})["face_landmarks"]
        return face.alignment_points(landmarks)


def _check_resolution(resolution: int) -> int:
    if not 1 <= resolution <= MAX_RESOLUTION or resolution % RESOLUTION_MULTIPLE:
        raise ValueError(
            f"resolution: expected a multiple of {RESOLUTION_MULTIPLE} up to {MAX_RESOLUTION} pixels, got {resolution}"
        )
    return resolution
