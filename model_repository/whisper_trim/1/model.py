"""Joins the encoder's states of consecutive segments to audio features."""

import numpy as np

from lipsync_core.triton.step import TritonStep


class TritonPythonModel(TritonStep):
    """Drop the positions that are padding."""

    def run(
        self, states: np.ndarray, position_counts: np.ndarray, normalised_state: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Join the positions of each segment that are not padding.

        Args:
            states: float32 [segments, 1500, 5, 384].
            position_counts: int32 [segments].
            normalised_state: float32 [segments, 1500, 384], the last state after the final norm, which replaces it.

        Returns:
            audio_features, float32 [positions, 5, 384].
        """
        kept = np.concatenate([segment[:count] for segment, count in zip(states, position_counts, strict=True)])
        if normalised_state is not None:
            last = [segment[:count] for segment, count in zip(normalised_state, position_counts, strict=True)]
            kept[:, -1] = np.concatenate(last)
        return {"audio_features": kept}
