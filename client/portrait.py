"""The photograph that examples show: an astronaut (NASA, public domain), which scikit-image brings along."""

from __future__ import annotations

import numpy as np

PORTRAIT = (slice(0, 270), slice(90, 360))  # rows and columns of the head and shoulders


def portrait() -> np.ndarray:
    """Return head and shoulders, uint8 RGB [270, 270, 3].

    Raises:
        ModuleNotFoundError: scikit-image is not installed.
    """
    from skimage import data  # noqa: PLC0415  (heavy, and only examples need it)

    picture: np.ndarray = data.astronaut()[PORTRAIT]  # type: ignore[no-untyped-call]
    return picture
