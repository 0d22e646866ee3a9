"""Crops faces for the generator, and pastes its output back as a box or blended.

Frames are uint8 RGB. The generator uses BGR; the conversion is done only here.

Source: docs/specs/wav2lip.md, "Inputs and output" and "Resizing and pasting"; the blend is this project's own.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np

from lipsync_core.fade import faded

FACE_SIZE = 96  # pixels, edge length of the generator's input and output
MASKED_FROM = 48  # first row of the half that is generated
WHITE = 255

# The blend, relative to the box: an ellipse over mouth, cheeks and chin.
BLEND_CENTRE = (0.5, 0.73)  # x, y; lips lie at 0.60 to 0.80 of the box's height, the nose ends at 0.54 to 0.59
BLEND_RADII = (0.5, 0.27)  # x, y: from beside the nose down to the box's lower edge
BLEND_SOLID = 0.5  # share of the radius; further out it fades
BLEND_TOP = BLEND_CENTRE[1] - BLEND_RADII[1]
MAX_COLOUR_SHIFT = 24.0  # of 255; larger differences are not due to lighting


def generator_input(frames: np.ndarray, boxes: np.ndarray, turns: np.ndarray | None = None) -> np.ndarray:
    """Crop faces and convert them to the generator's input.

    Args:
        frames: uint8 RGB [F, H, W, 3].
        boxes: float [F, 4], whole pixels, clipped to the frame; NaN for no face.
        turns: int [F], from `lipsync_core.face.quarter_turns`; None for upright faces.

    Returns:
        float32 [F, 6, 96, 96], BGR 0 to 1: the face with its lower half black, then the whole face; 0 without a face.
    """
    faces = np.zeros((len(frames), 2, 3, FACE_SIZE, FACE_SIZE), np.float32)
    turns = _or_upright(turns, len(frames))
    for frame, box, face, turn in zip(frames, inside_boxes(boxes, *frames.shape[1:3]), faces, turns, strict=True):
        if box is not None:
            face[:] = np.rot90(_resize_face(frame, box), turn)[..., ::-1].transpose(2, 0, 1)
    faces[:, 0, :, MASKED_FROM:] = 0
    faces /= np.float32(WHITE)
    return faces.reshape(len(frames), 6, FACE_SIZE, FACE_SIZE)


def paste_faces(
    frames: np.ndarray,
    boxes: np.ndarray,
    generated: np.ndarray,
    turns: np.ndarray | None = None,
    strengths: np.ndarray | None = None,
    *,
    hard_box: bool = False,
) -> np.ndarray:
    """Paste generated faces into their frames.

    Args:
        frames: uint8 RGB [F, H, W, 3].
        boxes: float [F, 4], as for `generator_input`.
        generated: float32 [F, 3, 96, 96], BGR 0 to 1.
        turns: int [F], as for `generator_input`.
        strengths: float [F], how much of each face is shown, 0 to 1; None for all of it.
        hard_box: Fill the whole box, as in the original, instead of blending the lower face.

    Returns:
        uint8 RGB [F, H, W, 3]; frames without a box and pixels outside the boxes are unchanged.
    """
    synced = frames.copy()
    pictures = (generated * np.float32(WHITE)).astype(np.uint8)  # truncates, as the original does
    places = inside_boxes(boxes, *frames.shape[1:3])
    turns, shares = _or_upright(turns, len(frames)), np.ones(len(frames)) if strengths is None else strengths
    for frame, box, picture, turn, share in zip(synced, places, pictures, turns, shares, strict=True):
        if box is not None and share > 0:
            x1, y1, x2, y2 = box
            target = np.rot90(frame[y1:y2, x1:x2], turn)  # a view: the face is upright in it
            colours = np.ascontiguousarray(picture.transpose(1, 2, 0)[..., ::-1])
            face = cv2.resize(colours, target.shape[1::-1], interpolation=cv2.INTER_LINEAR)
            drawn = face if hard_box else blend_lower_face(target, face)
            target[:] = faded(target, drawn, float(share))
    return synced


def blend_lower_face(original: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Blend mouth, cheeks and chin of a generated face over the original; the blend fades out inside the box.

    The generated face is shifted to the original's colours, by their difference where the blend fades.

    Args:
        original: uint8 [h, w, 3].
        face: uint8 [h, w, 3], generated.

    Returns:
        uint8 [h, w, 3]; the edges and the upper half equal the original.
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


@functools.lru_cache(maxsize=64)  # a face's size rarely changes; weights of 500 x 500 take 1 MB
def blend_weights(height: int, width: int) -> np.ndarray:
    """Return the weights of the generated face, float32 [height, width], 0 at the edges and in the upper part."""
    x = (np.arange(width) + 0.5) / width
    y = (np.arange(height) + 0.5) / height
    across, down = (x - BLEND_CENTRE[0]) / BLEND_RADII[0], (y - BLEND_CENTRE[1]) / BLEND_RADII[1]
    radius = np.hypot(across[None], down[:, None])
    fade = np.clip((1 - radius) / (1 - BLEND_SOLID), 0, 1)
    weights = (fade * fade * (3 - 2 * fade)).astype(np.float32)
    weights[[0, -1]] = 0
    weights[:, [0, -1]] = 0
    weights.flags.writeable = False  # shared by all callers
    return weights


def inside_boxes(boxes: np.ndarray, height: int, width: int) -> list[tuple[int, int, int, int] | None]:
    """Clip boxes, float [F, 4], to the frame; None for boxes that are NaN or outside."""
    limits = np.array([width, height, width, height], np.float64)
    # clipping first: infinity cannot become a whole number
    whole = np.trunc(np.clip(np.nan_to_num(boxes.astype(np.float64), nan=-1.0), 0, limits)).astype(int)
    usable = np.isfinite(boxes).all(axis=1) & (whole[:, 2:] > whole[:, :2]).all(axis=1)
    return [tuple(box) if good else None for box, good in zip(whole.tolist(), usable, strict=True)]


def boxes_from_landmarks(landmarks: np.ndarray) -> np.ndarray:
    """Compute the smallest box of whole pixels around each face, float [F, 468, 3] -> float32 [F, 4]; NaN stays NaN."""
    points = landmarks[..., :2]
    return np.concatenate([np.floor(points.min(axis=1)), np.ceil(points.max(axis=1))], axis=-1).astype(np.float32)


def _or_upright(turns: np.ndarray | None, count: int) -> np.ndarray:
    return np.zeros(count, int) if turns is None else turns


def _resize_face(frame: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    x1, y1, x2, y2 = box
    return cv2.resize(frame[y1:y2, x1:x2], (FACE_SIZE, FACE_SIZE), interpolation=cv2.INTER_LINEAR)
