"""How alike two faces look: descriptors of upright face patches, held in memory by those who follow people.

A descriptor recognises a person within one video: in other shots, at other sizes, and in brighter or darker light.
It does not tell twins apart, and it does not know again a face that was frontal and is now in profile, half covered, or
lit from another side so that shadows make other edges. It is no proof of who somebody is.

Where a detector finds boxes alone, a patch is less upright, and two in five faces are not recognised at SAME_PERSON.

Hair and clothes are not looked at: on GRID's clips histograms of their colours made the descriptor worse.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import cv2
import numpy as np

from client.media import Picture, Region
from client.tracking.faces import Face
from lipsync_core.mouth.geometry import LEFT_CORNER, RIGHT_CORNER

SAME_PERSON = 0.70  # likeness; equal error rate on GRID's speakers, 0.4 % of pairs of single frames (perf/RESULTS.md)
MAYBE_SAME_PERSON = 0.62  # exceeded by one in 20 pairs of different people; for choices among few
FAMILIAR_LOOK = 0.92  # a face that is more like one that is kept adds nothing
LOOKS_KEPT = 8  # per person: turned, tilted, laughing

EYES = ((33, 133), (362, 263))  # corners of the left and the right one in the image
EYES_IN_BOX = ((0.3, 0.4), (0.7, 0.4), (0.5, 0.77))  # both eyes and the mouth, where a detector finds boxes alone
PATCH = 32  # pixels, edge
PLACES = np.array([(0.28, 0.35), (0.72, 0.35), (0.50, 0.78)]) * PATCH  # of eyes and mouth in the patch
UPPER = 24  # rows of the patch that are compared; below them the mouth moves
LIGHT_SIGMA = 6.0  # pixels of the patch; differences of light over longer distances are taken out
GREY_NOISE = 4.0  # grey levels that count as no contrast
CELL, ORIENTATIONS = 4, 8  # edge of a cell in pixels, and directions of edges that are told apart
EDGE_NOISE = 20.0  # strength of edges in a cell that count as none
MARGIN = 0.25  # of the box, read around it


def describe_face(picture: Picture, face: Face) -> np.ndarray | None:
    """Describe a face, float32 [1152] of length 1; None if it is outside the picture.

    The description is half normalised grey levels, half directions of edges, of the face above the mouth.
    """
    region = _around(face.box, picture)
    if region is None:
        return None
    patch = _upright(picture.rgb(region), _three_points(face) - np.array(region[:2]))
    if patch is None:
        return None
    even = patch - cv2.GaussianBlur(patch, (0, 0), LIGHT_SIGMA)
    halves = [_unit(_grey_levels(even)), _unit(_edges(even))]
    return np.concatenate(halves).astype(np.float32) / np.float32(np.sqrt(2))


class Looks:
    """How one person has looked so far."""

    def __init__(self, descriptors: Iterable[np.ndarray] = ()) -> None:
        """Start with these descriptions."""
        self._kept = deque(descriptors, LOOKS_KEPT)

    def likeness(self, descriptor: np.ndarray) -> float:
        """Return how like the nearest look a face is, about 0 to 1; see SAME_PERSON."""
        return max((float(look @ descriptor) for look in self._kept), default=0.0)

    def likeness_to(self, other: Looks) -> float:
        """Return how alike two people's nearest looks are."""
        return max((self.likeness(descriptor) for descriptor in other._kept), default=0.0)

    def add(self, descriptor: np.ndarray) -> None:
        """Keep a description, unless it is like one that is kept; the oldest one goes."""
        if self.likeness(descriptor) < FAMILIAR_LOOK:
            self._kept.append(descriptor)

    def add_all(self, other: Looks) -> None:
        """Keep another person's looks too, who turned out to be the same."""
        for descriptor in other._kept:
            self.add(descriptor)


def _around(box: np.ndarray, picture: Picture) -> Region | None:
    margin = MARGIN * (box[2:] - box[:2])
    size = np.array([picture.width, picture.height])
    x1, y1 = np.clip(np.floor(box[:2] - margin), 0, size).astype(int).tolist()
    x2, y2 = np.clip(np.ceil(box[2:] + margin), 0, size).astype(int).tolist()
    return picture.align_region((x1, y1, x2, y2)) if x1 < x2 and y1 < y2 else None


def _three_points(face: Face) -> np.ndarray:
    """Return the middles of the eyes and of the mouth, float64 [3, 2]."""
    if face.landmarks is None:
        low, high = face.box[:2].astype(np.float64), face.box[2:]
        return low + np.array(EYES_IN_BOX) * (high - low)
    groups = (*EYES, (LEFT_CORNER, RIGHT_CORNER))
    return np.stack([face.landmarks[list(group), :2].mean(axis=0) for group in groups]).astype(np.float64)


def _upright(rgb: np.ndarray, points: np.ndarray) -> np.ndarray | None:
    """Warp a face so that its eyes and mouth come near their places, grey float32 [32, 32]; None if it has no size."""
    middle, target = points.mean(axis=0), PLACES.mean(axis=0)
    spread, wanted = points - middle, PLACES - target
    size = (spread**2).sum()
    if size < 1:
        return None
    a = (spread * wanted).sum() / size
    b = (spread[:, 0] * wanted[:, 1] - spread[:, 1] * wanted[:, 0]).sum() / size
    turn = np.array([[a, -b], [b, a]])
    scale = float(np.hypot(a, b))
    grey: np.ndarray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    if scale < 0.5:  # so that the warp does not skip pixels
        grey = cv2.GaussianBlur(grey, (0, 0), 0.5 / scale)
    matrix = np.column_stack([turn, target - turn @ middle])
    return cv2.warpAffine(grey, matrix, (PATCH, PATCH), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _grey_levels(even: np.ndarray) -> np.ndarray:
    contrast = np.sqrt(cv2.GaussianBlur(even * even, (0, 0), LIGHT_SIGMA)) + GREY_NOISE
    return (even / contrast)[:UPPER].ravel()


def _edges(even: np.ndarray) -> np.ndarray:
    """Sum up the strengths of edges by direction in cells, square roots of shares.

    Source: histograms of oriented gradients, Dalal and Triggs, 2005.
    """
    across, down = cv2.Sobel(even, cv2.CV_32F, 1, 0), cv2.Sobel(even, cv2.CV_32F, 0, 1)
    strength = np.hypot(across, down)
    direction = (np.arctan2(down, across) % np.pi / np.pi * ORIENTATIONS).astype(int) % ORIENTATIONS
    cells = PATCH // CELL
    layers = [
        np.where(direction == number, strength, 0).reshape(cells, CELL, cells, CELL).sum(axis=(1, 3))
        for number in range(ORIENTATIONS)
    ]
    sums = np.stack(layers, axis=-1)
    shares = sums / (np.linalg.norm(sums, axis=-1, keepdims=True) + EDGE_NOISE)
    return np.sqrt(shares[: UPPER // CELL]).ravel()


def _unit(vector: np.ndarray) -> np.ndarray:
    centred = vector - vector.mean()
    return np.asarray(centred / max(float(np.linalg.norm(centred)), 1e-6))
