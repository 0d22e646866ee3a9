"""Says of each frame how much of a new mouth may be shown, and why not all of it. Does not depend on Triton."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lipsync_core.checks import check_rows
from lipsync_core.mouth.cover import lower_face_colours, visibility
from lipsync_core.mouth.geometry import LOWER_OUTER, UPPER_OUTER, FloatArray, ramp
from lipsync_core.reasons import Reason

COVER_LOGITS = (1.6, 2.4)  # visible, covered: the motion fades between them
LEAST_INSIDE = 0.5  # share of the outer lip line that must lie within the picture


class Strengths(NamedTuple):
    """How much of each frame's new mouth is shown.

    Attributes:
        strengths: float32 [F], 1 for all of it to 0 for a frame that stays as it is.
        reasons: int32 [F], a `Reason`; CHANGED where the strength is above 0.
    """

    strengths: FloatArray
    reasons: np.ndarray

    @classmethod
    def full(cls, count: int) -> Strengths:
        """Return full strength for some frames."""
        return cls(np.ones(count, np.float32), np.full(count, Reason.CHANGED, np.int32))

    def lower(self, frame: int, strength: float, reason: Reason) -> None:
        """Multiply one frame's strength by another one, in place; the reason counts if nothing is left."""
        if self.strengths[frame] > 0:
            self.strengths[frame] *= strength
            if self.strengths[frame] == 0:
                self.reasons[frame] = reason

    def or_full(self, unjudged: np.ndarray) -> Strengths:
        """Return full strength for some frames, bool [F], such as those whose face was given without landmarks."""
        return Strengths(
            np.where(unjudged, np.float32(1), self.strengths), np.where(unjudged, np.int32(0), self.reasons)
        )


def visible_mouths(
    frames: np.ndarray,
    landmarks: FloatArray,
    mouth_colours: FloatArray | None = None,
    cover_logits: Callable[[np.ndarray, FloatArray], FloatArray] | None = None,
) -> Strengths:
    """Judge whether each frame's mouth can be seen, and so be changed.

    Args:
        frames: uint8 RGB [F, H, W, 3].
        landmarks: float32 [F, 468, 3], in pixels of the frames; NaN for frames without a face.
        mouth_colours: float32 [2, 16, 3], how the lower face usually looks; None if that is not known.
        cover_logits: Judges from frames and landmarks whether mouths are covered, as the model mouth_cover: float32
            [F]; None to judge by the colours alone.

    Raises:
        ValueError: Row counts differ, or a colour cannot be used.
    """
    check_rows("landmarks", landmarks, len(frames), advice="Match the frames")
    if mouth_colours is not None and not (np.isfinite(mouth_colours).all() and (mouth_colours[1] > 0).all()):
        raise ValueError("mouth_colours: expected finite numbers and positive tolerances. Leave it out")
    found = Strengths.full(len(frames))
    for index, (frame, points) in enumerate(zip(frames, landmarks, strict=True)):
        if not np.isfinite(points).all():
            found.lower(index, 0, Reason.NO_FACE)
        elif _share_inside(frame, points) < LEAST_INSIDE:
            found.lower(index, 0, Reason.OUTSIDE)
        elif mouth_colours is not None:
            found.lower(index, visibility(lower_face_colours(frame, points), mouth_colours), Reason.COVERED)
    seen = np.flatnonzero(found.strengths)
    if cover_logits is not None and len(seen):
        for index, logit in zip(seen.tolist(), cover_logits(frames[seen], landmarks[seen]).tolist(), strict=True):
            found.lower(
                index, 1 - ramp((logit - COVER_LOGITS[0]) / (COVER_LOGITS[1] - COVER_LOGITS[0])), Reason.COVERED
            )
    return found


def _share_inside(frame: np.ndarray, landmarks: FloatArray) -> float:
    """Return the share of the outer lip line within the frame, 0 to 1."""
    lips = landmarks[[*UPPER_OUTER, *LOWER_OUTER], :2]
    return float(((lips >= 0) & (lips <= (frame.shape[1] - 1, frame.shape[0] - 1))).all(axis=1).mean())
