"""Moves the lips of one face to a target, and shows the interior of the mouth."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from lipsync_core.mouth.geometry import MIDDLE, FloatArray, MouthGeometry, sample_curve, smoothstep
from lipsync_core.mouth.target import MouthTarget

Image = NDArray[np.uint8]

# Lengths in eye spans unless said otherwise; the numbers are settled by looking (docs/specs/mouth-motion.md).
REGION_HALF_WIDTHS = 1.95  # the changed region reaches this far to both sides, in half mouth widths
REGION_ABOVE_NOSE, REGION_UNDER_CHIN = 0.02, 0.43
LATTICE = 3  # pixels: far from the lips the motion is computed this coarsely
SMALL_FACE = 70  # pixels of eye span: below, every pixel is computed
LIP_BAND = 0.03  # margin around the lips in which every pixel is computed
STILL = 0.03  # pixels: smaller motions are left out and their pixels never written
UPPER_ROOM = 0.98  # of the way from the lip to the nose: the motion has ended
UPPER_LIP_MOST = 0.7  # of that way: at most so much moves rigidly as the lip
UPPER_LEAST, LOWER_LEAST = 0.05, 0.15  # least heights of lip to nose, and lip to chin
JAW_WIDENING = 0.9  # the jaw's motion widens from 1 to 1.9 half mouth widths down to the chin
JAW_BLEND = 0.8  # of the way to the chin: lip motion has become jaw motion
CHIN_SHARE = 0.7  # of the lip's motion is left at the chin
LIP_RELAXATION = 0.22  # of the motion: outer edges move so much less in a mouth that closes fully
NECK = 0.40  # the motion ends this far under the chin
CORNER_REACH_X, CORNER_REACH_Y = 0.9, 0.28  # half mouth widths; eye spans
CORNER_CORE = 0.04
MASK_SOFTNESS = 0.008  # width of the opening's soft edge, at least one pixel
MASK_MARGIN = 0.003
SEAM_OPACITY, SEAM_GAP = 0.35, 0.03  # of the inside between closed lips; full from this gap on


class Box(NamedTuple):
    """Whole pixels x0 <= x < x1, y0 <= y < y1."""

    x0: int
    y0: int
    x1: int
    y1: int

    def inside(self, frame: Image) -> "Box":
        """Return the part within a frame, [H, W, 3]; without any, width or height is not positive."""
        return self.within(Box(0, 0, frame.shape[1], frame.shape[0]))

    def within(self, other: "Box") -> "Box":
        """Return the intersection of two boxes."""
        low, high = map(max, self[:2], other[:2]), map(min, self[2:], other[2:])
        return Box(*low, *high)


@dataclass(frozen=True)
class Opening:
    """Pixels in and around the mouth's opening: where each lies between the lips."""

    place: FloatArray  # [h, w], -1..1 from corner to corner
    below_upper: FloatArray  # [h, w], pixels under the upper lip's edge
    above_lower: FloatArray  # [h, w], pixels above the lower lip's edge
    middle_gap: float  # pixels between the lips' middles

    @property
    def gap(self) -> FloatArray:
        """[h, w], distance of the lips in this column."""
        return self.below_upper + self.above_lower

    def part(self, rows: slice, columns: slice) -> "Opening":
        """The pixels of a smaller box."""
        at = np.s_[rows, columns]
        return Opening(self.place[at], self.below_upper[at], self.above_lower[at], self.middle_gap)


class _FacePoints(NamedTuple):
    """Points of the warped face and the target's lips above and below them."""

    place: FloatArray  # -1..1 from corner to corner
    y: FloatArray  # local
    upper: FloatArray  # local y of the lips in this column
    lower: FloatArray

    @property
    def middle(self) -> FloatArray:
        """Where the upper half of the face meets the lower one."""
        return (self.upper + self.lower) / 2


class Interior(Protocol):
    """Paints the interior of a mouth."""

    def paint(self, opening: Opening, eye_span: float) -> FloatArray:
        """Return the colours of the opening's pixels, float32 [h, w, 3], 0 to 255."""
        ...


def changed_region(geometry: MouthGeometry, half_width: float | None = None) -> Box:
    """Bound the pixels that a warp of this mouth may change (before clipping to the frame)."""
    side = REGION_HALF_WIDTHS * (half_width or geometry.half_width)
    top = geometry.nose_y - REGION_ABOVE_NOSE * geometry.eye_span
    bottom = geometry.chin_y + REGION_UNDER_CHIN * geometry.eye_span
    return _bounding_box(geometry, side, top, bottom, margin=1)


def warp_mouth(frame: Image, geometry: MouthGeometry, target: MouthTarget, interior: Interior) -> None:
    """Warp one face of a frame to the target, in place.

    Pixels outside `changed_region`, and those that would move by less than 0.03 pixels, are unchanged.

    Args:
        frame: uint8 RGB [H, W, 3], written to.
        geometry: the mouth as filmed.
        target: the mouth as it should be.
        interior: paints what is seen between the lips.
    """
    region = changed_region(geometry, target.half_width)
    box = region.inside(frame)
    if box.x1 - box.x0 < 8 or box.y1 - box.y0 < 8:
        return
    step = LATTICE if geometry.eye_span > SMALL_FACE else 1
    field = _coarse_field(region, box, step, geometry, target)
    band = _lip_band(box, step, geometry, target)
    lips = np.s_[band.y0 - box.y0 : band.y1 - box.y0, band.x0 - box.x0 : band.x1 - box.x0]
    points = _face_points(*_pixel_grid(band), geometry, target)
    field[lips] = _image_motion(points, geometry, target)

    moved = np.abs(field[..., 0]) + np.abs(field[..., 1]) >= STILL
    field[~moved] = 0
    pixels = frame[box.y0 : box.y1, box.x0 : box.x1]
    source = np.stack(_pixel_grid(Box(0, 0, box.x1 - box.x0, box.y1 - box.y0)), axis=-1) - field
    warped = _sample(pixels, source)
    _blend_seam(pixels, warped[lips], source[lips] + field[lips], points, geometry, target)
    moved[lips] |= _paint_interior(warped[lips], points, geometry, target, interior)
    np.copyto(pixels, warped, where=moved[..., None])


def _sample(pixels: Image, source: FloatArray) -> Image:
    """Read pixels at places [h, w, 2], bilinearly."""
    x, y = source[..., 0], source[..., 1]
    return np.asarray(cv2.remap(pixels, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _bounding_box(geometry: MouthGeometry, side: float, top: float, bottom: float, margin: int) -> Box:
    corners_x = np.array([-side, side, -side, side]) + geometry.centre_x
    x, y = geometry.to_image(corners_x, np.array([top, top, bottom, bottom]))
    left, upper = int(np.floor(x.min())) - margin, int(np.floor(y.min())) - margin
    return Box(left, upper, int(np.ceil(x.max())) + 1 + margin, int(np.ceil(y.max())) + 1 + margin)


def _lip_band(box: Box, step: int, geometry: MouthGeometry, target: MouthTarget) -> Box:
    margin = LIP_BAND * geometry.eye_span + 2 * step
    top, bottom = float(target.upper.min()) - margin, float(target.lower.max()) + margin
    band = _bounding_box(geometry, target.half_width * 1.02 + margin, top, bottom, margin=0)
    return band.within(box)


def _pixel_grid(box: Box, step: int = 1) -> tuple[FloatArray, FloatArray]:
    x, y = np.meshgrid(
        np.arange(box.x0, box.x1, step, dtype=np.float32), np.arange(box.y0, box.y1, step, dtype=np.float32)
    )
    return x, y


def _coarse_field(region: Box, box: Box, step: int, geometry: MouthGeometry, target: MouthTarget) -> FloatArray:
    """Motion of every pixel of the box, from a lattice that hangs on the region, not on the frame."""
    skipped_x, skipped_y = (box.x0 - region.x0) // step * step, (box.y0 - region.y0) // step * step
    start_x, start_y = region.x0 + skipped_x, region.y0 + skipped_y
    lattice = Box(start_x, start_y, box.x1 + 2 * step, box.y1 + 2 * step)
    points = _face_points(*_pixel_grid(lattice, step), geometry, target)
    motion = _image_motion(points, geometry, target)
    if step == 1:
        return motion[: box.y1 - box.y0, : box.x1 - box.x0]
    offset_x, offset_y = (box.x0 - start_x) / step, (box.y0 - start_y) / step
    to_lattice = np.array([[1 / step, 0, offset_x], [0, 1 / step, offset_y]])
    size = (box.x1 - box.x0, box.y1 - box.y0)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(motion, to_lattice, size, flags=flags), np.float32)


def _face_points(x: FloatArray, y: FloatArray, geometry: MouthGeometry, target: MouthTarget) -> _FacePoints:
    """Place image points between the target's lips."""
    x, y = geometry.to_local(x, y)
    place = (x - geometry.centre_x) / target.half_width
    return _FacePoints(place, y, sample_curve(target.upper, place), sample_curve(target.lower, place))


def _image_motion(points: _FacePoints, geometry: MouthGeometry, target: MouthTarget) -> FloatArray:
    """How far what is seen at these points of the warped face has moved, image pixels, [..., 2]."""
    dx = _corner_motion(points, geometry, target)
    above = points.y < points.middle
    dy = np.where(above, _upper_motion(points, geometry, target), _lower_motion(points, geometry, target))
    return _to_image(dx, dy, geometry)


def _to_image(dx: FloatArray, dy: FloatArray, geometry: MouthGeometry) -> FloatArray:
    (a, b), (c, d) = geometry.rotation
    return np.stack([a * dx + c * dy, b * dx + d * dy], axis=-1)


def _blend_seam(
    pixels: Image,
    warped: Image,
    places: FloatArray,
    points: _FacePoints,
    geometry: MouthGeometry,
    target: MouthTarget,
) -> None:
    """Where the lips meet, mix what both show, so that their line has no steps; written to `warped`."""
    off_seam = points.y - points.middle
    near = (np.abs(off_seam) < 1) & (np.abs(points.place) < 1)
    seam = _FacePoints(points.place[near], points.y[near], points.upper[near], points.lower[near])
    if seam.y.size == 0:
        return
    dx = _corner_motion(seam, geometry, target)
    shares = np.clip((1 - off_seam[near]) / 2, 0, 1)
    upper, lower = (
        _sample(pixels, (places[near] - _to_image(dx, motion(seam, geometry, target), geometry))[:, None])[:, 0]
        for motion in (_upper_motion, _lower_motion)
    )
    warped[near] = (lower + shares[:, None] * (upper.astype(np.float32) - lower) + 0.5).astype(np.uint8)


def _upper_motion(points: _FacePoints, geometry: MouthGeometry, target: MouthTarget) -> FloatArray:
    """The upper lip moves as one piece; from its upper edge to the nose the motion fades."""
    height = max(float(target.upper[MIDDLE]) - geometry.nose_y, UPPER_LEAST * geometry.eye_span)
    thickness = max(float((geometry.upper - geometry.upper_outer)[MIDDLE]), 0.0)
    lip = min(thickness, UPPER_LIP_MOST * height)
    above_lip = points.upper - points.y
    to_nose = 1 - smoothstep((above_lip - lip) / max(UPPER_ROOM * height - lip, 1.0))
    return sample_curve(target.upper_shift, points.place) * to_nose * _relaxation(above_lip, lip, target)


def _lower_motion(points: _FacePoints, geometry: MouthGeometry, target: MouthTarget) -> FloatArray:
    """The lower lip moves as one piece; below, its motion turns into the jaw's and ends in the neck."""
    span = geometry.eye_span
    under_lip = np.maximum(points.y - points.lower, 0)
    height = max(geometry.chin_y - float(geometry.lower[MIDDLE]), LOWER_LEAST * span)
    lip = max(float((geometry.lower_outer - geometry.lower)[MIDDLE]), 0.0)
    jaw_width = 1 + JAW_WIDENING * smoothstep(under_lip / height)
    jaw = np.square(np.maximum(1 - np.square(points.place / jaw_width), 0))
    jawness = smoothstep((under_lip - 0.5 * lip) / (JAW_BLEND * height))
    to_chin = 1 - (1 - CHIN_SHARE) * smoothstep((under_lip - lip) / max(height - lip, 1.0))
    to_neck = 1 - smoothstep((under_lip - height) / (NECK * span))
    lip_motion = sample_curve(target.lower_shift, points.place)
    jaw_motion = float(target.lower_shift[MIDDLE]) * jaw
    motion = lip_motion + jawness * (jaw_motion - lip_motion)
    return motion * to_chin * to_neck * _relaxation(under_lip, lip, target)


def _relaxation(beyond_edge: FloatArray, thickness: float, target: MouthTarget) -> FloatArray:
    """Lips thicken as they close: their outer edges move less than their inner ones."""
    return 1 - LIP_RELAXATION * target.closing * smoothstep(beyond_edge / max(thickness, 1.0))


def _corner_motion(points: _FacePoints, geometry: MouthGeometry, target: MouthTarget) -> FloatArray:
    """The corners move sideways and take their surroundings along."""
    span = geometry.eye_span
    beyond_x = np.maximum(np.abs(points.place) - 1, 0) / CORNER_REACH_X
    off_middle = np.abs(points.y - points.middle)
    beyond_y = np.maximum(off_middle - CORNER_CORE * span, 0) / (CORNER_REACH_Y * span)
    weight = 1 - smoothstep(np.sqrt(np.square(beyond_x) + np.square(beyond_y)))
    return target.corner_shift * np.clip(points.place, -1, 1) * weight


def _paint_interior(
    lips: Image, points: _FacePoints, geometry: MouthGeometry, target: MouthTarget, interior: Interior
) -> NDArray[np.bool_]:
    """Blend the mouth's inside into the warped lip band; returns which pixels it touched, bool [h, w]."""
    opening = Opening(points.place, points.y - points.upper, points.lower - points.y, target.gap)
    mask = _opening_mask(opening, geometry.eye_span) * target.interior_opacity
    touched = mask > 0
    rows, columns = np.flatnonzero(touched.any(axis=1)), np.flatnonzero(touched.any(axis=0))
    if len(rows) == 0:
        return touched
    inside = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    seen = opening.part(*inside)
    colour = interior.paint(seen, geometry.eye_span)
    alpha = (mask[inside] * _interior_opacity(seen, geometry))[..., None]
    lips[inside] = np.clip(lips[inside] * (1 - alpha) + colour * alpha + 0.5, 0, 255).astype(np.uint8)
    return touched


def _opening_mask(opening: Opening, eye_span: float) -> FloatArray:
    softness = max(1.0, MASK_SOFTNESS * eye_span)
    margin = MASK_MARGIN * eye_span * np.sqrt(np.clip(1 - np.square(opening.place), 0, 1))
    under_upper = np.clip((opening.below_upper + margin) / softness + 0.5, 0, 1)
    over_lower = np.clip((opening.above_lower + margin) / softness + 0.5, 0, 1)
    mask = np.asarray(under_upper * over_lower, np.float32)
    mask[np.abs(opening.place) >= 1] = 0
    return mask


def _interior_opacity(opening: Opening, geometry: MouthGeometry) -> FloatArray:
    """Closed lips show their own seam, hardly darkened."""
    return SEAM_OPACITY + (1 - SEAM_OPACITY) * smoothstep(opening.gap / (SEAM_GAP * geometry.eye_span))
