"""Checks of arguments that several models and functions share. Each raises ValueError with the argument's name."""

from __future__ import annotations

from collections.abc import Sized

import numpy as np


def check_frames(frames: np.ndarray) -> None:
    """Check that there is at least one frame and that it has pixels.

    Args:
        frames: uint8 RGB [F, H, W, 3].

    Raises:
        ValueError: F, H or W is 0.
    """
    if not frames.size:
        raise ValueError(f"frames: expected at least one frame with pixels, got {list(frames.shape)}")


def check_rows(name: str, rows: Sized, count: int, each: str = "frames", advice: str = "") -> None:
    """Check that there is one row for each frame.

    Args:
        name: The argument's name, for the message.
        rows: An array [N, ...].
        count: The number of rows expected.
        each: What the rows belong to, for the message.
        advice: A sentence for the end of the message.

    Raises:
        ValueError: N is not `count`.
    """
    if len(rows) != count:
        raise ValueError(_sentence(f"{name}: expected one row for each of {count} {each}, got {len(rows)}", advice))


def check_finite(name: str, values: np.ndarray, advice: str = "") -> None:
    """Check that no value is NaN or infinite.

    Args:
        name: The argument's name, for the message.
        values: A floating-point array of any shape [...].
        advice: A sentence for the end of the message.

    Raises:
        ValueError: A value is NaN or infinite.
    """
    if not np.isfinite(values).all():
        raise ValueError(_sentence(f"{name}: expected finite values, got NaN or infinity", advice))


def check_audio(samples: np.ndarray) -> None:
    """Check that every sample is a finite number.

    Args:
        samples: float32 [S].

    Raises:
        ValueError: A sample is NaN or infinite.
    """
    if not np.isfinite(samples).all():
        raise ValueError("audio: expected finite samples, got NaN or infinity. Decode the audio file again")


def _sentence(message: str, advice: str) -> str:
    return f"{message}. {advice}" if advice else message
