"""The mouth in its own upright coordinates: lip curves, gap, width and pose."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

# Indices in the 468-point face mesh; left and right as in the image, lips from the left corner to the right.
UPPER_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
UPPER_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
LOWER_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
LEFT_CORNER, RIGHT_CORNER = 61, 291
LEFT_EYE, RIGHT_EYE = 33, 263  # outer corners
NOSE_TIP, NOSE_BASE, CHIN = 1, 2, 152
LEFT_SIDE, RIGHT_SIDE = 234, 454  # outline of the face beside the ears

COLUMNS = 65  # lip curves have this many points from corner to corner
COLUMN_PLACES = np.linspace(-1, 1, COLUMNS, dtype=np.float32)  # half mouth widths from the middle
MIDDLE = COLUMNS // 2
GAP_COLUMNS = slice(MIDDLE - 3, MIDDLE + 4)  # the gap is their mean opening
CURVE_SMOOTHING = np.array([1, 2, 3, 2, 1]) / 9


@dataclass(frozen=True)
class MouthGeometry:
    """Position, pose and opening of one mouth.

    Local coordinates are in pixels: the origin is between the corners of the mouth, x along the line of the eyes, y
    down the face.
    """

    eye_span: float  # 3-D distance of the outer eye corners, pixels: the unit D of docs/specs/face.md
    rotation: FloatArray  # [2, 2], image -> local
    origin: FloatArray  # [2], image
    centre_x: float
    half_width: float
    upper: FloatArray  # [65], lower edge of the upper lip, local y
    lower: FloatArray  # [65], upper edge of the lower lip
    upper_outer: FloatArray  # [65], upper edge of the upper lip
    lower_outer: FloatArray  # [65], lower edge of the lower lip
    gap: float
    nose_y: float  # base of the nose
    nose_x: float  # tip of the nose
    chin_y: float
    yaw: float  # degrees, 0 = facing the camera

    @property
    def relative_gap(self) -> float:
        """The gap, in eye spans."""
        return self.gap / self.eye_span

    def to_local(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Convert image coordinates to local ones, float32 [...] each."""
        (a, b), (c, d) = self.rotation
        x, y = x - self.origin[0], y - self.origin[1]
        return a * x + b * y, c * x + d * y

    def to_image(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Convert local coordinates to image coordinates, float32 [...] each."""
        (a, b), (c, d) = self.rotation
        return a * x + c * y + self.origin[0], b * x + d * y + self.origin[1]


def mouth_geometry(landmarks: FloatArray) -> MouthGeometry:
    """Measure the mouth of one face.

    Args:
        landmarks: float32 [468, 3], x, y and z in pixels.

    Raises:
        ValueError: The landmarks are degenerate, such as all in one point.
    """
    points = landmarks.astype(np.float64)
    eyes = points[RIGHT_EYE] - points[LEFT_EYE]
    eye_span, flat_span = np.linalg.norm(eyes), np.linalg.norm(eyes[:2])
    if not (np.isfinite(eye_span) and flat_span >= 1):
        raise ValueError(
            f"landmarks: expected the outer eye corners at least 1 pixel apart, got {flat_span:.2f}. "
            "Mark frames without a face with NaN"
        )
    cos, sin = eyes[:2] / flat_span
    rotation = np.array([[cos, sin], [-sin, cos]])
    origin = (points[LEFT_CORNER, :2] + points[RIGHT_CORNER, :2]) / 2
    local = (points[:, :2] - origin) @ rotation.T

    left = (local[UPPER_INNER[0], 0] + local[LOWER_INNER[0], 0]) / 2
    right = (local[UPPER_INNER[-1], 0] + local[LOWER_INNER[-1], 0]) / 2
    half_width, centre_x = max((right - left) / 2, 1.0), (right + left) / 2
    lines = (UPPER_INNER, LOWER_INNER, UPPER_OUTER, LOWER_OUTER)
    places = np.clip((local[:, 0] - centre_x) / half_width, -1, 1)
    upper, lower, upper_outer, lower_outer = (resampled(places[list(i)], local[list(i), 1]) for i in lines)
    upper, lower = uncrossed(upper, lower)  # crossing lips count as closed
    across = points[RIGHT_SIDE] - points[LEFT_SIDE]
    return MouthGeometry(
        eye_span=float(eye_span),
        rotation=rotation.astype(np.float32),
        origin=origin.astype(np.float32),
        centre_x=float(centre_x),
        half_width=float(half_width),
        upper=upper,
        lower=lower,
        upper_outer=upper_outer,
        lower_outer=lower_outer,
        gap=float((lower - upper)[GAP_COLUMNS].mean()),
        nose_y=float(local[NOSE_BASE, 1]),
        nose_x=float(local[NOSE_TIP, 0]),
        chin_y=float(local[CHIN, 1]),
        yaw=float(np.degrees(np.arctan2(across[2], np.hypot(across[0], across[1])))),
    )


def resampled(places: np.ndarray, values: np.ndarray) -> FloatArray:
    """Resample values along a lip line, float [11] each, places -1..1 from corner to corner, to 65 columns."""
    order = np.argsort(places, kind="stable")
    curve = np.interp(COLUMN_PLACES, places[order], values[order])
    curve[2:-2] = np.convolve(curve, CURVE_SMOOTHING, "valid")
    return curve.astype(np.float32)


def uncrossed(upper: np.ndarray, lower: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Let lips that cross meet in the middle, local y of both lips' edges, float [...] each."""
    middle = (upper + lower) / 2
    return np.minimum(upper, middle), np.maximum(lower, middle)


def sample_curve(curve: FloatArray, place: FloatArray) -> FloatArray:
    """Interpolate a curve, float32 [65], at positions in -1..1, float32 [...]; outside, its ends are repeated."""
    return sample_curves(curve[:, None], place)[..., 0]


def sample_curves(curves: FloatArray, place: FloatArray) -> FloatArray:
    """Interpolate K curves, float32 [65, K], at the same positions in -1..1, float32 [...] -> float32 [..., K]."""
    column = np.clip((place + 1) * np.float32((COLUMNS - 1) / 2), 0, COLUMNS - 1)
    index = np.minimum(column.astype(np.int32), COLUMNS - 2)
    share: FloatArray = (column - index.astype(np.float32))[..., None]
    value: FloatArray = curves[index] + np.diff(curves, axis=0)[index] * share
    return value


def smoothstep(value: FloatArray) -> FloatArray:
    """Map 0..1 to a ramp with zero slope at both ends, float32 [...] -> float32 [...]."""
    part = np.clip(value, 0, 1)
    return part * part * (3 - 2 * part)


def ramp(value: float) -> float:
    """Apply `smoothstep` to one number."""
    return float(smoothstep(np.array(value, np.float32)))
