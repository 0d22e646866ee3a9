"""Scenes of several people, composed of one photographed head in several guises, with speech."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from tests.server.clips import SIDE, head_frame, write_video

GUISES = {  # by name: mirrored, and what each of red, green and blue is multiplied by
    "ann": (False, (1.0, 1.0, 1.0)),
    "bob": (True, (0.75, 0.85, 1.0)),
    "cat": (False, (0.6, 0.55, 0.5)),
}
STEP = 4  # pixels per frame of people who cross


def person(name: str, shift: float = 0.0) -> np.ndarray:
    """Return a person's head and shoulders, uint8 RGB [256, 256, 3], moved to the right by some pixels."""
    mirrored, gains = GUISES[name]
    head = head_frame(-shift if mirrored else shift)
    head = head[:, ::-1] if mirrored else head
    return np.clip(head * np.array(gains), 0, 255).astype(np.uint8)


def side_by_side(names: Sequence[str], count: int) -> list[np.ndarray]:
    """Return frames of people beside each other, each 256 pixels wide, who sway a little."""
    return [
        np.concatenate([person(name, 3 * np.sin(i / 6 + place)) for place, name in enumerate(names)], axis=1)
        for i in range(count)
    ]


def crossing(count: int) -> list[np.ndarray]:
    """Return frames in which ann walks to the right, in front of bob, who walks to the left."""
    width = 3 * SIDE
    frames = []
    for i in range(count):
        frame = np.full((SIDE, width, 3), 90, np.uint8)
        ann, bob = min(STEP * i, width - SIDE), max(width - SIDE - STEP * i, 0)
        frame[:, bob : bob + SIDE] = person("bob")
        frame[:, ann : ann + SIDE] = person("ann")
        frames.append(frame)
    return frames


def shots(names: Iterable[str], frames_each: int) -> list[np.ndarray]:
    """Return a shot of each person in turn, 256 pixels wide."""
    return [person(name, 3 * np.sin(i / 6)) for name in names for i in range(frames_each)]


def write_scene(path: Path, frames: Sequence[np.ndarray]) -> Path:
    """Write frames at 25 per second, nearly without loss."""
    return write_video(path, frames)


def columns_of(place: int) -> slice:
    """Return the columns of a person in `side_by_side`."""
    return slice(SIDE * place, SIDE * (place + 1))


def sheet(frames: Sequence[np.ndarray], across: int) -> np.ndarray:
    """Return frames in rows, for eyes."""
    rows = [np.concatenate(frames[i : i + across], axis=1) for i in range(0, len(frames) - across + 1, across)]
    return cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR)
