"""Faces out of frames and back: the generator's input, and its output pasted as a box or blended.

Frames are uint8 RGB; the networks' side is BGR, turned here and nowhere else.

Source: docs/specs/wav2lip.md, "Inputs and output" and "Resizing and pasting"; the blend is our own.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np

FACE_SIZE = 96  # pixels, edge of what the generator sees and draws
MASKED_FROM = 48  # first row of the half that the generator draws anew
WHITE = 255

# The blend, in parts of the box: an ellipse over mouth, cheeks and chin.
BLEND_CENTRE = (0.5, 0.73)  # x, y; lips lie at 0.60 to 0.80 of the box's height, the nose ends at 0.54 to 0.59
BLEND_RADII = (0.5, 0.27)  # x, y: it ends with the box below, and beside the nose above
BLEND_SOLID = 0.5  # of the radius; from here on it fades
BLEND_TOP = BLEND_CENTRE[1] - BLEND_RADII[1]
MAX_COLOUR_SHIFT = 24.0  # levels; what lies further off is no matter of light


def generator_input(frames: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Cut faces out and bring them into the generator's form.

    Args:
        frames: uint8 RGB [F, H, W, 3].
        boxes: float [F, 4], whole pixels; what lies beside the frame is left out. NaN: no face.

    Returns:
        float32 [F, 6, 96, 96], BGR 0..1: the face with its lower half black, then the whole face; zeros without one.
    """
    faces = np.zeros((len(frames), 2, 3, FACE_SIZE, FACE_SIZE), np.float32)
    for frame, box, face in zip(frames, inside_boxes(boxes, *frames.shape[1:3]), faces, strict=True):
        if box is not None:
            face[:] = _resize_face(frame, box)[..., ::-1].transpose(2, 0, 1)
    faces[:, 0, :, MASKED_FROM:] = 0
    faces /= np.float32(WHITE)
    return faces.reshape(len(frames), 6, FACE_SIZE, FACE_SIZE)


def paste_faces(frames: np.ndarray, boxes: np.ndarray, drawn: np.ndarray, *, hard_box: bool = False) -> np.ndarray:
    """Put drawn faces into their frames.

    Args:
        frames: uint8 RGB [F, H, W, 3].
        boxes: float [F, 4], the same as for `generator_input`.
        drawn: float32 [F, 3, 96, 96], BGR 0..1.
        hard_box: fill the whole box as the original does, instead of blending the lower face.

    Returns:
        uint8 RGB [F, H, W, 3]; pixels outside the boxes, and frames without one, keep their value.
    """
    synced = frames.copy()
    pictures = (drawn * np.float32(WHITE)).astype(np.uint8)  # cuts off, as the original does
    for frame, box, picture in zip(synced, inside_boxes(boxes, *frames.shape[1:3]), pictures, strict=True):
        if box is not None:
            x1, y1, x2, y2 = box
            target = frame[y1:y2, x1:x2]
            colours = np.ascontiguousarray(picture.transpose(1, 2, 0)[..., ::-1])
            face = cv2.resize(colours, (x2 - x1, y2 - y1), interpolation=cv2.INTER_LINEAR)
            target[:] = face if hard_box else blend_lower_face(target, face)
    return synced


def blend_lower_face(original: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Blend a drawn face over the original one: mouth, cheeks and chin, fading out before the box ends.

    The drawn face is brought to the light of the original, by what the two differ in where it fades.

    Args:
        original: uint8 [h, w, 3].
        face: uint8 [h, w, 3].

    Returns:
        uint8 [h, w, 3]; the edges and the upper half are the original's.
    """
    blended = original.copy()
    top = int(face.shape[0] * BLEND_TOP)
    weights, face, target = blend_weights(*face.shape[:2])[top:], face[top:], blended[top:]
    change = face.astype(np.float32)
    change -= target
    rim = weights * (1 - weights)
    shift = np.einsum("hw,hwc->c", rim, change) / max(float(rim.sum()), 1e-6)
    change -= np.clip(shift, -MAX_COLOUR_SHIFT, MAX_COLOUR_SHIFT)
    change *= weights[..., None]
    change += target
    target[:] = np.clip(np.rint(change, out=change), 0, WHITE, out=change)
    return blended


@functools.lru_cache(maxsize=64)  # faces keep their size for a while; a mask of 500 x 500 is 1 MB
def blend_weights(height: int, width: int) -> np.ndarray:
    """How much of the drawn face shows, float32 [height, width], 0 at the edges and in the upper part."""
    x = (np.arange(width) + 0.5) / width
    y = (np.arange(height) + 0.5) / height
    across, down = (x - BLEND_CENTRE[0]) / BLEND_RADII[0], (y - BLEND_CENTRE[1]) / BLEND_RADII[1]
    radius = np.hypot(across[None], down[:, None])
    fade = np.clip((1 - radius) / (1 - BLEND_SOLID), 0, 1)
    weights = (fade * fade * (3 - 2 * fade)).astype(np.float32)
    weights[[0, -1]] = 0
    weights[:, [0, -1]] = 0
    weights.flags.writeable = False  # it is shared
    return weights


def inside_boxes(boxes: np.ndarray, height: int, width: int) -> list[tuple[int, int, int, int] | None]:
    """Cut boxes, float [F, 4], to the frame; None where nothing is left or no box was there."""
    limits = np.array([width, height, width, height], np.float64)
    # a number that no frame reaches stands for infinity, which has no whole pixel
    whole = np.trunc(np.clip(np.nan_to_num(boxes.astype(np.float64), nan=-1.0), 0, limits)).astype(int)
    usable = np.isfinite(boxes).all(axis=1) & (whole[:, 2:] > whole[:, :2]).all(axis=1)
    return [tuple(box) if good else None for box, good in zip(whole.tolist(), usable, strict=True)]


def boxes_from_landmarks(landmarks: np.ndarray) -> np.ndarray:
    """Draw the smallest box of whole pixels around each face, float [F, 468, 3] -> float32 [F, 4]; NaN stays NaN."""
    points = landmarks[..., :2]
    return np.concatenate([np.floor(points.min(axis=1)), np.ceil(points.max(axis=1))], axis=-1).astype(np.float32)


def _resize_face(frame: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    x1, y1, x2, y2 = box
    return cv2.resize(frame[y1:y2, x1:x2], (FACE_SIZE, FACE_SIZE), interpolation=cv2.INTER_LINEAR)
