"""Base class of the Python models that work on pictures. Imports OpenCV, which other models do not need."""

from __future__ import annotations

import cv2

from lipsync_core.triton.step import TritonStep


class PictureStep(TritonStep):
    """Base of a Python model that works on pictures, see `TritonStep`."""

    def setup(self) -> None:
        """Use one thread: other instances and networks need the cores."""
        cv2.setNumThreads(1)
