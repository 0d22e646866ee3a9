"""Speech, or shapes that the caller already has, to one mouth shape per frame."""

import numpy as np

from lipsync_core.audio.mouth_shapes import mouth_shapes
from lipsync_core.checks import check_rows
from lipsync_core.triton.step import TritonStep


class TritonPythonModel(TritonStep):
    """Tell how far the mouth opens and spreads at each frame; given shapes pass through."""

    def run(
        self,
        audio: np.ndarray | None = None,
        frame_times: np.ndarray | None = None,
        given_shapes: np.ndarray | None = None,
        face_landmarks: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Follow the speech, unless the caller brings the shapes; one for each frame, where frames are known."""
        shapes = self._follow(audio, frame_times) if given_shapes is None else given_shapes
        if face_landmarks is not None:
            check_rows("frame_times" if given_shapes is None else "shapes", shapes, len(face_landmarks))
        return {"mouth_shapes": shapes}

    def _follow(self, audio: np.ndarray | None, frame_times: np.ndarray | None) -> np.ndarray:
        if audio is None or frame_times is None:
            raise ValueError("mouth_shapes: expected shapes, or audio with frame_times, got neither. Send one of them")
        return mouth_shapes(audio, frame_times)
