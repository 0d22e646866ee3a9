"""The interior of a mouth: taken from another frame, or painted."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from lipsync_core.mouth.geometry import (
    LOWER_INNER,
    LOWER_OUTER,
    MIDDLE,
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
MATCHED_POINTS = (17, 84, 314, 0, 37, 267, 61, 291)  # outer lips, and corners
CHEEK_POINTS = (50, 280, 101, 330, 117, 346)
PATCH = np.stack(np.meshgrid(np.arange(-2, 3), np.arange(-2, 3)), axis=-1).reshape(1, -1, 2)  # pixels
LUMA = np.array([0.30, 0.59, 0.11], np.float32)

DONOR_INSET_X, DONOR_INSET_Y = 0.94, 0.014  # excludes the donor's own lips
UPPER_PART, LOWER_BLEND = 0.40, 0.45  # of the gap: what hangs from the upper lip, then it turns into the lower part
COVERED_SHARE = 0.4  # of a donor's gap: the upper lip covers at most so much of it by coming down
MOST_STRETCH, BEHIND_BLEND = 1.25, 0.35  # of a donor; shares of its gap over which the painted inside appears
BEHIND_SOON = 0.1  # further stretch, after which it is shown in full
UPPER_SHADE, UPPER_SHADE_DEPTH = 0.15, 0.016  # the upper lip's shadow
LOWER_SHADE, LOWER_SHADE_DEPTH = 0.10, 0.010
LIGHT_TINT = np.array([0.80, 1.0, 1.0], np.float32)  # exponents: light between the lips turns red as it gets darker
DIM_LEAST, DIM_GAP = 0.65, 0.055  # a narrow gap lets little light in
COLOUR_MATCH = (0.7, 1.4)  # of a donor's colours: how far they follow the frame's light
SHARPER = 1.15  # donors with this many times the frame's detail are blurred
LEAST_BLUR = 0.3  # pixels
DETAIL_ROWS = 9
BLUR = 0.006  # standard deviation, at least so much as warping blurs the lips

CAVITY_TINT = (0.46, 0.30, 0.28)  # RGB, times the lip's colour
CAVITY_MIN, CAVITY_MAX = (16, 9, 9), (90, 60, 60)
TONGUE_TINT = (0.85, 0.70, 0.69)
TOOTH_TINT, TOOTH_SKIN_SHARE = (0.97, 0.94, 0.89), 0.45  # times the cheeks' luma; share of their tint
TOOTH_HEIGHT, TOOTH_EDGE = 0.030, 0.030
TEETH_OPACITY, TONGUE_OPACITY = 0.70, 0.75
TEETH_SIDE, TEETH_SIDE_FADE = 0.80, 0.55  # half widths
TONGUE_TOP, TONGUE_ROUND, TONGUE_SOFTNESS = 0.62, 0.35, 0.35  # shares of the gap
TEETH_GAP, TONGUE_GAP = (0.02, 0.08), (0.05, 0.11)  # teeth and tongue appear between these gaps


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
        sides = 1 - 0.35 * np.square(np.clip(opening.place, -1, 1))
        colour = self.cavity * ((0.8 + 0.35 * depth) * sides)[..., None]
        colour = _cover(colour, *self._tongue(opening, depth, relative_gap))
        colour = _cover(colour, *self._teeth(opening, eye_span, relative_gap))
        light = _lower_light(opening, eye_span) * (0.7 + 0.3 * ramp(relative_gap / 0.05))
        return colour * light[..., None]

    def _tongue(self, opening: Opening, depth: FloatArray, gap: float) -> tuple[FloatArray, FloatArray]:
        """Its top is round, and it lies on the lower lip."""
        shown = TONGUE_OPACITY * ramp((gap - TONGUE_GAP[0]) / (TONGUE_GAP[1] - TONGUE_GAP[0]))
        top = TONGUE_TOP + TONGUE_ROUND * np.square(opening.place)
        opacity = smoothstep((depth - top) / TONGUE_SOFTNESS + 0.5) * shown
        return self.tongue * (0.70 + 0.25 * depth)[..., None], opacity

    def _teeth(self, opening: Opening, span: float, gap: float) -> tuple[FloatArray, FloatArray]:
        """The upper front teeth, in the lip's shadow, fading into the dark at the sides."""
        place, below = opening.place, opening.below_upper
        height = TOOTH_HEIGHT * span * np.sqrt(np.clip(1 - np.square(place / 0.95), 0, 1))
        shown = TEETH_OPACITY * ramp((gap - TEETH_GAP[0]) / (TEETH_GAP[1] - TEETH_GAP[0]))
        edge = smoothstep((height - below) / (TOOTH_EDGE * span) + 0.5)
        opacity = edge * smoothstep((TEETH_SIDE - np.abs(place)) / TEETH_SIDE_FADE) * shown
        between = np.exp(-np.square((np.abs((place * 5.5) % 1 - 0.5) - 0.5) / 0.07))  # 11 teeth across
        shade = (0.55 + 0.45 * smoothstep(below / (0.03 * span))) * (1 - 0.6 * np.square(place))
        return self.teeth * (shade * (1 - 0.10 * between))[..., None], opacity


@dataclass(frozen=True)
class DonorInterior:
    """The interior of an open mouth from another frame of the clip.

    Attributes:
        frame: The donor's picture, as sharp as the frame that it serves.
        geometry: The donor's mouth.
        light: float32 [3], factors that put its colours into the frame's light.
        behind: What is seen where the mouth opens much wider than the donor's.
    """

    frame: Image
    geometry: MouthGeometry
    light: FloatArray
    behind: PaintedInterior

    def paint(self, opening: Opening, eye_span: float) -> FloatArray:
        """Hang its upper part from the upper lip and put its lower part onto the lower lip, float32 [h, w, 3]."""
        donor, scale = self.geometry, self.geometry.eye_span / eye_span
        inset = DONOR_INSET_Y * donor.eye_span
        narrower = min(opening.half_width * scale / (DONOR_INSET_X * donor.half_width), 1.0)
        place = opening.place * np.float32(DONOR_INSET_X * narrower)
        top = sample_curve(donor.upper, place) + inset
        donor_gap = np.maximum(sample_curve(donor.lower, place) - inset - top, 1.0)
        whole_gap = max(donor.gap - 2 * inset, 1.0)
        came_down = opening.upper_y * scale - (float(donor.upper[MIDDLE]) - donor.nose_y)
        covered = float(np.clip(came_down, 0, COVERED_SHARE * whole_gap))
        stretch = opening.middle_gap * scale / whole_gap
        slower = scale / min(max(stretch, 1.0), MOST_STRETCH)
        x = donor.centre_x + donor.half_width * place
        hanging, lying = covered + opening.below_upper * slower, donor_gap - opening.above_lower * slower
        upper, lower = (self._rows(x, top + np.clip(depth, 0, donor_gap)) for depth in (hanging, lying))
        if stretch > MOST_STRETCH:  # behind the donor's teeth there is more to see than it shows
            behind = self.behind.paint(opening, eye_span)
            shown = ramp((stretch / MOST_STRETCH - 1) / BEHIND_SOON)
            deep = smoothstep((hanging / donor_gap - 1) / BEHIND_BLEND + 1)[..., None]
            upper += (behind - upper) * deep * shown
            lower += (behind - lower) * shown
        depth = opening.below_upper / np.maximum(opening.gap, 1.0)
        colour = upper + (lower - upper) * smoothstep((depth - UPPER_PART) / LOWER_BLEND)[..., None]
        relative_gap = np.maximum(opening.gap, 0) / eye_span
        light = DIM_LEAST + (1 - DIM_LEAST) * smoothstep(relative_gap / DIM_GAP)
        under_lip = np.exp(-np.square(opening.below_upper / (UPPER_SHADE_DEPTH * eye_span)))
        light = light * (1 - UPPER_SHADE * under_lip) * _lower_light(opening, eye_span)
        return colour * light[..., None] ** LIGHT_TINT

    def _rows(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Read the donor at local places, float32 [h, w] each -> float32 [h, w, 3]."""
        image_x, image_y = self.geometry.to_image(x, y)
        seen = cv2.remap(self.frame, image_x, image_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(seen, np.float32) * self.light


@dataclass(frozen=True)
class Donor:
    """An open mouth from another picture of the clip.

    Attributes:
        crop: uint8 RGB [h, w, 3].
        geometry: Its mouth, in its pixels.
        colour: float32 [3], of its lips.
        detail: How much brightness changes over its lips.
    """

    crop: Image
    geometry: MouthGeometry
    colour: FloatArray
    detail: float

    def matched(self, frame: Image, landmarks: FloatArray) -> DonorInterior:
        """Put the mouth's inside into a frame's light and sharpness.

        Args:
            frame: uint8 RGB [H, W, 3], the frame that needs it.
            landmarks: float32 [468, 3], in the frame's pixels.
        """
        light = np.clip(_lip_colour(frame, landmarks) / np.maximum(self.colour, 1), *COLOUR_MATCH)
        sharper = self.detail / max(_lip_detail(frame, landmarks), 1e-3)
        sigma = BLUR * self.geometry.eye_span * (1 + min(max(sharper / SHARPER - 1, 0), 1))
        soft = cv2.GaussianBlur(self.crop, (0, 0), sigma) if sigma > LEAST_BLUR else self.crop
        return DonorInterior(np.asarray(soft, np.uint8), self.geometry, light, painted_interior(frame, landmarks))


def open_donor(crop: Image, landmarks: FloatArray) -> Donor:
    """Measure an open mouth in a picture, uint8 RGB [h, w, 3], with landmarks, float32 [468, 3], in its pixels."""
    crop = np.ascontiguousarray(crop)
    return Donor(crop, mouth_geometry(landmarks), _lip_colour(crop, landmarks), _lip_detail(crop, landmarks))


def painted_interior(frame: Image, landmarks: FloatArray) -> PaintedInterior:
    """Derive a painted interior's colours from lips and cheeks.

    Args:
        frame: uint8 RGB [H, W, 3].
        landmarks: float32 [468, 3], in pixels.
    """
    lip = np.median(_colours_at(frame, landmarks, LIP_POINTS), axis=0)
    cheeks = _colours_at(frame, landmarks, CHEEK_POINTS)
    skin = cheeks[np.argsort(cheeks.sum(axis=1))[-3:]].mean(axis=0)  # the brighter side
    tint = 1 + TOOTH_SKIN_SHARE * (skin / max(skin.mean(), 1.0) - 1)
    teeth = np.clip(skin @ LUMA * tint * TOOTH_TINT, 30, 238)
    return PaintedInterior(
        cavity=np.clip(lip * CAVITY_TINT, CAVITY_MIN, CAVITY_MAX).astype(np.float32),
        teeth=teeth.astype(np.float32),
        tongue=np.clip(lip * TONGUE_TINT, 20, 200).astype(np.float32),
    )


def _colours_at(frame: Image, landmarks: FloatArray, points: Sequence[int]) -> FloatArray:
    """Return the mean colours around some landmarks, float32 [P, 3]; outside the frame, of the nearest pixels."""
    places = np.rint(landmarks[list(points), None, :2] + PATCH).astype(np.int32)
    rows, columns = np.clip(places[..., 1], 0, len(frame) - 1), np.clip(places[..., 0], 0, frame.shape[1] - 1)
    return np.asarray(frame[rows, columns].mean(axis=1), np.float32)


def _lip_colour(frame: Image, landmarks: FloatArray) -> FloatArray:
    return np.asarray(_colours_at(frame, landmarks, MATCHED_POINTS).mean(axis=0), np.float32)


def _lip_detail(frame: Image, landmarks: FloatArray) -> float:
    """Return how much brightness changes over the lips on a grid of the same places in every face."""
    lower, inner = (landmarks[list(line[2:-2]), :2] for line in (LOWER_OUTER, LOWER_INNER))
    rows = np.linspace(0, 1, DETAIL_ROWS, dtype=np.float32)[:, None, None]
    places = (inner + rows * (lower - inner)).astype(np.float32)
    seen = cv2.remap(frame, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return float(np.abs(np.diff(seen.astype(np.float32).mean(axis=2), n=2, axis=0)).mean())


def _lower_light(opening: Opening, span: float) -> FloatArray:
    return 1 - LOWER_SHADE * np.exp(-np.square(opening.above_lower / (LOWER_SHADE_DEPTH * span)))


def _cover(below: FloatArray, above: FloatArray, opacity: FloatArray) -> FloatArray:
    return below + (above - below) * opacity[..., None]
