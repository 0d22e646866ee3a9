"""Computes one mouth shape per frame from audio, or passes given shapes on."""

import numpy as np

from lipsync_core.audio.mouth_shapes import mouth_shapes
from lipsync_core.checks import check_rows
from lipsync_core.triton.step import TritonStep


class TritonPythonModel(TritonStep):
    """Compute how far the mouth opens and spreads at each frame."""

    def run(
        self,
        audio: np.ndarray | None = None,
        frame_times: np.ndarray | None = None,
        given_shapes: np.ndarray | None = None,
        face_landmarks: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Compute the shapes, unless they are given.

        Args:
            audio: float32 [S], mono at 16 kHz.
            frame_times: float64 [F], centres of the frames in seconds from the first sample.
            given_shapes: float32 [F, 2], opening and spread, instead of audio.
            face_landmarks: float32 [F, 468, 3], only to check the number of frames.

        Returns:
            mouth_shapes, float32 [F, 2].

        Raises:
            ValueError: Neither shapes nor audio with frame times are given, or row counts differ.
        """
        shapes = self._follow(audio, frame_times) if given_shapes is None else given_shapes
        if face_landmarks is not None:
            check_rows("frame_times" if given_shapes is None else "shapes", shapes, len(face_landmarks))
        return {"mouth_shapes": shapes}

    def _follow(self, audio: np.ndarray | None, frame_times: np.ndarray | None) -> np.ndarray:
        if audio is None or frame_times is None:
            raise ValueError("mouth_shapes: expected shapes, or audio with frame_times, got neither. Send one of them")
        return mouth_shapes(audio, frame_times)
