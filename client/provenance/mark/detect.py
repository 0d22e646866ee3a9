"""Finds the mark in a file, from its pictures alone: at any scale, from any frame on, anywhere in the picture.

For each block of frames, place, size of a window and position in the code, the signs of the code are compared with the
changes that are seen. Whatever a picture shows, it cannot know the code: were each of its signs the toss of a coin,
then by Hoeffding's inequality the sum of (sign x change), divided by the root of the sum of changes squared, would
exceed z with a probability of at most exp(-z^2 / 2). The threshold is the z at which this, times the number of all
comparisons made in the file, is FALSE_ALARMS.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from client.flow import batched
from client.media import Picture, SourceFrame, VideoSource
from client.media.pixels import plane_array
from client.provenance.mark.pattern import FRAMES, PAIRS, code, grid_size

FALSE_ALARMS = 1e-6  # per file
WINDOWS = (4, 6, 9, 13, 19)  # edges of square windows, in cells
SMOOTH = 1.5  # cells: larger structures of the picture are left out
QUIET = 2.0  # levels: larger changes count less, as motion makes them
FEWEST = 16  # frames in which a mark is looked for


@dataclass(frozen=True)
class MarkFound:
    """What the detector says of a file.

    Attributes:
        is_found: whether the mark is there.
        score: the largest z that was seen.
        threshold: the z from which on the mark counts as found.
        false_alarms: at most how probable a score is, by chance, that exceeds the threshold.
        spans: [start, end] of the blocks of frames in which it was found, in seconds.
    """

    is_found: bool
    score: float
    threshold: float
    false_alarms: float = FALSE_ALARMS
    spans: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class _Block:
    """The best score of a block of frames, from start_s to end_s, and the number of comparisons."""

    start_s: float
    end_s: float
    score: float
    comparisons: int


def find_mark(path: Path) -> MarkFound:
    """Look for the mark in a file.

    Raises:
        MediaError: it is no video.
    """
    blocks = [_look(block) for block in _blocks(VideoSource(path))]
    comparisons = sum(block.comparisons for block in blocks)
    threshold = math.sqrt(2 * math.log(max(1, comparisons) / FALSE_ALARMS))
    found = [block for block in blocks if block.score > threshold]
    score = max((block.score for block in blocks), default=0.0)
    spans = tuple((round(block.start_s, 3), round(block.end_s, 3)) for block in found)
    return MarkFound(bool(found), round(score, 2), round(threshold, 2), spans=spans)


def _blocks(source: VideoSource) -> Iterator[list[tuple[SourceFrame, np.ndarray]]]:
    """Divide a video into blocks in which no sign of the code is used twice; a short last one reaches back."""
    last: list[tuple[SourceFrame, np.ndarray]] = []
    for block in batched(((frame, cells_of(frame.picture)) for frame in source.frames()), FRAMES):
        whole = (last + block)[-FRAMES:]
        last = block
        if len(whole) >= FEWEST:
            yield whole


def cells_of(picture: Picture) -> np.ndarray:
    """Return the mean brightness of each cell in levels of 8 bits, float32 [down, across], upright."""
    across, down = picture.orientation.size(*grid_size(picture.width, picture.height))
    if picture.native.is_rgb:
        brightness = picture.rgb().astype(np.float32).mean(axis=2)
        return cv2.resize(brightness, grid_size(picture.width, picture.height), interpolation=cv2.INTER_AREA)
    luma = plane_array(picture.frame, 0, picture.native).astype(np.float32)
    cells = cv2.resize(luma, (across, down), interpolation=cv2.INTER_AREA) / (1 << (picture.native.depth - 8))
    return np.ascontiguousarray(picture.orientation.upright(cells))


def _look(block: list[tuple[SourceFrame, np.ndarray]]) -> _Block:
    score, comparisons = score_of(np.stack([cells for _, cells in block]))
    first, last = block[0][0], block[-1][0]
    return _Block(first.time_s, last.time_s, score, comparisons)


def score_of(cells: np.ndarray) -> tuple[float, int]:
    """Return the largest z of up to FRAMES frames, float32 [F, down, across], and the number of comparisons."""
    changes = _changes(cells)
    best, comparisons = 0.0, 0
    for first in (0, 1):  # whether a pair starts with an even frame or an odd one
        usable = (len(changes) - first) // 2 * 2
        pairs = changes[first : first + usable].reshape(-1, 2, *cells.shape[1:])
        seen = _damped((pairs[:, 0] - pairs[:, 1]) / 2)
        energy = (seen**2).sum(axis=0)
        for shift in range(PAIRS):
            signs = np.roll(code(), -shift, axis=0)[: len(seen), : cells.shape[1], : cells.shape[2]]
            agreement = np.einsum("tyx,tyx->yx", seen, signs.astype(np.float32))
            for edge in WINDOWS:
                z = _window(agreement, edge) / np.sqrt(_window(energy, edge) + np.float32(1e-6))
                best, comparisons = max(best, float(z.max())), comparisons + z.size
    return best, comparisons


def _changes(cells: np.ndarray) -> np.ndarray:
    """Return how each frame differs from its neighbours, in the finer structures, float32 [F, down, across]."""
    fine = np.stack([frame - cv2.GaussianBlur(frame, (0, 0), SMOOTH) for frame in cells])
    around = np.concatenate([fine[:1], fine, fine[-1:]])
    return fine - (around[:-2] + around[2:]) / 2


def _damped(changes: np.ndarray) -> np.ndarray:
    """Give large changes little weight; the sign stays, which is all that the bound needs."""
    return changes / (QUIET**2 + changes**2)


def _window(values: np.ndarray, edge: int) -> np.ndarray:
    """Return the sum over a window around each cell."""
    return cv2.boxFilter(values, -1, (edge, edge), normalize=False, borderType=cv2.BORDER_CONSTANT)
