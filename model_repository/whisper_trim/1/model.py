"""The encoder's states of consecutive segments to one row of audio features."""

import numpy as np

from lipsync_core.triton.step import TritonStep


class TritonPythonModel(TritonStep):
    """Drop the positions that a short last segment did not have."""

    def run(self, states: np.ndarray, position_counts: np.ndarray) -> dict[str, np.ndarray]:
        """Keep what counts of each segment."""
        kept = [segment[:count] for segment, count in zip(states, position_counts, strict=True)]
        return {"audio_features": np.concatenate(kept)}
