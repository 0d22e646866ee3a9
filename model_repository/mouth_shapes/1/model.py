"""Speech, or shapes that the caller already has, to one mouth shape per frame."""

import numpy as np

from lipsync_core.audio import mouth_shapes
from lipsync_core.triton_step import TritonStep


class TritonPythonModel(TritonStep):
    """Tell how far the mouth opens and spreads at each frame; given shapes pass through."""

    def run(
        self,
        audio: np.ndarray | None = None,
        frame_times: np.ndarray | None = None,
        given_shapes: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Follow the speech, unless the caller brings the shapes."""
        if given_shapes is not None:
            return {"mouth_shapes": given_shapes}
        if audio is None or frame_times is None:
            raise ValueError("mouth_shapes: expected shapes, or audio with frame_times, got neither. Send one of them")
        return {"mouth_shapes": mouth_shapes(audio, frame_times)}
