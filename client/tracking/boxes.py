"""Boxes of a followed face, smoothed over an unbroken run of frames."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Generator, Iterable

import numpy as np

from client.tracking.follow import Frame, Observation


def smoothed_boxes(
    run: Iterable[Observation[Frame]],
    box_of: Callable[[Observation[Frame]], np.ndarray],
    smooth_stream: Callable[[Iterable[np.ndarray]], Iterable[np.ndarray]],
) -> Generator[tuple[Observation[Frame], np.ndarray], None, None]:
    """Smooth the boxes of a run of frames, of which only those are held whose boxes are being averaged with later ones.

    Args:
        run: Frames in order, each with a face.
        box_of: Computes a frame's box, [4].
        smooth_stream: Smooths boxes; it yields one for each that it takes, in order.

    Yields:
        Each frame, and its smoothed box.
    """
    waiting: deque[Observation[Frame]] = deque()

    def boxes() -> Generator[np.ndarray, None, None]:
        for observation in run:
            waiting.append(observation)
            yield box_of(observation)

    for box in smooth_stream(boxes()):
        yield waiting.popleft(), box


def with_box(observation: Observation[Frame], box: np.ndarray) -> Observation[Frame]:
    """Return a frame that has a face, with another box, float32 [4]."""
    assert observation.face is not None
    return dataclasses.replace(observation, face=dataclasses.replace(observation.face, box=box))
