"""Makes each frame's audio tokens of speech features, or passes given tokens on."""

import numpy as np

from lipsync_core.checks import check_finite, check_rows
from lipsync_core.musetalk import windows
from lipsync_core.triton.step import TritonStep


class TritonPythonModel(TritonStep):
    """Cut each frame's window out of the features, and add the position table."""

    def run(
        self,
        audio_features: np.ndarray | None = None,
        window_starts: np.ndarray | None = None,
        audio_tokens: np.ndarray | None = None,
        face_boxes: np.ndarray | None = None,
        labels: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Make the tokens, unless they are given.

        Args:
            audio_features: float32 [N, 5, 384]; N may be 0.
            window_starts: int32 [F], each window's first position; positions beyond the features are silence.
            audio_tokens: float32 [F, 50, 384], with their position table, instead of features.
            face_boxes: float32 [F, 4], only to check the number of frames.
            labels: uint8 [F, 512, 512], likewise.

        Returns:
            face_tokens, float32 [F, 50, 384].

        Raises:
            ValueError: Neither tokens nor features with window starts are given, row counts differ, or a value is not
                finite.
        """
        name = "window_starts" if audio_tokens is None else "audio_tokens"
        tokens = self._cut(audio_features, window_starts) if audio_tokens is None else audio_tokens
        check_finite("audio_tokens", tokens)
        for rows in (face_boxes, labels):
            if rows is not None:
                check_rows(name, tokens, len(rows))
        return {"face_tokens": tokens}

    def _cut(self, audio_features: np.ndarray | None, window_starts: np.ndarray | None) -> np.ndarray:
        if audio_features is None or window_starts is None:
            raise ValueError(
                "musetalk_tokens: expected audio_tokens, or audio_features with window_starts, got neither."
                " Send one of them"
            )
        return windows.audio_tokens(audio_features, window_starts)
