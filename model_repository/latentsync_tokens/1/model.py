"""Gathers the audio tokens of each face from audio, features or tokens."""

from __future__ import annotations

import numpy as np

from lipsync_core.checks import check_finite, check_rows
from lipsync_core.latentsync import windows
from lipsync_core.latentsync.alignment import has_face
from lipsync_core.triton.step import TritonStep


class TritonPythonModel(TritonStep):
    """Gather each face's audio tokens; only raw audio needs a network."""

    def run(
        self,
        affine_matrices: np.ndarray,
        audio: np.ndarray | None = None,
        audio_features: np.ndarray | None = None,
        audio_positions: np.ndarray | None = None,
        audio_tokens: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Start from the tokens if given, else the features, else the audio.

        Args:
            affine_matrices: float32 [F, 2, 3]; NaN for frames without a face.
            audio: float32 [S], mono at 16 kHz, all of it.
            audio_features: float32 [N, 5, 384].
            audio_positions: int32 [F], each frame's position in the features; 25 fps if left out.
            audio_tokens: float32 [F, 50, 384].

        Returns:
            face_tokens, float32 [faces, 50, 384].

        Raises:
            ValueError: No audio is given, row counts differ, or a value is not finite.
        """
        frame_count = len(affine_matrices)
        if audio_tokens is None:
            audio_tokens = self._gather(frame_count, audio, audio_features, audio_positions)
        check_rows("audio_tokens", audio_tokens, frame_count)
        check_finite("audio_tokens", audio_tokens)
        return {"face_tokens": audio_tokens[has_face(affine_matrices)]}

    def _gather(
        self, frame_count: int, audio: np.ndarray | None, features: np.ndarray | None, positions: np.ndarray | None
    ) -> np.ndarray:
        if positions is None:
            positions = np.array([windows.frame_position(index) for index in range(frame_count)], np.int32)
        check_rows("audio_positions", positions, frame_count)
        if features is None:
            if audio is None:
                raise ValueError("audio: expected audio, audio_features or audio_tokens, got none. Send one of them")
            features = self.infer("whisper_features", {"audio": audio})["audio_features"]
        return windows.audio_tokens(features, positions)
