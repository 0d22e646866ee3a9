"""Lips in a fixed pose and scale: what speech does to them, without the motion of the head.

Lengths are in distances of the outer eye corners; x points right in the image, y down the face.

Source: docs/specs/truth.md, "Lips".
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lipsync_core.mouth.geometry import (
    CHIN,
    LEFT_EYE,
    LOWER_INNER,
    LOWER_OUTER,
    RIGHT_EYE,
    UPPER_INNER,
    UPPER_OUTER,
)

# Points that speech hardly moves: eye corners, brows, bridge and tip of the nose, temples.
EYE_CORNERS = (33, 133, 362, 263)
BROWS = (70, 63, 105, 66, 107, 300, 293, 334, 296, 336)
NOSE = (168, 6, 197, 195, 5, 4, 1)
TEMPLES = (21, 162, 127, 251, 389, 356)
STEADY = (*EYE_CORNERS, *BROWS, *NOSE, *TEMPLES)
FOREHEAD = 10  # middle of its upper edge

LIPS = (*UPPER_OUTER, *LOWER_OUTER[1:-1], *UPPER_INNER, *LOWER_INNER[1:-1])  # 40 points
GAPS = ((82, 87), (13, 14), (312, 317))  # upper and lower point of the three middle inner pairs
CORNERS = (UPPER_OUTER[0], UPPER_OUTER[-1])
TEMPLATE_ROUNDS = 2  # a third moves no lip by a thousandth

_UPPER_GAPS = [LIPS.index(upper) for upper, _ in GAPS]
_LOWER_GAPS = [LIPS.index(lower) for _, lower in GAPS]
_CORNERS = [LIPS.index(corner) for corner in CORNERS]


def frontal_template(landmarks: np.ndarray) -> np.ndarray:
    """Average a clip's face and turn it to the front.

    Args:
        landmarks: float [F, 468, 3], of one person; NaN in frames without a face.

    Returns:
        float64 [468, 3]: the median face, its outer eye corners level, 1 apart and centred on the origin, its
        forehead straight above its chin.

    Raises:
        ValueError: no frame has a face.
    """
    seen = landmarks[np.isfinite(landmarks).all(axis=(1, 2))].astype(np.float64)
    if not len(seen):
        raise ValueError("landmarks: expected at least one frame with a face, got none")
    template = seen[len(seen) // 2]
    for _ in range(TEMPLATE_ROUNDS):
        template = _to_front(np.median(align(seen, template), axis=0))
    return template


class HeadPoses(NamedTuple):
    """Similarities that put faces onto a template: `(points - centres) @ turns * scales + middle`.

    Attributes:
        centres: float64 [F, 1, 3], of each face's steady points.
        turns: float64 [F, 3, 3], rotations.
        scales: float64 [F].
        middle: float64 [3], of the template's steady points.
    """

    centres: np.ndarray
    turns: np.ndarray
    scales: np.ndarray
    middle: np.ndarray

    def to_template(self, points: np.ndarray) -> np.ndarray:
        """Put points onto the template, float64 [F, P, 3] -> float64 [F, P, 3]."""
        return (points - self.centres) @ self.turns * self.scales[:, None, None] + self.middle

    def to_image(self, moves: np.ndarray) -> np.ndarray:
        """Return how far points move in the pictures if they move on the template, float64 [F, P, 2] each."""
        return moves @ np.swapaxes(self.turns[:, :2, :2], 1, 2) / self.scales[:, None, None]


def head_poses(landmarks: np.ndarray, template: np.ndarray) -> HeadPoses:
    """Turn, scale and shift each face so that its steady points lie on the template's as well as they can.

    Args:
        landmarks: float [F, 468, 3], without NaN.
        template: float [468, 3].

    Source: Umeyama, "Least-squares estimation of transformation parameters between two point patterns", 1991.
    """
    target = template[list(STEADY)].astype(np.float64)
    points = landmarks[:, list(STEADY)].astype(np.float64)
    centres, middle = points.mean(axis=1, keepdims=True), target.mean(axis=0)
    points = points - centres
    u, stretch, vt = np.linalg.svd(np.swapaxes(points, 1, 2) @ (target - middle))
    stretch[:, 2] *= np.sign(np.linalg.det(u @ vt))  # no reflections
    u[:, :, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    scales = stretch.sum(axis=1) / np.maximum((points**2).sum(axis=(1, 2)), 1e-12)
    return HeadPoses(centres, u @ vt, scales, middle)


def align(landmarks: np.ndarray, template: np.ndarray) -> np.ndarray:
    """Put each face onto the template, by `head_poses`.

    Args:
        landmarks: float [F, 468, 3]; NaN in frames without a face.
        template: float64 [468, 3].

    Returns:
        float64 [F, 468, 3]; NaN in frames without a face.
    """
    aligned = np.full(landmarks.shape, np.nan)
    seen = np.isfinite(landmarks).all(axis=(1, 2))
    faces = landmarks[seen].astype(np.float64)
    aligned[seen] = head_poses(faces, template).to_template(faces)
    return aligned


def align_lips(landmarks: np.ndarray, template: np.ndarray) -> np.ndarray:
    """Return the 40 lip points of each face on the template, float64 [F, 40, 2]; NaN without a face."""
    return align(landmarks, template)[:, list(LIPS), :2]


def openings(lips: np.ndarray) -> np.ndarray:
    """Measure the mean gap of the three middle inner pairs, float [..., 40, 2] -> float64 [...], at least 0."""
    return np.maximum(signed_openings(lips), 0.0)


def signed_openings(lips: np.ndarray) -> np.ndarray:
    """Measure openings that are negative where lips cross, float [..., 40, 2] -> float64 [...]."""
    return np.asarray((lips[..., _LOWER_GAPS, 1] - lips[..., _UPPER_GAPS, 1]).mean(axis=-1))


def widths(lips: np.ndarray) -> np.ndarray:
    """Measure the distance of the outer corners, float [..., 40, 2] -> float64 [...]."""
    left, right = (lips[..., corner, :] for corner in _CORNERS)
    return np.linalg.norm(right - left, axis=-1)


def _to_front(face: np.ndarray) -> np.ndarray:
    """Turn, scale and shift a face, float64 [468, 3], to where a template is."""
    across = face[RIGHT_EYE] - face[LEFT_EYE]
    span = float(np.linalg.norm(across))
    x = across / max(span, 1e-12)
    down = face[CHIN] - face[FOREHEAD]
    y = down - x * (down @ x)
    y /= max(float(np.linalg.norm(y)), 1e-12)
    axes = np.stack([x, y, np.cross(x, y)])
    return (face - (face[RIGHT_EYE] + face[LEFT_EYE]) / 2) @ axes.T / max(span, 1e-12)
