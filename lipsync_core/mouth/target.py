"""Where the lips of one picture are to go, and how far each of their points moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lipsync_core.mouth.contour import wanted_lips
from lipsync_core.mouth.geometry import (
    COLUMN_PLACES,
    GAP_COLUMNS,
    LOWER_INNER,
    LOWER_OUTER,
    UPPER_INNER,
    UPPER_OUTER,
    FloatArray,
    MouthGeometry,
    ramp,
    resampled,
    smoothstep,
    uncrossed,
)
from lipsync_core.mouth.lips import LIPS, head_poses

# Lengths in eye spans unless said otherwise; the numbers are settled by looking (docs/specs/mouth-motion.md).
LIP_TUCK = 0.014  # the lips' edges are tucked in this far: landmarks run a little inside the filmed gap, over teeth
CORNER_TUCK = 0.014  # and so much further at the corners of a wide mouth that closes
TUCK_GAP = 0.03  # full tuck from this filmed gap on
TUCK_COLUMNS = 10  # to both sides
CHIN_SHARE = 0.75  # of how far the lower lip moves away from the upper one
OUTER = [LIPS.index(point) for point in (*UPPER_OUTER, *LOWER_OUTER[1:-1])]
CONTOURS = [
    [LIPS.index(point) for point in contour] for contour in (UPPER_INNER, LOWER_INNER, UPPER_OUTER, LOWER_OUTER)
]
MIDDLE_POINTS = slice(4, 7)  # of a contour
YAW_FULL, YAW_NONE = 35.0, 45.0  # degrees: the motion fades out between them


@dataclass(frozen=True)
class MouthTarget:
    """The lips as they should be, in the local frame of the mouth's geometry.

    Attributes:
        outer: float32 [20, 2], points of the outer contour.
        outer_moves: float32 [20, 2], how far they move.
        centre_x, half_width: middle and half the width of the inner lips.
        upper, lower, upper_outer, lower_outer: float32 [65], local y of the contours from corner to corner.
        upper_moves, lower_moves: float32 [65, 2], how far the inner contours move.
        corner: Place of the outer corners, in half widths; 1 is the inner corners' place.
        jaw: How far the chin moves down.
        gap: Distance between the lips.
        interior_opacity: How much of the new mouth's inside is shown; 0 leaves the filmed one.
    """

    outer: FloatArray
    outer_moves: FloatArray
    centre_x: float
    half_width: float
    upper: FloatArray
    lower: FloatArray
    upper_outer: FloatArray
    lower_outer: FloatArray
    upper_moves: FloatArray
    lower_moves: FloatArray
    corner: float
    jaw: float
    gap: float
    interior_opacity: float


def motion_strength(geometry: MouthGeometry) -> float:
    """Return the share of the motion for a head turned this far, from 1 (facing) to 0 (turned away)."""
    return 1 - ramp((abs(geometry.yaw) - YAW_FULL) / (YAW_NONE - YAW_FULL))


def lip_moves(landmarks: FloatArray, template: FloatArray, shapes: FloatArray) -> FloatArray:
    """Compute how far lips move in pictures: the filmed mouth's own motion is taken out, and the wanted one put in.

    Args:
        landmarks: float32 [N, 468, 3], in pixels.
        template: float [468, 3], the speaker's face from the front, with the mean mouth in speech.
        shapes: float32 [N, 7].

    Returns:
        float32 [N, 40, 2], pixels.
    """
    poses = head_poses(landmarks, template)
    filmed = poses.to_template(landmarks[:, list(LIPS)].astype(np.float64))[..., :2]
    wanted = wanted_lips(template[list(LIPS), :2].astype(np.float64), shapes)
    return poses.to_image(wanted - filmed).astype(np.float32)


def mouth_target(geometry: MouthGeometry, landmarks: FloatArray, moves: FloatArray, strength: float) -> MouthTarget:
    """Place the lips.

    Args:
        geometry: The mouth as filmed.
        landmarks: float32 [468, 3], in pixels.
        moves: float32 [40, 2], how far the lips move, in pixels.
        strength: Share of the motion that is done, 0 to 1.
    """
    filmed = np.stack(geometry.to_local(*landmarks[list(LIPS), :2].T), axis=1)
    moves = strength * (moves @ geometry.rotation.T)
    placed = filmed + moves
    corners = [placed[LIPS.index(point), 0] for point in (UPPER_INNER[0], UPPER_INNER[-1])]
    half_width, centre_x = max((corners[1] - corners[0]) / 2, 1.0), (corners[0] + corners[1]) / 2
    places = (placed[:, 0] - centre_x) / half_width
    upper, lower, upper_outer, lower_outer = (resampled(places[at], placed[at, 1]) for at in CONTOURS)
    upper, lower = uncrossed(upper, lower)
    upper_moves, lower_moves = (
        np.stack([resampled(places[at], moves[at, axis]) for axis in (0, 1)], axis=1) for at in CONTOURS[:2]
    )
    gap = float((lower - upper)[GAP_COLUMNS].mean())
    tuck = strength * _tuck(geometry, gap)
    upper_moves[:, 1] += tuck
    lower_moves[:, 1] -= tuck
    uppers, lowers = (moves[CONTOURS[i], 1][MIDDLE_POINTS].mean() for i in (2, 3))
    return MouthTarget(
        outer=placed[OUTER].astype(np.float32),
        outer_moves=moves[OUTER].astype(np.float32),
        centre_x=float(centre_x),
        half_width=float(half_width),
        upper=upper,
        lower=lower,
        upper_outer=np.minimum(upper_outer, upper),
        lower_outer=np.maximum(lower_outer, lower),
        upper_moves=upper_moves,
        lower_moves=lower_moves,
        corner=float(np.abs(places[OUTER]).max()),
        jaw=CHIN_SHARE * float(lowers - uppers),
        gap=gap,
        interior_opacity=ramp(strength),
    )


def _tuck(geometry: MouthGeometry, wanted_gap: float) -> FloatArray:
    """How far each lip moves over the gap's edge, so that filmed teeth and dark corners do not line the new gap; [65].

    A column counts as open as the widest one near it: landmarks end before the dark corners of a wide mouth.
    """
    span = geometry.eye_span
    gaps = np.pad(geometry.lower - geometry.upper, TUCK_COLUMNS, mode="edge")
    widest = sliding_window_view(gaps, 2 * TUCK_COLUMNS + 1).max(axis=1)
    closing = 1 - ramp(wanted_gap / max(geometry.gap, 1.0))
    depth = LIP_TUCK + CORNER_TUCK * closing * COLUMN_PLACES**4
    return np.asarray(depth * span * smoothstep(widest / (TUCK_GAP * span)), np.float32)
