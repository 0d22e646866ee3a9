"""Where faces are: crops for the face networks and their outputs back in pixels. Knows no network and no server.

Networks come in as callables, so the same lines run over a call to another model, a session or a fake. Frames
are uint8 RGB; points are (x, y) in pixels, x right, y down. A region is a square to look at, float64
(centre_x, centre_y, side, angle in radians).

Source of every number and formula that names no other: the published graphs of mediapipe's face detection and
face landmark modules, 0.10.21, and the tensors of their models.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

Network = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
RunDetector = Network  # images, uint8 RGB [N, S, S, 3] -> regressors [N, anchors, 16] and logits [N, anchors]
RunLandmarks = Network  # crops, uint8 RGB [N, S, S, 3] -> landmarks [N, 468, 3] in pixels of the crop, logits [N, 1]


@dataclass(frozen=True)
class Detector:
    """Fixed properties of a trained face detector."""

    image_size: int  # edge of its input, pixels
    grids: tuple[tuple[int, int], ...]  # cells per side, anchors per cell; in the order of its outputs
    min_score: float


SHORT_RANGE_DETECTOR = Detector(image_size=128, grids=((16, 2), (8, 6)), min_score=0.5)
KEYPOINTS = 6  # eye at the image's left, eye at its right, nose tip, mouth, tragion left, tragion right
MIN_IOU = 0.3  # detections that overlap more are one face
LETTERBOX_PARTS = 1
TILE_PARTS = (2, 3)  # where the letterbox shows no face, tiles of a half, then a third of the longer side

LANDMARK_IMAGE_SIZE = 192  # pixels
LANDMARKS = 468
REGION_MARGIN = 1.5  # side of the landmark crop, over the longer side of the face's box
MIN_REGION_SIDE = 1.0  # pixels
LEFT_EYE_CORNER, RIGHT_EYE_CORNER = 33, 263  # outer ones, "left" in the image

# MediaPipe landmarks whose means are LatentSync's three alignment points, as its first release mapped them.
LEFT_BROW = (71, 63, 105, 66, 107)
RIGHT_BROW = (336, 296, 334, 293, 301)
NOSE = (168, 197, 5, 4, 75, 97, 2, 326, 305)


class Detections(NamedTuple):
    """Faces found in one frame: float64 boxes [K, 4] (x1, y1, x2, y2) and keypoints [K, 6, 2] in pixels, scores [K]."""

    boxes: np.ndarray
    keypoints: np.ndarray
    scores: np.ndarray


def check_frames(frames: np.ndarray) -> None:
    """Check that there is something to look at.

    Raises:
        ValueError: there is nothing.
    """
    if not frames.size:
        raise ValueError(f"frames: expected at least one frame with pixels, got {list(frames.shape)}")


def crop_regions(frame: np.ndarray, regions: np.ndarray, size: int, *, replicate_border: bool) -> np.ndarray:
    """Sample square regions of a frame, bilinear and without filtering, as the networks were trained.

    OpenCV rounds sampling places to 1/32 pixel. Going through float32 corners and a perspective warp rounds as
    mediapipe does; an affine warp of the same square is a third faster and moves lips by up to 0.3 pixels.

    Args:
        frame: uint8 RGB [H, W, 3].
        regions: float64 [N, 4].
        size: edge of each crop, in pixels.
        replicate_border: beside the frame, repeat its edge; otherwise black.

    Returns:
        uint8 RGB [N, size, size, 3].
    """
    border = cv2.BORDER_REPLICATE if replicate_border else cv2.BORDER_CONSTANT
    corners = np.array([[0, size], [0, 0], [size, 0], [size, size]], np.float32)  # in the order of boxPoints
    crops = np.empty((len(regions), size, size, frame.shape[2]), np.uint8)
    for crop, (centre_x, centre_y, side, angle) in zip(crops, regions.tolist(), strict=True):
        square = cv2.boxPoints(((centre_x, centre_y), (side, side), math.degrees(angle)))
        matrix = cv2.getPerspectiveTransform(square, corners)
        cv2.warpPerspective(frame, matrix, (size, size), dst=crop, flags=cv2.INTER_LINEAR, borderMode=border)
    return crops


def tile_regions(height: int, width: int, parts: int) -> np.ndarray:
    """Cover a frame with upright squares whose side is its longer side over `parts`.

    Neighbours overlap by half or more, so a face of up to half a tile is whole in one of them. One part is the
    letterbox: a single square around the frame, centred.

    Returns:
        float64 regions [N, 4], row by row.
    """
    side = max(height, width) / parts
    centres_x, centres_y = _tile_centres(width, side), _tile_centres(height, side)
    return np.array([(x, y, side, 0.0) for y in centres_y for x in centres_x])


def decode_detections(detector: Detector, regressors: np.ndarray, logits: np.ndarray, region: np.ndarray) -> Detections:
    """Turn a detector's raw outputs for one image into the detections that pass its threshold.

    Args:
        detector: which one it was.
        regressors: float32 [anchors, 16]: offset to the anchor, width and height, six keypoints' offsets;
            pixels of the detector's image.
        logits: float32 [anchors].
        region: float64 [4], the upright square that the image showed.
    """
    # float64: exp(100) is too large for float32
    scores = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -100, 100)))
    kept = np.flatnonzero((scores >= detector.min_score) & (regressors[:, 2:4] >= 0).all(axis=1))
    values = regressors[kept].astype(np.float64) / detector.image_size
    centres = _anchors(detector)[kept]
    middles, half_sizes = values[:, :2] + centres, values[:, 2:4] / 2
    boxes = np.concatenate([middles - half_sizes, middles + half_sizes], axis=1)
    keypoints = values[:, 4:].reshape(-1, KEYPOINTS, 2) + centres[:, None]
    corner, side = region[:2] - region[2] / 2, region[2]
    return Detections(boxes * side + np.tile(corner, 2), keypoints * side + corner, scores[kept])


def merge_overlapping(detections: Detections) -> Detections:
    """Average detections of the same face, weighted by score (weighted non-maximum suppression), best first.

    Each face keeps the score of its best detection.
    """
    boxes, keypoints, scores = detections
    order = np.argsort(-scores, kind="stable")
    faces: list[tuple[np.ndarray, np.ndarray, float]] = []
    while order.size:
        same = _iou(boxes[order[0]], boxes[order]) > MIN_IOU
        same[0] = True  # also where the box is empty and overlaps nothing, itself included
        group = order[same]
        weights = scores[group] / scores[group].sum()
        merged_keypoints = np.tensordot(weights, keypoints[group], axes=1)
        faces.append((weights @ boxes[group], merged_keypoints, scores[group[0]]))
        order = order[~same]
    return _stack(faces)


def find_faces(
    frames: np.ndarray, run_detector: RunDetector, detector: Detector = SHORT_RANGE_DETECTOR
) -> list[Detections]:
    """Find the faces of each frame, best first; small ones by tiles where the whole frame shows none.

    Args:
        frames: uint8 RGB [F, H, W, 3].
        run_detector: the network; called once for all whole frames, and once per tile size that is needed.
        detector: which network it is.
    """
    found: list[Detections] = [_stack([])] * len(frames)
    for parts in (LETTERBOX_PARTS, *TILE_PARTS):
        missing = [index for index, detections in enumerate(found) if not len(detections.scores)]
        if not missing:
            break
        regions = tile_regions(frames.shape[1], frames.shape[2], parts)
        crops = [crop_regions(frames[index], regions, detector.image_size, replicate_border=False) for index in missing]
        regressors, logits = run_detector(np.concatenate(crops))
        for position, index in enumerate(missing):
            rows = slice(position * len(regions), (position + 1) * len(regions))
            found[index] = _merge_tiles(detector, regressors[rows], logits[rows], regions)
    return found


def largest_faces(detections: Detections, count: int) -> Detections:
    """Keep the `count` largest faces of a frame, largest box first."""
    order = np.argsort(-box_areas(detections.boxes), kind="stable")[:count]
    return Detections(*(values[order] for values in detections))


def in_batches(network: Network, images: np.ndarray, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Run a network over any number of images, at least one, with no more than `batch_size` at a time."""
    starts = range(0, len(images), batch_size)
    first, second = zip(*(network(images[start : start + batch_size]) for start in starts), strict=True)
    return np.concatenate(first), np.concatenate(second)


def fill_slots(values: np.ndarray, frame_indices: np.ndarray, frames: int, empty: float = np.nan) -> np.ndarray:
    """Give each frame as many slots as the fullest one needs.

    Args:
        values: float [K, ...], one row per face, in the order of the frames.
        frame_indices: int [K], ascending, the frame of each face.
        frames: how many frames there are.
        empty: what a slot without a face holds.

    Returns:
        float32 [frames, N, ...]; N is 0 where no frame has a face.
    """
    counts = np.bincount(frame_indices, minlength=frames)
    slots = np.arange(len(frame_indices)) - (np.cumsum(counts) - counts)[frame_indices]
    filled = np.full((frames, counts.max(), *values.shape[1:]), empty, np.float32)
    filled[frame_indices, slots] = values
    return filled


def regions_from_detections(boxes: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """Place a landmark crop on each detection: around its box, the eyes level.

    Args:
        boxes: float [..., 4].
        keypoints: float [..., 6, 2].

    Returns:
        float64 regions [..., 4].
    """
    return _regions(boxes, keypoints[..., 0, :], keypoints[..., 1, :])


def regions_from_landmarks(landmarks: np.ndarray) -> np.ndarray:
    """Place the next landmark crop on a face whose landmarks are known, float [..., 468, 3] -> float64 [..., 4]."""
    points = landmarks[..., :2]
    boxes = np.concatenate([points.min(axis=-2), points.max(axis=-2)], axis=-1)
    return _regions(boxes, points[..., LEFT_EYE_CORNER, :], points[..., RIGHT_EYE_CORNER, :])


def find_landmarks(
    frames: np.ndarray, frame_indices: Sequence[int] | np.ndarray, regions: np.ndarray, run_landmarks: RunLandmarks
) -> tuple[np.ndarray, np.ndarray]:
    """Find the landmarks in each region, one pass.

    Args:
        frames: uint8 RGB [F, H, W, 3].
        frame_indices: int [N], the frame of each region.
        regions: float64 [N, 4].
        run_landmarks: the network, called once for all regions.

    Returns:
        landmarks, float32 [N, 468, 3] in pixels of the frame, z in the same scale and smaller when nearer;
        present, bool [N], whether the network sees a face there.
    """
    if not len(regions):
        return np.empty((0, LANDMARKS, 3), np.float32), np.empty(0, bool)
    crops = [
        crop_regions(frames[index], region[None], LANDMARK_IMAGE_SIZE, replicate_border=True)
        for index, region in zip(frame_indices, regions, strict=True)
    ]
    landmarks, presence_logits = run_landmarks(np.concatenate(crops))
    return landmarks_in_frame(landmarks, regions), presence_logits[:, 0] > 0


def landmark_detections(
    frames: np.ndarray, frame_indices: np.ndarray, regions: np.ndarray, run_landmarks: RunLandmarks
) -> tuple[np.ndarray, np.ndarray]:
    """Find the landmarks of freshly detected faces, in two passes: the first only centres the second's crop.

    In a crop placed by a detection alone the network doubts 14 % of real faces, in the second 0.4 %.

    Arguments and result are those of `find_landmarks`; present is the second pass's word.
    """
    centring, _ = find_landmarks(frames, frame_indices, regions, run_landmarks)
    return find_landmarks(frames, frame_indices, regions_from_landmarks(centring), run_landmarks)


def landmarks_in_frame(landmarks: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Move landmarks from crop pixels, float32 [N, 468, 3], into the frame that `regions` [N, 4] were cut from."""
    centres, sides, angles = regions[:, None, :2], regions[:, None, 2], regions[:, None, 3]
    scaled = landmarks.astype(np.float64) / LANDMARK_IMAGE_SIZE * sides[..., None]
    x, y = scaled[..., 0] - sides / 2, scaled[..., 1] - sides / 2
    cos, sin = np.cos(angles), np.sin(angles)
    turned = np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1) + centres
    return np.concatenate([turned, scaled[..., 2:]], axis=-1).astype(np.float32)


def alignment_points(landmarks: np.ndarray) -> np.ndarray:
    """Average landmarks, float [..., 468, 3], into left brow, right brow and nose, float32 [..., 3, 2].

    Source: the MediaPipe mapping of LatentSync's first release; "left" is the image's left.
    """
    points = landmarks[..., :2]
    means = [points[..., list(group), :].mean(axis=-2) for group in (LEFT_BROW, RIGHT_BROW, NOSE)]
    return np.stack(means, axis=-2).astype(np.float32)


def box_areas(boxes: np.ndarray) -> np.ndarray:
    """Area of each box, [..., 4] -> [...], square pixels."""
    return np.asarray((boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1]))


@functools.cache
def _anchors(detector: Detector) -> np.ndarray:
    """Anchor centres, float64 [anchors, 2], in 0..1 of the image: by grid, row, column, then anchor."""
    centres = []
    for cells, repeats in detector.grids:
        middles = (np.arange(cells) + 0.5) / cells
        grid_y, grid_x = np.meshgrid(middles, middles, indexing="ij")
        centres.append(np.repeat(np.stack([grid_x, grid_y], axis=-1).reshape(-1, 2), repeats, axis=0))
    return np.concatenate(centres)


def _tile_centres(extent: int, side: float) -> np.ndarray:
    if side >= extent:
        return np.array([extent / 2])
    count = int(np.ceil((extent - side) / (side / 2) - 1e-9)) + 1  # 1e-9: an exact fit must not add a tile
    return np.linspace(side / 2, extent - side / 2, count)


def _merge_tiles(detector: Detector, regressors: np.ndarray, logits: np.ndarray, regions: np.ndarray) -> Detections:
    tiles = zip(regressors, logits, regions, strict=True)
    found = [decode_detections(detector, *tile) for tile in tiles]
    return merge_overlapping(Detections(*(np.concatenate(parts) for parts in zip(*found, strict=True))))


def _stack(faces: Sequence[tuple[np.ndarray, np.ndarray, float]]) -> Detections:
    boxes, keypoints, scores = zip(*faces, strict=True) if faces else ((), (), ())
    return Detections(
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(keypoints, np.float64).reshape(-1, KEYPOINTS, 2),
        np.array(scores, np.float64),
    )


def _iou(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of one box with several; 0 where both are empty."""
    overlap = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = np.clip(overlap, 0, None).prod(axis=1)
    union = box_areas(box) + box_areas(boxes) - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def _regions(boxes: np.ndarray, left_eyes: np.ndarray, right_eyes: np.ndarray) -> np.ndarray:
    centres = (boxes[..., :2] + boxes[..., 2:]) / 2
    sides = REGION_MARGIN * (boxes[..., 2:] - boxes[..., :2]).max(axis=-1)
    along = right_eyes - left_eyes
    angles = np.arctan2(along[..., 1], along[..., 0])
    sides = np.maximum(sides, MIN_REGION_SIDE)
    return np.concatenate([centres, sides[..., None], angles[..., None]], axis=-1).astype(np.float64)
