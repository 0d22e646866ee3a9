"""Computes the target position of the lips for a mouth shape, and how far each lip moves."""

from dataclasses import dataclass

import numpy as np

from lipsync_core.mouth.geometry import (
    COLUMN_PLACES,
    GAP_COLUMNS,
    FloatArray,
    MouthGeometry,
    ramp,
    smoothstep,
)

# Lengths in eye spans unless said otherwise; the numbers are settled by looking (docs/specs/mouth-motion.md).
MAX_GAP_RANGE = (0.12, 0.20)  # gap of a wide-open mouth, limits
MAX_GAP_DEFAULT = 0.15  # where the clip's own mouth never opens
SILENT_GAP = 0.06  # a clip whose mouth opens less than this is of a silent person
CLOSED_OPENING = 0.04  # openings below are closed lips
OPENING_LIMIT = 1.15
WIDER_SPREAD, NARROWER_ROUND, NARROWER_OPEN = 0.07, 0.11, 0.04  # width per unit of shape
WIDTH_SHARE = 0.6  # of the way from the frame's own width to the wanted one
WIDTH_LIMITS = (0.88, 1.10)  # times the frame's own width
OPENING_PROFILE = (1 - COLUMN_PLACES**2) ** np.float32(0.8)  # added opening from corner to corner
UPPER_SHARE_OPENING = 0.25  # of the added opening: the jaw does the rest
CLOSED_SAG = 0.006  # closed lips hang this much under the line between the corners
UPPER_SHARE_CLOSING = (0.08, 0.55)  # of the closed amount: least, and most for a mouth that is hardly open
UPPER_SHARE_WIDE = 0.42  # most for a mouth that is wide open
WIDE_GAP = 0.20
LIP_TUCK = 0.010  # the lips' edges are tucked in this far: landmarks run a little inside the filmed gap, over teeth
TUCK_GAP = 0.03  # full tuck from this filmed gap on
INTERIOR_FADE = 0.004  # the inside is repainted when the gap changes by this much
YAW_FULL, YAW_NONE = 35.0, 45.0  # degrees: the motion fades out between them


@dataclass(frozen=True)
class MouthTarget:
    """The lips as they should be, in the local frame of the mouth's geometry."""

    upper: FloatArray  # [65], local y
    lower: FloatArray  # [65]
    upper_shift: FloatArray  # [65], how far the upper lip moves down
    lower_shift: FloatArray  # [65], how far the lower lip moves down
    corner_shift: float  # how far each corner moves outward
    half_width: float
    gap: float
    closing: float  # share of the filmed gap that is closed, 0..1
    interior_opacity: float  # 0 where the mouth stays as it is


def opening_gaps(openings: FloatArray, max_gap: float) -> FloatArray:
    """Convert openings, 0 to 1.15, to gaps in eye spans, float32 [...] -> float32 [...]."""
    return max_gap * np.clip((openings - CLOSED_OPENING) / (1 - CLOSED_OPENING), 0, OPENING_LIMIT)


def wide_gap(gaps: FloatArray) -> float:
    """Estimate the gap of the speaker's wide-open mouth from gaps in the clip, float32 [N], in eye spans."""
    if len(gaps) == 0 or (own := float(np.percentile(gaps, 95))) <= SILENT_GAP:
        return MAX_GAP_DEFAULT
    return float(np.clip(own, *MAX_GAP_RANGE))


def motion_strength(geometry: MouthGeometry) -> float:
    """Return the share of the motion for a head turned this far, from 1 (facing) to 0 (turned away)."""
    return 1 - ramp((abs(geometry.yaw) - YAW_FULL) / (YAW_NONE - YAW_FULL))


def mouth_target(
    geometry: MouthGeometry,
    opening: float,
    spread: float,
    max_gap: float,
    width: float,
    strength: float = 1.0,
) -> MouthTarget:
    """Place the lips for a mouth shape.

    Args:
        geometry: the mouth as filmed.
        opening: 0..1.15.
        spread: -1..1.
        max_gap: gap at opening 1, eye spans.
        width: the speaker's usual width of the mouth, eye spans.
        strength: share of the motion that is done, 0..1.
    """
    span = geometry.eye_span
    wanted_gap = span * float(opening_gaps(np.array(opening, np.float32), max_gap))
    wanted_gap = geometry.gap + strength * (wanted_gap - geometry.gap)
    change = wanted_gap - geometry.gap
    upper_shift, lower_shift = _close(geometry, wanted_gap) if change < 0 else _open(change)
    corner_shift = strength * _corner_shift(geometry, opening, spread, width)
    upper, lower = geometry.upper + upper_shift, geometry.lower + lower_shift
    opacity = ramp(abs(change) / (INTERIOR_FADE * span))
    tuck = opacity * _tuck(geometry)
    return MouthTarget(
        upper=upper,
        lower=lower,
        upper_shift=upper_shift + tuck,
        lower_shift=lower_shift - tuck,
        corner_shift=corner_shift,
        half_width=geometry.half_width + corner_shift,
        gap=float((lower - upper)[GAP_COLUMNS].mean()),
        closing=max(-change, 0.0) / max(geometry.gap, 1e-3),
        interior_opacity=opacity,
    )


def _tuck(geometry: MouthGeometry) -> FloatArray:
    """How far each lip moves over the gap's edge, so that filmed teeth do not line the new gap; [65]."""
    span = geometry.eye_span
    return LIP_TUCK * span * smoothstep((geometry.lower - geometry.upper) / (TUCK_GAP * span))


def _corner_shift(geometry: MouthGeometry, opening: float, spread: float, width: float) -> float:
    own = geometry.relative_width
    stretch = WIDER_SPREAD * max(spread, 0) + NARROWER_ROUND * min(spread, 0) - NARROWER_OPEN * opening
    wanted = own + WIDTH_SHARE * (width * (1 + stretch) - own)
    limited = float(np.clip(wanted, own * WIDTH_LIMITS[0], own * WIDTH_LIMITS[1]))
    return (limited - own) * geometry.eye_span / 2


def _open(change: float) -> tuple[FloatArray, FloatArray]:
    added = np.float32(change) * OPENING_PROFILE
    return -UPPER_SHARE_OPENING * added, (1 - UPPER_SHARE_OPENING) * added


def _close(geometry: MouthGeometry, wanted_gap: float) -> tuple[FloatArray, FloatArray]:
    """Every column closes in proportion; the upper lip seeks the line between the corners."""
    remaining = wanted_gap / max(geometry.gap, 1e-3)
    closed = (geometry.lower - geometry.upper) * np.float32(1 - remaining)
    corners = np.linspace(geometry.upper[0], geometry.upper[-1], len(closed), dtype=np.float32)
    rest_line = corners + np.float32(CLOSED_SAG * geometry.eye_span) * OPENING_PROFILE
    wideness = ramp(geometry.relative_gap / WIDE_GAP)
    most = UPPER_SHARE_CLOSING[1] + (UPPER_SHARE_WIDE - UPPER_SHARE_CLOSING[1]) * wideness
    drop = (1 - remaining) * (rest_line - geometry.upper)
    upper_shift = np.clip(drop, UPPER_SHARE_CLOSING[0] * closed, most * closed).astype(np.float32)
    return upper_shift, upper_shift - closed
