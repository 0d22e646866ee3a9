"""Finds landmarks in regions of a frame, and averages them to alignment points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lipsync_core.face.networks import RunLandmarks
from lipsync_core.face.regions import crop_regions, regions_from_landmarks

LANDMARK_IMAGE_SIZE = 192  # pixels
LANDMARKS = 468

# MediaPipe landmarks whose means are LatentSync's three alignment points, as its first release mapped them.
LEFT_BROW = (71, 63, 105, 66, 107)
RIGHT_BROW = (336, 296, 334, 293, 301)
NOSE = (168, 197, 5, 4, 75, 97, 2, 326, 305)

NOSE_TIP, INNER_LIPS = 1, (13, 14)  # upper and lower lip, middle
NOSE_KEYPOINT, MOUTH_KEYPOINT = 2, 3
MAX_APART = 0.3  # sides of the box; 0.19 was the most on faces of any roll, a third of wrong landmarks exceed it


def find_landmarks(
    frames: np.ndarray, frame_indices: Sequence[int] | np.ndarray, regions: np.ndarray, run_landmarks: RunLandmarks
) -> tuple[np.ndarray, np.ndarray]:
    """Find the landmarks of one face in each region.

    Args:
        frames: uint8 RGB [F, H, W, 3].
        frame_indices: int [N], the frame that each region belongs to.
        regions: float64 [N, 4].
        run_landmarks: The network; called once for all regions.

    Returns:
        landmarks, float32 [N, 468, 3] in pixels of the frame, z in the same scale and smaller for nearer points;
        present, bool [N], whether the network sees a face in the region.
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
    """Find the landmarks of newly detected faces in two passes; the first one centres the region for the second.

    The network rejects 14 % of real faces in regions placed by a detection, and 0.4 % in centred ones.

    Args:
        frames: uint8 RGB [F, H, W, 3].
        frame_indices: int [N], the frame that each region belongs to.
        regions: float64 [N, 4], from `regions_from_detections`.
        run_landmarks: The network; called twice.

    Returns:
        landmarks, float32 [N, 468, 3]; present, bool [N], both from the second pass. See `find_landmarks`.
    """
    centring, _ = find_landmarks(frames, frame_indices, regions, run_landmarks)
    return find_landmarks(frames, frame_indices, regions_from_landmarks(centring), run_landmarks)


def fit_keypoints(landmarks: np.ndarray, keypoints: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return whether nose and mouth are where the detector saw them; elsewhere the landmarks lie on something else.

    Args:
        landmarks: float [N, 468, 3].
        keypoints: float [N, 6, 2], of the detections that the landmarks were found in.
        boxes: float [N, 4], of the detections.

    Returns:
        bool [N].
    """
    return _are_near(_nose_and_mouth(landmarks), keypoints[:, [NOSE_KEYPOINT, MOUTH_KEYPOINT]], boxes)


def fit_landmarks(landmarks: np.ndarray, expected: np.ndarray, box: np.ndarray) -> bool:
    """Return whether nose and mouth are about where they are expected.

    Args:
        landmarks: float [468, 3].
        expected: float [468, 3].
        box: float [4], of the face.
    """
    return bool(_are_near(_nose_and_mouth(landmarks[None]), _nose_and_mouth(expected[None]), box[None])[0])


def _nose_and_mouth(landmarks: np.ndarray) -> np.ndarray:
    """Return two points of each face, [N, 468, 3] -> [N, 2, 2]."""
    points = landmarks[..., :2]
    return np.stack([points[:, NOSE_TIP], points[:, list(INNER_LIPS)].mean(axis=1)], axis=1)


def _are_near(points: np.ndarray, others: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return for which faces points [N, K, 2] lie close to others, for the size of their boxes [N, 4]; bool [N]."""
    apart = np.linalg.norm(points - others, axis=-1).max(axis=1)
    return np.asarray(apart <= MAX_APART * (boxes[:, 2:] - boxes[:, :2]).max(axis=1))


def landmarks_in_frame(landmarks: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Convert landmarks from pixels of the crops to pixels of the frame.

    Args:
        landmarks: float32 [N, 468, 3], in pixels of the crops.
        regions: float64 [N, 4], where in the frame the crops are from.

    Returns:
        float32 [N, 468, 3].
    """
    centres, sides, angles = regions[:, None, :2], regions[:, None, 2], regions[:, None, 3]
    scaled = landmarks.astype(np.float64) / LANDMARK_IMAGE_SIZE * sides[..., None]
    x, y = scaled[..., 0] - sides / 2, scaled[..., 1] - sides / 2
    cos, sin = np.cos(angles), np.sin(angles)
    turned = np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1) + centres
    return np.concatenate([turned, scaled[..., 2:]], axis=-1).astype(np.float32)


def alignment_points(landmarks: np.ndarray) -> np.ndarray:
    """Average landmarks, float [..., 468, 3], to left brow, right brow and nose, float32 [..., 3, 2].

    Source: the MediaPipe mapping of LatentSync's first release; "left" is the image's left.
    """
    points = landmarks[..., :2]
    means = [points[..., list(group), :].mean(axis=-2) for group in (LEFT_BROW, RIGHT_BROW, NOSE)]
    return np.stack(means, axis=-2).astype(np.float32)
