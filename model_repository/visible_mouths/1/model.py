"""Judges whether the mouths of frames can be seen, and so be changed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lipsync_core.mouth import mouth_windows, visible_mouths
from lipsync_core.triton.picture_step import PictureStep


@dataclass(frozen=True)
class VisibleMouthsParameters:
    """Parameters set in config.pbtxt.

    Attributes:
        images_per_call: Images per call of mouth_cover; at most its max_batch_size.
    """

    images_per_call: int


class TritonPythonModel(PictureStep):
    """Judge how much of a new mouth may be shown in each frame."""

    Parameters = VisibleMouthsParameters

    def run(
        self, frames: np.ndarray, face_landmarks: np.ndarray, mouth_colours: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Judge the mouths of a chunk of frames.

        Args:
            frames: uint8 RGB [F, H, W, 3].
            face_landmarks: float32 [F, 468, 3]; NaN for frames without a face.
            mouth_colours: float32 [2, 16, 3], how the lower face usually looks.

        Returns:
            mouth_strengths, float32 [F], 1 to 0; mouth_reasons, int32 [F], see `lipsync_core.reasons`.
        """
        visible = visible_mouths(frames, face_landmarks, mouth_colours, self._cover_logits)
        return {"mouth_strengths": visible.strengths, "mouth_reasons": visible.reasons}

    def _cover_logits(self, frames: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """Return the logits that mouths are covered, float32 [F], of frames that have a face."""
        images, places = mouth_windows(frames, landmarks)
        size = self.parameters.images_per_call
        parts = [slice(start, start + size) for start in range(0, len(images), size)]
        calls = (self.infer("mouth_cover", {"images": images[part], "places": places[part]}) for part in parts)
        return np.concatenate([outputs["cover_logits"] for outputs in calls])[:, 0]
