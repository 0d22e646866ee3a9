"""Where a speaker's face is, frame by frame, as somebody or something else has found out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from client.tracking.faces import Face
from client.tracking.follow import MIN_OVERLAP
from lipsync_core.fade import eased

FADE_FRAMES = 3  # from the source's mouth to the generated one where boxes begin, and back where they end


@dataclass(frozen=True, eq=False)
class FaceBoxes:
    """The speaker's face in those frames that have one.

    Attributes:
        boxes: number of the source frame, counted from the start of the used part -> float32 [4], (x1, y1, x2, y2) in
            pixels; frames that are not listed do not show the speaker, or the speaker does not speak in them.
        frames: how many frames the used part has, where that is known; else 0.
        silent_boxes: the same for further frames, in which the speaker is in view without speaking.
    """

    boxes: Mapping[int, np.ndarray]
    frames: int = 0
    silent_boxes: Mapping[int, np.ndarray] = field(default_factory=dict)

    def shares(self, indices: np.ndarray) -> np.ndarray:
        """Return how much of a mouth is shown in frames, float32 [F], at int [F] numbers: it fades where boxes end."""
        first, last = self._runs
        run = np.maximum(np.searchsorted(first, indices, side="right") - 1, 0)
        since, left = indices - first[run] + 0.5, last[run] - indices + 0.5
        # the beginning and the end of the video are no borders
        since, left = np.where(first[run] == 0, np.inf, since), np.where(last[run] == self.frames - 1, np.inf, left)
        return eased(np.minimum(since, left) / FADE_FRAMES).astype(np.float32)

    @cached_property
    def _runs(self) -> tuple[np.ndarray, np.ndarray]:
        """First and last frame of each run of frames with a box."""
        listed = np.array(sorted(self.boxes) or [-1])
        breaks = np.flatnonzero(np.diff(listed) > 1)
        return listed[np.append(0, breaks + 1)], listed[np.append(breaks, len(listed) - 1)]

    @property
    def everywhere(self) -> FaceBoxes:
        """The face in all frames that show the speaker, speaking or not."""
        return FaceBoxes({**self.silent_boxes, **self.boxes})

    def pick(self, index: int, faces: list[Face]) -> Face | None:
        """Return the face that is meant among those found in a frame; None if it is not among them."""
        box = self.boxes.get(index)
        if box is None or not faces:
            return None
        meant = Face(box, score=1.0)
        best = max(faces, key=meant.overlap)
        return best if meant.overlap(best) >= MIN_OVERLAP else None
