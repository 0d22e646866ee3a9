"""Crops faces out of frames, upright and square, as LatentSync's networks take them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lipsync_core import face
from lipsync_core.checks import check_frames, check_rows
from lipsync_core.latentsync.alignment import affine_matrices, align_faces, has_face, running_bias
from lipsync_core.latentsync.options import MAX_RESOLUTION, check_chunk_length
from lipsync_core.latentsync.sizes import RESOLUTION_MULTIPLE
from lipsync_core.triton.face_step import FaceStep


@dataclass(frozen=True)
class LatentSyncAlignParameters:
    """Parameters set in config.pbtxt.

    Attributes:
        resolution: Edge length of the faces in pixels; default of requests.
    """

    resolution: int


class TritonPythonModel(FaceStep):
    """Crop one face per frame."""

    Parameters = LatentSyncAlignParameters

    def setup(self) -> None:
        """Use one thread; the server runs several instances instead."""
        super().setup()
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
            landmarks: float32 [F, 468, 3]; NaN for frames without a face. Without any points the largest face is found.
            alignment_points: float32 [F, 3, 2], else those of the landmarks; NaN for frames without a face.
            smoothing_biases: float32 [F, 2]; without them smoothing starts with this chunk.
            resolution: int32 [1], edge length of the faces in pixels.

        Returns:
            faces, uint8 RGB [faces, R, R, 3]; affine_matrices, float32 [F, 2, 3], NaN for frames without a face;
            face_landmarks, float32 [F, 468, 3], NaN where they are not known.

        Raises:
            ValueError: There are no frames or too many, row counts differ, or the resolution is not supported.
        """
        check_frames(frames)
        check_chunk_length(len(frames))
        edge = self.parameters.resolution if resolution is None else _check_resolution(int(resolution[0]))
        if landmarks is None:
            landmarks = self.largest_faces(frames, find=alignment_points is None)
        check_rows("landmarks", landmarks, len(frames))
        points = face.alignment_points(landmarks) if alignment_points is None else alignment_points
        check_rows("alignment_points", points, len(frames))
        biases = running_bias(points) if smoothing_biases is None else smoothing_biases
        check_rows("smoothing_biases", biases, len(frames))
        matrices = affine_matrices(points, biases, edge)
        seen = has_face(matrices)
        faces = align_faces(frames[seen], matrices[seen], edge)
        return {"faces": faces, "affine_matrices": matrices, "face_landmarks": landmarks}


def _check_resolution(resolution: int) -> int:
    if not 1 <= resolution <= MAX_RESOLUTION or resolution % RESOLUTION_MULTIPLE:
        raise ValueError(
            f"resolution: expected a multiple of {RESOLUTION_MULTIPLE} up to {MAX_RESOLUTION} pixels, got {resolution}"
        )
    return resolution
