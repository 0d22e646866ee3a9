"""Draws covers over mouths: hands in the face's own skin colour, microphones, masks, and plain patches of skin.

Lengths are in spans: the distance between the outer corners of the eyes. Draws the same for the same generator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from lipsync_core.face.landmarks import INNER_LIPS
from lipsync_core.mouth.geometry import LEFT_EYE, RIGHT_EYE

NOSE_BRIDGE, NOSE_MIDDLE = 6, 195
SKIN = (50, 280, 101, 330, 151, 9)  # cheeks and forehead
JAW = (234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454)
MASK_COLOURS = ((170, 200, 215), (225, 225, 225), (40, 40, 45), (150, 60, 70))  # RGB, as masks are sold
MICROPHONE_COLOURS = ((28, 28, 30), (60, 60, 64), (120, 120, 125), (20, 25, 60))
FINGERS = 4
FINGER_SPACING, FINGER_WIDTH = 0.22, 0.21
EDGE_BLUR = 0.8  # pixels
WHOLLY = (255,)  # covered


@dataclass(frozen=True, eq=False)
class MouthAxes:
    """Where a mouth is in its picture, and which way the face is turned.

    Attributes:
        middle: float64 [2], x and y of the mouth.
        across: float64 [2], unit vector from the left eye to the right one.
        down: float64 [2], unit vector at a right angle to it.
        span: length of a span, in pixels.
    """

    middle: np.ndarray
    across: np.ndarray
    down: np.ndarray
    span: float

    @classmethod
    def of_landmarks(cls, landmarks: np.ndarray) -> MouthAxes:
        """Measure a face's landmarks, float32 [468, 3]."""
        points = landmarks[:, :2].astype(np.float64)
        eyes = points[RIGHT_EYE] - points[LEFT_EYE]
        span = float(np.linalg.norm(eyes))
        across = eyes / span
        return cls(points[list(INNER_LIPS)].mean(axis=0), across, np.array([-across[1], across[0]]), span)

    def at(self, across: float, down: float) -> np.ndarray:
        """Return the pixel, float64 [2], that lies that many spans from the mouth."""
        return np.asarray(self.middle + self.span * (across * self.across + down * self.down))

    def coordinates(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Return how many spans each pixel lies across and down from the mouth, float64 [h, w] each."""
        rows, columns = np.mgrid[:height, :width]
        x, y = (columns - self.middle[0]) / self.span, (rows - self.middle[1]) / self.span
        return x * self.across[0] + y * self.across[1], x * self.down[0] + y * self.down[1]

    def pixels(self, spans: float) -> int:
        """Return a length in whole pixels."""
        return max(1, round(spans * self.span))


def draw_mask(frame: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a cloth over nose and jaw, darker towards its sides."""
    axes, points = MouthAxes.of_landmarks(landmarks), landmarks[:, :2]
    edge = axes.down * 0.1 * axes.span
    right, left = ((points[side] + points[NOSE_BRIDGE]) / 2 + edge for side in (JAW[-1], JAW[0]))
    outline = np.stack([*points[list(JAW)], right, points[NOSE_MIDDLE], left])
    covered = np.zeros(frame.shape[:2], np.uint8)
    cv2.fillPoly(covered, [outline.round().astype(np.int32)], WHOLLY)
    across, down = axes.coordinates(*frame.shape[:2])
    folds = 0.06 * np.sign(np.sin(18 * down)) * (rng.random() < 0.7)
    light = np.clip(1 - 0.25 * np.abs(across) ** 1.5 + folds, 0.3, 1.2) * rng.uniform(0.6, 1.1)
    colour = np.array(MASK_COLOURS[rng.integers(len(MASK_COLOURS))], np.float64)
    return _painted(frame, covered, colour * light[..., None], 3.0, rng)


def draw_microphone(frame: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a microphone's head before the lips, with a highlight, and its handle below."""
    axes = MouthAxes.of_landmarks(landmarks)
    place = (rng.normal(0, 0.05), rng.normal(0.08, 0.05))
    radius = rng.uniform(0.33, 0.48)
    covered = np.zeros(frame.shape[:2], np.uint8)
    size = (axes.pixels(radius), axes.pixels(1.1 * radius))
    cv2.ellipse(covered, _pixel(axes.at(*place)), size, 0, 0, 360, WHOLLY, -1)
    _stroke(covered, axes.at(*place), axes.at(place[0] + 0.3, place[1] + 1.6), axes.pixels(0.18))
    across, down = axes.coordinates(*frame.shape[:2])
    squared = (across - place[0] + 0.3 * radius) ** 2 + (down - place[1] + 0.3 * radius) ** 2
    highlight = 40 * np.exp(-squared / (0.5 * radius**2))
    colour = np.array(MICROPHONE_COLOURS[rng.integers(len(MICROPHONE_COLOURS))], np.float64)
    return _painted(frame, covered, colour + highlight[..., None], 7.0, rng)


def draw_hand(frame: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw fingers across the mouth, round and darker at their edges, and the back of the hand beside it."""
    axes, skin = MouthAxes.of_landmarks(landmarks), _skin_colour(frame, landmarks) * rng.uniform(0.85, 1.1)
    side, tilt = rng.choice((-1.0, 1.0)), rng.normal(0, 0.15)
    across, down = axes.coordinates(*frame.shape[:2])
    painted = frame
    for finger in range(FINGERS):
        height, slope = FINGER_SPACING * (finger - 1.5), np.tan(tilt + rng.normal(0, 0.05))
        tip = 0.35 + rng.uniform(0, 0.1) - 0.05 * finger
        covered = np.zeros(frame.shape[:2], np.uint8)
        root, end = (axes.at(x, height + slope * x) for x in (1.3 * side, -tip * side))
        _stroke(covered, root, end, axes.pixels(FINGER_WIDTH))
        from_middle = np.clip(np.abs(down - height - slope * across) / (FINGER_WIDTH / 2), 0, 1.2)
        painted = _painted(painted, covered, skin * (1 - 0.22 * from_middle**3)[..., None], 3.0, rng)
    covered = np.zeros(frame.shape[:2], np.uint8)
    size = (axes.pixels(0.55), axes.pixels(0.6))
    cv2.ellipse(covered, _pixel(axes.at(1.1 * side, 0.15)), size, 0, 0, 360, WHOLLY, -1)
    return _painted(painted, covered, np.broadcast_to(0.97 * skin, frame.shape), 3.0, rng)


def draw_patch(frame: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw an even patch in the colour of the skin."""
    axes, skin = MouthAxes.of_landmarks(landmarks), _skin_colour(frame, landmarks) * rng.uniform(0.8, 1.1)
    covered = np.zeros(frame.shape[:2], np.uint8)
    size = (axes.pixels(0.55), axes.pixels(0.4))
    turn = np.degrees(np.arctan2(axes.across[1], axes.across[0])) + rng.normal(0, 15)
    cv2.ellipse(covered, _pixel(axes.at(0, 0.05)), size, float(turn), 0, 360, WHOLLY, -1)
    return _painted(frame, covered, np.broadcast_to(skin, frame.shape), 4.0, rng)


COVERS: dict[str, Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]] = {
    "mask": draw_mask,
    "microphone": draw_microphone,
    "hand": draw_hand,
    "patch": draw_patch,
}


def _painted(
    frame: np.ndarray, covered: np.ndarray, colours: np.ndarray, grain: float, rng: np.random.Generator
) -> np.ndarray:
    """Blend colours, float64 RGB [h, w, 3], with a grain of that many levels, into the covered part of a frame."""
    opacity = cv2.GaussianBlur(covered.astype(np.float64) / 255, (0, 0), EDGE_BLUR)[..., None]
    noise = cv2.GaussianBlur(rng.standard_normal(covered.shape), (0, 0), 1.0)
    textured = np.clip(colours + grain * (noise / noise.std())[..., None], 0, 255)
    return np.clip(frame * (1 - opacity) + textured * opacity, 0, 255).astype(np.uint8)


def _skin_colour(frame: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Return the median colour of cheeks and forehead, float64 [3]."""
    height, width = frame.shape[:2]
    columns, rows = landmarks[list(SKIN), :2].round().astype(int).T
    samples = frame[rows.clip(0, height - 1), columns.clip(0, width - 1)]
    return np.asarray(np.median(samples, axis=0), np.float64)


def _stroke(covered: np.ndarray, begin: np.ndarray, end: np.ndarray, width: int) -> None:
    cv2.line(covered, _pixel(begin), _pixel(end), WHOLLY, width)


def _pixel(point: np.ndarray) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))
