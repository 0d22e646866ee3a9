"""What lip-sync did to the picture: errors inside and outside the mouth region, and flicker.

Source: PSNR and SSIM as scikit-image measures them, the latter with the Gaussian window of Wang et al., "Image quality
assessment: from error visibility to structural similarity", 2004; flicker is the warping error of Lai et al.,
"Learning blind video temporal consistency", 2018, with OpenCV's DIS flow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from skimage.metrics import structural_similarity

from lipsync_core.mouth.geometry import mouth_geometry

WHITE = 255
CHANNELS = 3
INSIDE = (1,)
SSIM_SIGMA = 1.5  # pixels
MARGIN = 0.4  # around the lower face, in distances of the eyes: an opening jaw moves the chin and the skin below it
FLOW_PRESET = cv2.DISOPTICAL_FLOW_PRESET_FAST
FLOW_BORDER = 16  # pixels around the mouth region that the optical flow may use


@dataclass
class Tally:
    """Sums over pixels, inside or outside the mouth region."""

    squared_error: float = 0.0
    ssim: float = 0.0
    pixels: int = 0

    def add(self, other: Tally) -> None:
        """Add another tally."""
        self.squared_error += other.squared_error
        self.ssim += other.ssim
        self.pixels += other.pixels

    @property
    def psnr_db(self) -> float | None:
        """Peak signal-to-noise ratio of all pixels together, in dB; infinite if none differs, None without pixels."""
        if not self.pixels:
            return None
        mean = self.squared_error / (self.pixels * CHANNELS)
        return math.inf if mean == 0 else 10 * math.log10(WHITE**2 / mean)

    @property
    def mean_ssim(self) -> float | None:
        """Mean structural similarity; 1 if no pixel differs, None without pixels."""
        return self.ssim / self.pixels if self.pixels else None


def mouth_region(faces: Sequence[np.ndarray], height: int, width: int) -> np.ndarray:
    """Mark the lower face: from the base of the nose down, and a margin around it.

    Args:
        faces: Landmarks of the same face before and after, float32 [468, 3] each; empty without a face.
        height: Height of the frame, in pixels.
        width: Width of the frame, in pixels.

    Returns:
        bool [height, width].
    """
    mask = np.zeros((height, width), np.uint8)
    if faces:
        geometries = [mouth_geometry(landmarks) for landmarks in faces]
        lower = [
            landmarks[geometry.to_local(landmarks[:, 0], landmarks[:, 1])[1] >= geometry.nose_y, :2]
            for landmarks, geometry in zip(faces, geometries, strict=True)
        ]
        hull = cv2.convexHull(np.rint(np.concatenate(lower)).astype(np.int32))
        margin = round(MARGIN * max(geometry.eye_span for geometry in geometries))
        cv2.fillConvexPoly(mask, hull, INSIDE)
        cv2.polylines(mask, [hull], isClosed=True, color=INSIDE, thickness=2 * margin)
    return mask.astype(bool)


def compare(source: np.ndarray, result: np.ndarray, mouth: np.ndarray) -> tuple[Tally, Tally]:
    """Compare two frames.

    Args:
        source: uint8 RGB [H, W, 3].
        result: uint8 RGB [H, W, 3].
        mouth: The mouth region, bool [H, W].

    Returns:
        The sums outside the mouth region, and those inside.
    """
    errors = np.square(source.astype(np.float32) - result).sum(axis=2)
    similar = _similarity(source, result)
    return _tally(errors, similar, ~mouth), _tally(errors, similar, mouth)


def warping_error(before: np.ndarray, after: np.ndarray, mouth: np.ndarray) -> float:
    """Measure how a mouth changes from frame to frame, apart from its motion.

    Args:
        before: A frame, uint8 RGB [H, W, 3].
        after: The next frame, uint8 RGB [H, W, 3].
        mouth: The mouth region, bool [H, W].

    Returns:
        Mean absolute difference, in grey levels, between the second frame and the first one warped along the flow.
    """
    old, new = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (before, after))
    flow = cv2.DISOpticalFlow.create(FLOW_PRESET).calc(new, old, None)  # type: ignore[call-overload]
    rows, columns = np.indices(new.shape, np.float32)
    moved = cv2.remap(old, columns + flow[..., 0], rows + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return float(cv2.absdiff(new, moved)[mouth].mean())


def surroundings(mouth: np.ndarray) -> tuple[slice, slice] | None:
    """Return rows and columns of the mouth region, bool [H, W], with a border; None if it is empty."""
    rows, columns = (np.flatnonzero(mouth.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    return tuple(slice(max(0, int(at[0]) - FLOW_BORDER), int(at[-1]) + 1 + FLOW_BORDER) for at in (rows, columns))  # type: ignore[return-value]


def _similarity(source: np.ndarray, result: np.ndarray) -> np.ndarray:
    """Structural similarity of the frames' grey levels, float [H, W]."""
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) for frame in (source, result)]
    _, similar = structural_similarity(  # type: ignore[no-untyped-call]
        *grey, data_range=WHITE, gaussian_weights=True, sigma=SSIM_SIGMA, use_sample_covariance=False, full=True
    )
    return similar


def _tally(errors: np.ndarray, similar: np.ndarray, where: np.ndarray) -> Tally:
    return Tally(
        float(errors[where].sum(dtype=np.float64)), float(similar[where].sum(dtype=np.float64)), int(where.sum())
    )
