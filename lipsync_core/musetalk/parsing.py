"""Masks of what is repainted, from the classes of a parsed face, and the parser's input.

Source: docs/specs/musetalk.md, "Masks".
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import cv2
import numpy as np

from lipsync_core.musetalk.resize import resize_square
from lipsync_core.musetalk.sizes import PARSER_CLASSES, PARSER_SIZE

ParsedArea = Literal["jaw", "raw", "neck"]
PARSED_AREAS: tuple[ParsedArea, ...] = get_args(ParsedArea)

SKIN, NOSE, NECK = 1, 10, 14
MOUTH = (11, 12, 13)  # inside, upper lip, lower lip
WHITE = 255
IMAGE_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGE_STD = np.array([0.229, 0.224, 0.225], np.float32)
BLACK = np.zeros((1, 1, 3), np.uint8)

SPREAD_SIZE = 33  # pixels: the kernel that spreads skin over a bearded jaw, mostly upward
SPREAD_TIP, SPREAD_WIDE = 10, 21  # its first row that is not empty, and the first one of full width
CHEEK_KERNEL = (35, 3)  # width, height: narrows the cheeks, twice
MAX_CHEEK_WIDTH = PARSER_SIZE // 2


class CheekWidths(NamedTuple):
    """How far from the middle of the parsed picture the narrowed cheeks begin, in its pixels, 512 across."""

    left: int = 90
    right: int = 90


CHEEK_WIDTHS = CheekWidths()


def parser_input(crops: Sequence[np.ndarray | None]) -> np.ndarray:
    """Resize and normalise pictures for the face parser.

    Args:
        crops: uint8 RGB [s, s, 3] each, of any sizes; None counts as black.

    Returns:
        float32 [N, 3, 512, 512].
    """
    images = np.empty((len(crops), 3, PARSER_SIZE, PARSER_SIZE), np.float32)
    for image, crop in zip(images, crops, strict=True):
        small = BLACK if crop is None else resize_square(crop, PARSER_SIZE, "bilinear")
        image[:] = ((small / np.float32(WHITE) - IMAGE_MEAN) / IMAGE_STD).transpose(2, 0, 1)
    return images


def area_mask(labels: np.ndarray, area: ParsedArea, cheeks: CheekWidths = CHEEK_WIDTHS) -> np.ndarray:
    """Choose what is repainted of one parsed face.

    Args:
        labels: uint8 [512, 512], 0 to 18 in the order of CelebAMask-HQ.
        area: jaw: skin spread over the jaw, without the nose; raw: skin and lips; neck: these and the neck.
        cheeks: Where the cheeks are narrowed, for `jaw`.

    Returns:
        uint8 [512, 512], 0 or 255.
    """
    if area == "jaw":
        chosen = (_spread_skin(labels, cheeks) & (labels != NOSE)) | np.isin(labels, MOUTH)
    else:
        chosen = np.isin(labels, (SKIN, *MOUTH, NECK) if area == "neck" else (SKIN, *MOUTH))
    return chosen.astype(np.uint8) * np.uint8(WHITE)


def check_labels(labels: np.ndarray) -> None:
    """Check that every label, uint8 [...], is a class of the parser.

    Raises:
        ValueError: One is not.
    """
    if labels.size and labels.max() >= PARSER_CLASSES:
        raise ValueError(
            f"labels: expected classes 0 to {PARSER_CLASSES - 1}, got {labels.max()}. Use the parser of MuseTalk"
        )


def check_cheeks(cheeks: CheekWidths) -> CheekWidths:
    """Return cheek widths that lie within the parsed picture.

    Raises:
        ValueError: They do not.
    """
    if not all(0 <= width <= MAX_CHEEK_WIDTH for width in cheeks):
        raise ValueError(f"cheek_widths: expected 0 to {MAX_CHEEK_WIDTH} each, got {cheeks.left}, {cheeks.right}")
    return cheeks


def _spread_skin(labels: np.ndarray, cheeks: CheekWidths) -> np.ndarray:
    """Spread the skin, and narrow it again in the cheeks' columns; bool [512, 512]."""
    spread = cv2.dilate((labels == SKIN).astype(np.uint8), spread_kernel())
    narrowed = cv2.erode(spread, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, CHEEK_KERNEL), iterations=2)
    middle = labels.shape[1] // 2
    columns = np.arange(labels.shape[1])
    in_cheek = (columns <= middle - cheeks.left) | (columns >= middle + cheeks.right)
    return np.where(in_cheek, narrowed, spread) > 0


@functools.lru_cache(maxsize=1)
def spread_kernel() -> np.ndarray:
    """Return the kernel that spreads skin, uint8 [33, 33]: a triangle that stands on a band."""
    rows, columns = np.arange(SPREAD_SIZE)[:, None], np.arange(SPREAD_SIZE)
    reach = np.minimum(rows, SPREAD_WIDE - 1) - SPREAD_TIP
    return (np.abs(columns - SPREAD_SIZE // 2) <= reach).astype(np.uint8)
