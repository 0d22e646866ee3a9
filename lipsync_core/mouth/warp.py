"""Moves the lips of one face to a target, with chin and cheeks, and shows the interior of the mouth.

Above the line between the lips and below it the field of motion is smooth; only where the lips part does it jump.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from lipsync_core.mouth.geometry import COLUMN_PLACES, MIDDLE, FloatArray, MouthGeometry, sample_curves, smoothstep
from lipsync_core.mouth.target import MouthTarget

Image = NDArray[np.uint8]

# Lengths in eye spans unless said otherwise; the numbers are settled by looking (docs/specs/mouth-motion.md).
REACH = 0.40  # the lips take their surroundings along this far
REGION_ABOVE_NOSE, NOSE_FADE = 0.02, 0.10  # the motion begins here, and is whole this much lower
JAW_HALF_WIDTH = 0.62  # the chin takes the cheeks along this far
JAW_TOP, JAW_WHOLE = 0.02, 0.45  # under the lips' middle the jaw's motion begins; share of the way to the chin
NECK = 0.40  # the motion ends this far under the chin
LEAST_PIXELS = 8  # edges of the region: smaller ones show no mouth
LATTICE, LATTICE_SPAN = 3, 50  # pixels, and in eye spans 1/50: the outer motion is computed this coarsely
SMALL_FACE = 70  # pixels of eye span: below, every pixel is computed
LIP_BAND = 0.03  # margin around the lips in which every pixel is computed
STILL = 0.03  # pixels: smaller motions are left out and their pixels never written
RIDGE = 1e-3  # keeps the interpolation stable where lip points meet
LIP_LEAST = 0.012  # lips thinner than this are stretched as if they were as thick
MASK_SOFTNESS = 0.020  # width of the opening's soft edge, at least one pixel
SEAM_GAP = 0.05  # lips that are nearer than this hide a part of the inside


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
    half_width: float  # pixels from the middle to a corner
    upper_y: float  # pixels from the base of the nose to the middle of the upper lip's edge

    @property
    def gap(self) -> FloatArray:
        """[h, w], distance of the lips in this column."""
        return self.below_upper + self.above_lower

    def part(self, rows: slice, columns: slice) -> "Opening":
        """The pixels of a smaller box."""
        at = np.s_[rows, columns]
        below, above = self.below_upper[at], self.above_lower[at]
        return Opening(self.place[at], below, above, self.middle_gap, self.half_width, self.upper_y)


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


class _Field:
    """The motion around the lips: a jaw that opens, and the outer contour's motion, interpolated."""

    def __init__(self, geometry: MouthGeometry, target: MouthTarget) -> None:
        """Fit the interpolation to the outer contour."""
        self._geometry, self._target = geometry, target
        points = target.outer
        rest = target.outer_moves - self._jaw(points[:, 0], points[:, 1])
        kernel = _wendland(_distances(points, points) / self._reach) + RIDGE * np.eye(len(points), dtype=np.float32)
        self._weights = np.linalg.solve(kernel.astype(np.float64), rest).astype(np.float32)

    @property
    def _reach(self) -> float:
        return REACH * self._geometry.eye_span

    def at(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Return how far what is seen at local points has moved, float32 [...] each -> float32 [..., 2]."""
        points = np.stack([x, y], axis=-1).reshape(-1, 2)
        moved = _wendland(_distances(points, self._target.outer) / self._reach) @ self._weights
        span, nose = self._geometry.eye_span, self._geometry.nose_y
        under_nose = smoothstep((points[:, 1] - nose + REGION_ABOVE_NOSE * span) / (NOSE_FADE * span))
        moved = moved * under_nose[:, None] + self._jaw(points[:, 0], points[:, 1])
        return np.asarray(moved.reshape(*x.shape, 2), np.float32)

    def _jaw(self, x: FloatArray, y: FloatArray) -> FloatArray:
        geometry, target = self._geometry, self._target
        span, chin = geometry.eye_span, geometry.chin_y + target.jaw
        top = float((target.upper[MIDDLE] + target.lower[MIDDLE]) / 2)
        height = max(JAW_WHOLE * (chin - top), 0.1 * span)
        down = smoothstep((y - top) / height) * (1 - smoothstep((y - chin) / (NECK * span)))
        beside = np.square(np.maximum(1 - np.square((x - geometry.centre_x) / (JAW_HALF_WIDTH * span)), 0))
        return np.stack([np.zeros_like(x), target.jaw * down * beside], axis=-1).astype(np.float32)


class _LipMotion:
    """How far lips move beyond the field around them: the upper lip above their middle, the lower one below."""

    def __init__(self, geometry: MouthGeometry, target: MouthTarget, motion: _Field) -> None:
        """Compare the inner contours' motion with the field's."""
        x = target.centre_x + target.half_width * COLUMN_PLACES
        self._corner, self._least = target.corner, LIP_LEAST * geometry.eye_span
        self._upper, self._lower = (  # each [65, 4]: local y of the outer and the inner contour, motion in x and y
            np.concatenate([np.stack([outer, inner], axis=1), moves - motion.at(x, inner)], axis=1)
            for outer, inner, moves in (
                (target.upper_outer, target.upper, target.upper_moves),
                (target.lower_outer, target.lower, target.lower_moves),
            )
        )

    def at(self, points: _FacePoints, above: NDArray[np.bool_]) -> FloatArray:
        """Return the local motion, float32 [..., 2], of points of the upper half, bool [...], or the lower one."""
        upper, lower = (sample_curves(half, points.place) for half in (self._upper, self._lower))
        found: FloatArray = np.where(above[..., None], upper, lower)
        outer, inner, motion = found[..., 0], found[..., 1], found[..., 2:]
        depth = 1 - np.abs(points.y - inner) / np.maximum(np.abs(inner - outer), self._least)
        beyond = np.where(above, points.y > inner, points.y < inner)  # within the gap
        beside = 1 - (np.abs(points.place) - 1) / max(self._corner - 1, 0.1)
        share = np.where(beyond, 1, np.clip(depth, 0, 1)) * np.clip(beside, 0, 1)
        return np.asarray(motion * share[..., None], np.float32)


def changed_region(geometry: MouthGeometry, target: MouthTarget) -> Box:
    """Bound the pixels that a warp of this mouth may change (before clipping to the frame)."""
    span = geometry.eye_span
    lips_side = max(1.2 * geometry.half_width, float(np.abs(target.outer[:, 0] - geometry.centre_x).max()))
    side = max(JAW_HALF_WIDTH * span, lips_side + REACH * span)
    chin = max(geometry.chin_y + target.jaw, float(target.outer[:, 1].max()))
    top = geometry.nose_y - REGION_ABOVE_NOSE * span
    return _bounding_box(geometry, geometry.centre_x, side, top, chin + NECK * span, margin=1)


def warp_mouth(frame: Image, geometry: MouthGeometry, target: MouthTarget, interior: Interior) -> bool:
    """Warp one face of a frame to the target, in place.

    Pixels outside `changed_region`, and those that would move by less than 0.03 pixels, are unchanged.

    Args:
        frame: uint8 RGB [H, W, 3], written to.
        geometry: the mouth as filmed.
        target: the mouth as it should be.
        interior: paints what is seen between the lips.

    Returns:
        Whether at least 8 x 8 pixels of that region are within the frame; else nothing is written.
    """
    region = changed_region(geometry, target)
    box = region.inside(frame)
    if box.x1 - box.x0 < LEAST_PIXELS or box.y1 - box.y0 < LEAST_PIXELS:
        return False
    motion = _Field(geometry, target)
    step = max(LATTICE, round(geometry.eye_span / LATTICE_SPAN)) if geometry.eye_span > SMALL_FACE else 1
    field = _coarse_field(region, box, step, geometry, motion)
    band = _lip_band(box, step, geometry, target)
    lips = np.s_[band.y0 - box.y0 : band.y1 - box.y0, band.x0 - box.x0 : band.x1 - box.x0]
    points = _face_points(*_pixel_grid(band), geometry, target)
    lip_motion = _LipMotion(geometry, target, motion)
    around = field[lips].copy()
    field[lips] += _to_image(lip_motion.at(points, points.y < points.middle), geometry)

    still = np.abs(field[..., 0]) + np.abs(field[..., 1]) < STILL
    field *= ~still[..., None]  # pixels that are read from whole places stay as they are
    pixels = frame[box.y0 : box.y1, box.x0 : box.x1]
    places = np.stack(_pixel_grid(Box(0, 0, box.x1 - box.x0, box.y1 - box.y0)), axis=-1)
    warped = _sample(pixels, places - field)
    _blend_seam(pixels, warped[lips], places[lips] - around, points, lip_motion, geometry)
    _paint_interior(warped[lips], points, geometry, target, interior)
    pixels[:] = warped
    return True


def _sample(pixels: Image, source: FloatArray) -> Image:
    """Read pixels at places [h, w, 2], bilinearly."""
    x, y = source[..., 0], source[..., 1]
    return np.asarray(cv2.remap(pixels, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _distances(points: FloatArray, others: FloatArray) -> FloatArray:
    """Distances of all pairs, float32 [N, 2], [M, 2] -> float32 [N, M]."""
    x, y = (points[:, None, axis] - others[None, :, axis] for axis in (0, 1))
    return np.sqrt(x * x + y * y)


def _wendland(distance: FloatArray) -> FloatArray:
    """Wendland's C2 function, 1 at 0 and 0 from 1 on; float32 [...]."""
    inner = np.maximum(1 - distance, 0)
    inner *= inner
    return inner * inner * (4 * distance + 1)


def _bounding_box(geometry: MouthGeometry, centre: float, side: float, top: float, bottom: float, margin: int) -> Box:
    corners_x = np.array([-side, side, -side, side]) + centre
    x, y = geometry.to_image(corners_x, np.array([top, top, bottom, bottom]))
    left, upper = int(np.floor(x.min())) - margin, int(np.floor(y.min())) - margin
    return Box(left, upper, int(np.ceil(x.max())) + 1 + margin, int(np.ceil(y.max())) + 1 + margin)


def _lip_band(box: Box, step: int, geometry: MouthGeometry, target: MouthTarget) -> Box:
    margin = LIP_BAND * geometry.eye_span + 2 * step
    top, bottom = float(target.upper_outer.min()) - margin, float(target.lower_outer.max()) + margin
    side = target.corner * target.half_width + margin
    return _bounding_box(geometry, target.centre_x, side, top, bottom, margin=0).within(box)


def _pixel_grid(box: Box, step: int = 1) -> tuple[FloatArray, FloatArray]:
    x, y = np.meshgrid(
        np.arange(box.x0, box.x1, step, dtype=np.float32), np.arange(box.y0, box.y1, step, dtype=np.float32)
    )
    return x, y


def _coarse_field(region: Box, box: Box, step: int, geometry: MouthGeometry, motion: _Field) -> FloatArray:
    """Motion of every pixel of the box, from a lattice that hangs on the region, not on the frame."""
    skipped_x, skipped_y = (box.x0 - region.x0) // step * step, (box.y0 - region.y0) // step * step
    start_x, start_y = region.x0 + skipped_x, region.y0 + skipped_y
    lattice = Box(start_x, start_y, box.x1 + 2 * step, box.y1 + 2 * step)
    found = _to_image(motion.at(*geometry.to_local(*_pixel_grid(lattice, step))), geometry)
    if step == 1:
        return found[: box.y1 - box.y0, : box.x1 - box.x0].copy()
    offset_x, offset_y = (box.x0 - start_x) / step, (box.y0 - start_y) / step
    to_lattice = np.array([[1 / step, 0, offset_x], [0, 1 / step, offset_y]])
    size = (box.x1 - box.x0, box.y1 - box.y0)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(found, to_lattice, size, flags=flags), np.float32)


def _face_points(x: FloatArray, y: FloatArray, geometry: MouthGeometry, target: MouthTarget) -> _FacePoints:
    """Place image points between the target's lips."""
    x, y = geometry.to_local(x, y)
    place = (x - target.centre_x) / target.half_width
    lips = sample_curves(np.stack([target.upper, target.lower], axis=1), place)
    return _FacePoints(place, y, lips[..., 0], lips[..., 1])


def _to_image(moves: FloatArray, geometry: MouthGeometry) -> FloatArray:
    return moves @ geometry.rotation


def _blend_seam(
    pixels: Image,
    warped: Image,
    places: FloatArray,
    points: _FacePoints,
    lip_motion: _LipMotion,
    geometry: MouthGeometry,
) -> None:
    """Where the lips meet, mix what both show, so that their line has no steps; written to `warped`."""
    off_seam = points.y - points.middle
    near = (np.abs(off_seam) < 1) & (np.abs(points.place) < 1)
    if not near.any():
        return
    shares = np.clip((1 - off_seam[near]) / 2, 0, 1)[:, None]
    seam = _FacePoints(points.place[near], points.y[near], points.upper[near], points.lower[near])
    moves = [lip_motion.at(seam, np.full(seam.y.shape, above)) for above in (True, False)]
    upper, lower = (
        _sample(pixels, (places[near] - _to_image(moved, geometry))[:, None])[:, 0].astype(np.float32)
        for moved in moves
    )
    warped[near] = (lower + shares * (upper - lower) + 0.5).astype(np.uint8)


def _paint_interior(
    lips: Image, points: _FacePoints, geometry: MouthGeometry, target: MouthTarget, interior: Interior
) -> None:
    """Blend the mouth's inside into the warped lip band."""
    opening = Opening(
        points.place,
        points.y - points.upper,
        points.lower - points.y,
        target.gap,
        target.half_width,
        float(target.upper[MIDDLE]) - geometry.nose_y,
    )
    mask = _opening_mask(opening, geometry.eye_span) * np.float32(target.interior_opacity)
    touched = mask > 0
    rows, columns = np.flatnonzero(touched.any(axis=1)), np.flatnonzero(touched.any(axis=0))
    if len(rows) == 0:
        return
    inside = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    seen = opening.part(*inside)
    colour = interior.paint(seen, geometry.eye_span)
    alpha = mask[inside][..., None]
    lips[inside] = np.clip(lips[inside] * (1 - alpha) + colour * alpha + 0.5, 0, 255).astype(np.uint8)


def _opening_mask(opening: Opening, eye_span: float) -> FloatArray:
    """Return how much of the inside each pixel shows: soft at the lips, and none between lips that nearly meet."""
    softness = max(1.0, MASK_SOFTNESS * eye_span)
    under_upper = np.clip(opening.below_upper / softness + 0.5, 0, 1)
    over_lower = np.clip(opening.above_lower / softness + 0.5, 0, 1)
    parted = smoothstep(opening.gap / (SEAM_GAP * eye_span))
    mask = np.asarray(under_upper * over_lower * parted, np.float32)
    mask[np.abs(opening.place) >= 1] = 0
    return mask
