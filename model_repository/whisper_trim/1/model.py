"""Joins the encoder's states of consecutive segments to audio features."""

import numpy as np

from lipsync_core.triton.step import TritonStep


class TritonPythonModel(TritonStep):
    """Drop the positions that are padding."""

    def run(self, states: np.ndarray, position_counts: np.ndarray) -> dict[str, np.ndarray]:
        """Join the positions of each segment that are not padding.

        Args:
            states: float32 [segments, 1500, 5, 384].
            position_counts: int32 [segments].

        Returns:
            audio_features, float32 [positions, 5, 384].
        """
        kept = [segment[:count] for segment, count in zip(states, position_counts, strict=True)]
        return {"audio_features": np.concatenate(kept)}
