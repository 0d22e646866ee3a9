"""Draws a visible label into every picture: white letters on a black box, in the lower left corner."""

from __future__ import annotations

import cv2
import numpy as np

from client.media import Picture, Region

HEIGHT_SHARE = 1 / 28  # height of the letters by that of the picture
MARGIN_SHARE = 1 / 40  # distance from the picture's edges by its shorter side
LEAST_HEIGHT = 9  # pixels, of the letters where there is room
FONT = cv2.FONT_HERSHEY_DUPLEX  # has printable ASCII alone
MAX_LETTERS = 80


def read_label(text: str) -> str:
    """Return a label's text.

    Raises:
        ValueError: it is empty, too long, or has characters that cannot be drawn.
    """
    if not 0 < len(text.strip()) <= MAX_LETTERS or not text.isascii() or not text.isprintable():
        raise ValueError
    return text.strip()


class Label:
    """The label of one job, whose pictures all have the same size."""

    def __init__(self, text: str) -> None:
        """Take the text, as `read_label` returns it."""
        self._text = text
        self._drawn: tuple[Region, np.ndarray] | None = None

    def draw(self, picture: Picture) -> Picture:
        """Return a copy of a picture with the label."""
        if self._drawn is None:
            self._drawn = self._render(picture)
        region, letters = self._drawn
        labelled = picture.copy()
        labelled.apply(region, labelled.rgb(region), letters)
        return labelled

    def _render(self, picture: Picture) -> tuple[Region, np.ndarray]:
        """Return where the label is, and how it looks, uint8 RGB [h, w, 3]."""
        width, height = picture.width, picture.height
        margin = round(MARGIN_SHARE * min(width, height))
        tall = max(LEAST_HEIGHT, round(HEIGHT_SHARE * height))
        letters = _letters(self._text, tall)
        room = max(8, width - 2 * margin)
        if letters.shape[1] > room:
            scale = room / letters.shape[1]
            size = room, max(1, round(letters.shape[0] * scale))
            letters = cv2.resize(letters, size, interpolation=cv2.INTER_AREA)
        down, across = min(letters.shape[0], height), min(letters.shape[1], width)
        wanted = margin, height - margin - down, margin + across, height - margin
        left, top, right, bottom = region = picture.align_region(_inside(wanted, width, height))
        image = np.zeros((bottom - top, right - left), np.uint8)
        image[:down, :across] = letters[: bottom - top, : right - left][:down, :across]
        return region, np.repeat(image[..., None], 3, axis=2)


def _letters(text: str, tall: int) -> np.ndarray:
    """Return white letters of some height in a black box, uint8 [h, w]."""
    thick = max(1, round(tall / 14))
    scale = cv2.getFontScaleFromHeight(FONT, tall, thick)
    (width, height), below = cv2.getTextSize(text, FONT, scale, thick)
    pad = max(3, tall // 2)
    box = np.zeros((height + below + 2 * pad, width + 2 * pad), np.uint8)
    cv2.putText(box, text, (pad, pad + height), FONT, scale, (255,), thick, cv2.LINE_AA)
    return box


def _inside(region: Region, width: int, height: int) -> Region:
    left, top, right, bottom = region
    return max(0, left), max(0, top), min(width, right), min(height, max(1, bottom))
