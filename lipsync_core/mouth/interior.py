"""The interior of a mouth: taken from another frame, or painted."""

from dataclasses import dataclass

import cv2
import numpy as np

from lipsync_core.mouth.geometry import (
    FloatArray,
    MouthGeometry,
    mouth_geometry,
    ramp,
    sample_curve,
    smoothstep,
)
from lipsync_core.mouth.warp import Image, Opening

# Lengths in eye spans unless said otherwise; the numbers are settled by looking (docs/specs/mouth-motion.md).
LIP_POINTS = (17, 84, 314, 85, 315, 16)  # face mesh, middle of the lower lip
CHEEK_POINTS = (50, 280, 101, 330, 117, 346)
LUMA = np.array([0.30, 0.59, 0.11], np.float32)

TEETH_DEPTH, TEETH_SHARE = 0.06, 0.6  # a donor's upper part is not stretched: this deep, at most this share of its gap
DONOR_INSET_X, DONOR_INSET_Y = 0.97, 0.012  # excludes the donor's own lips
UPPER_SHADE, UPPER_SHADE_DEPTH = 0.30, 0.014  # the upper lip's shadow
LOWER_SHADE, LOWER_SHADE_DEPTH = 0.25, 0.012
LIGHT_TINT = np.array([0.75, 1.0, 1.0], np.float32)  # exponents: light between the lips turns red as it gets darker
DIM_LEAST, DIM_GAP = 0.45, 0.055  # a narrow gap lets little light in

CAVITY_TINT = (0.36, 0.24, 0.23)  # RGB, times the lip's colour
CAVITY_MIN, CAVITY_MAX = (16, 9, 9), (90, 60, 60)
TONGUE_TINT = (0.70, 0.58, 0.58)
TOOTH_TINT, TOOTH_SKIN_SHARE = (0.98, 0.965, 0.92), 0.45  # times the cheeks' luma; share of their tint
TOOTH_HEIGHT, TOOTH_EDGE = 0.046, 0.016
TEETH_OPACITY, TONGUE_OPACITY = 0.92, 0.80
TEETH_GAP, TONGUE_GAP = (0.012, 0.052), (0.06, 0.14)  # teeth and tongue appear between these gaps


@dataclass(frozen=True)
class DonorInterior:
    """The interior of an open mouth from another frame of the clip."""

    frame: Image
    geometry: MouthGeometry

    def paint(self, opening: Opening, eye_span: float) -> FloatArray:
        """Attach the donor's teeth to the upper lip, and crop or stretch deeper rows. Returns float32 [h, w, 3]."""
        donor, scale = self.geometry, self.geometry.eye_span / eye_span
        inset = DONOR_INSET_Y * donor.eye_span
        top = sample_curve(donor.upper, opening.place) + inset
        donor_gap = np.maximum(sample_curve(donor.lower, opening.place) - inset - top, 1.0)
        depth = _donor_depth(opening.below_upper * scale, opening.gap * scale, donor_gap, donor.eye_span)
        x = donor.centre_x + DONOR_INSET_X * donor.half_width * opening.place
        source_x, source_y = donor.to_image(x, top + np.clip(depth, 0, donor_gap))
        colour = cv2.remap(self.frame, source_x, source_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(
            np.float32
        )
        relative_gap = np.maximum(opening.gap, 0) / eye_span
        light = DIM_LEAST + (1 - DIM_LEAST) * smoothstep(relative_gap / DIM_GAP)
        under_lip = np.exp(-np.square(opening.below_upper / (UPPER_SHADE_DEPTH * eye_span)))
        light = light * (1 - UPPER_SHADE * under_lip) * _lower_light(opening, eye_span)
        return colour * light[..., None] ** LIGHT_TINT


@dataclass(frozen=True)
class PaintedInterior:
    """A painted interior: dark cavity, upper teeth, tongue; for clips that never show the real one."""

    cavity: FloatArray  # RGB
    teeth: FloatArray
    tongue: FloatArray

    def paint(self, opening: Opening, eye_span: float) -> FloatArray:
        """Paint cavity, then tongue, then teeth. Returns float32 [h, w, 3]."""
        relative_gap = opening.middle_gap / eye_span
        depth = np.clip(opening.below_upper / np.maximum(opening.gap, 1.0), 0, 1)
        colour = self.cavity * (1.05 - 0.45 * np.sin(np.pi * (0.1 + 0.9 * depth)))[..., None]
        colour = _cover(colour, *self._tongue(opening, depth, relative_gap))
        colour = _cover(colour, *self._teeth(opening, eye_span, relative_gap))
        light = _lower_light(opening, eye_span) * (0.55 + 0.45 * ramp(relative_gap / 0.05))
        return colour * light[..., None]

    def _tongue(self, opening: Opening, depth: FloatArray, gap: float) -> tuple[FloatArray, FloatArray]:
        sides = smoothstep((1 - np.abs(opening.place) / 0.8) / 0.6)
        shown = TONGUE_OPACITY * ramp((gap - TONGUE_GAP[0]) / (TONGUE_GAP[1] - TONGUE_GAP[0]))
        opacity = smoothstep((depth - 0.5) / 0.5) * sides * shown
        return self.tongue * (0.75 + 0.25 * depth)[..., None], opacity

    def _teeth(self, opening: Opening, span: float, gap: float) -> tuple[FloatArray, FloatArray]:
        place, below = opening.place, opening.below_upper
        height = TOOTH_HEIGHT * span * np.sqrt(np.clip(1 - np.square(place / 0.95), 0, 1))
        shown = TEETH_OPACITY * ramp((gap - TEETH_GAP[0]) / (TEETH_GAP[1] - TEETH_GAP[0]))
        edge = smoothstep((height - below) / (TOOTH_EDGE * span) + 0.5)
        opacity = edge * smoothstep((0.93 - np.abs(place)) / 0.30) * shown
        between = np.exp(-np.square((np.abs((place * 5.5) % 1 - 0.5) - 0.5) / 0.05))  # 11 teeth across
        shade = (0.62 + 0.38 * smoothstep(below / (0.03 * span))) * (1 - 0.55 * np.square(place))
        return self.teeth * (shade * (1 - 0.06 * between))[..., None], opacity


def donor_interior(frame: Image, landmarks: FloatArray) -> DonorInterior:
    """Take the interior of an open mouth from a frame, uint8 RGB [h, w, 3], with landmarks, float32 [468, 3]."""
    return DonorInterior(np.ascontiguousarray(frame), mouth_geometry(landmarks))


def painted_interior(frame: Image, landmarks: FloatArray) -> PaintedInterior:
    """Derive a painted interior's colours from lips and cheeks.

    Args:
        frame: uint8 RGB [H, W, 3].
        landmarks: float32 [468, 3], in pixels.
    """
    lip = np.median([_colour_at(frame, landmarks[i], 2) for i in LIP_POINTS], axis=0)
    cheeks = np.array([_colour_at(frame, landmarks[i], 3) for i in CHEEK_POINTS])
    skin = cheeks[np.argsort(cheeks.sum(axis=1))[-3:]].mean(axis=0)  # the brighter side
    tint = 1 + TOOTH_SKIN_SHARE * (skin / max(skin.mean(), 1.0) - 1)
    teeth = np.clip(skin @ LUMA * tint * TOOTH_TINT, 30, 238)
    return PaintedInterior(
        cavity=np.clip(lip * CAVITY_TINT, CAVITY_MIN, CAVITY_MAX).astype(np.float32),
        teeth=teeth.astype(np.float32),
        tongue=np.clip(lip * TONGUE_TINT, 20, 200).astype(np.float32),
    )


def _colour_at(frame: Image, point: FloatArray, reach: int) -> FloatArray:
    """Return the mean colour around a landmark, or of the nearest pixels if it is outside the frame."""
    height, width = frame.shape[:2]
    x, y = (round(float(np.clip(point[i], 0, edge - 1))) for i, edge in ((0, width), (1, height)))
    patch = frame[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
    return np.asarray(patch.reshape(-1, 3).mean(axis=0), np.float32)


def _donor_depth(below: FloatArray, gap: FloatArray, donor_gap: FloatArray, span: float) -> FloatArray:
    """Map a depth below the target's upper lip to a depth below the donor's, both in the donor's pixels."""
    rigid = np.minimum(TEETH_DEPTH * span, TEETH_SHARE * donor_gap)
    stretch = np.where(gap > donor_gap, (donor_gap - rigid) / np.maximum(gap - rigid, 1.0), 1.0)
    depth: FloatArray = np.where(below < rigid, below, rigid + (below - rigid) * stretch)
    return depth


def _lower_light(opening: Opening, span: float) -> FloatArray:
    return 1 - LOWER_SHADE * np.exp(-np.square(opening.above_lower / (LOWER_SHADE_DEPTH * span)))


def _cover(below: FloatArray, above: FloatArray, opacity: FloatArray) -> FloatArray:
    return below + (above - below) * opacity[..., None]
