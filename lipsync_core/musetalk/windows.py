"""Places each frame's window in the speech features, and makes the UNet's audio tokens of it.

Windows begin at a position of the features, 50 per second; positions before the first feature and after the last one
are zeros.

Source: docs/specs/musetalk.md, "Audio windows".
"""

from __future__ import annotations

import functools
import math

import numpy as np

from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE
from lipsync_core.checks import check_finite
from lipsync_core.musetalk.sizes import POSITIONS, POSITIONS_BEFORE, TOKEN_SIZE, TOKENS
from lipsync_core.whisper.sizes import POSITIONS_PER_SECOND

ROUNDING = 1e-6  # positions; 3 / 30 * 50 must not round down to 4
PADDING_BEFORE = 2  # of the original, in whole frames of positions
FIRST_FAILING_FPS = 50  # here the original's padding is one position too short
WAVELENGTH_BASE = 10_000.0  # of the position table


def window_start(index: int, fps: float) -> int:
    """Return where one frame's window begins, centred as the weights were trained, if the frame rate is constant."""
    return math.floor(index * POSITIONS_PER_SECOND / fps + ROUNDING) - POSITIONS_BEFORE


def window_starts_at(times_s: np.ndarray) -> np.ndarray:
    """Return where windows begin by the frames' times, float64 [F] seconds -> int32 [F]."""
    return (np.floor(times_s * POSITIONS_PER_SECOND + ROUNDING) - POSITIONS_BEFORE).astype(np.int32)


def original_window_start(index: int, fps: float, feature_count: int) -> int:
    """Return where the original's window of one frame begins.

    Its rate is truncated to a whole number, and its padding depends on the rate: below 25 fps windows are early.

    Args:
        index: The frame's number.
        fps: Frames per second of the video.
        feature_count: Number of features of the whole audio.

    Raises:
        ValueError: At this rate the original ends without a result.
    """
    per_frame = POSITIONS_PER_SECOND / check_original_rate(fps)
    padding = min(PADDING_BEFORE * math.ceil(per_frame), feature_count)
    return math.floor(index * per_frame) - padding


def original_feature_count(sample_count: int) -> int:
    """Return how many features of audio at 16 kHz the original counts; it divides first, which may lose one."""
    return math.floor(sample_count / AUDIO_SAMPLE_RATE * POSITIONS_PER_SECOND)


def check_original_rate(fps: float) -> int:
    """Return the whole rate that the original computes with.

    Raises:
        ValueError: At this rate the original ends without a result.
    """
    if not 1 <= fps < FIRST_FAILING_FPS:
        raise ValueError(
            f"fps: expected 1 to less than {FIRST_FAILING_FPS} for the original's windows, with which the original"
            f" itself ends at higher rates, got {fps:g}. Choose the default mode, or a lower rate"
        )
    return int(fps)


def features_for_windows(starts: np.ndarray, feature_count: int) -> tuple[slice, np.ndarray]:
    """Find the part of the features of long audio that gives the same windows as all of them.

    Args:
        starts: int [F], at least one; where the windows begin in the whole audio.
        feature_count: Number of features of the whole audio.

    Returns:
        The part; int32 [F], where the windows begin within it.
    """
    first = min(max(int(starts.min()), 0), feature_count)
    end = min(max(int(starts.max()) + POSITIONS, first), feature_count)
    return slice(first, end), (starts - first).astype(np.int32)


def audio_tokens(audio_features: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Gather each frame's window, and add the position table.

    Args:
        audio_features: float32 [N, 5, 384]; N may be 0.
        starts: int [F], where the windows begin; they may lie beyond the features, which is silence.

    Returns:
        float32 [F, 50, 384].

    Raises:
        ValueError: A feature is NaN or infinite.
    """
    check_finite("audio_features", audio_features)
    count = len(audio_features)
    positions = np.asarray(starts, np.int64)[:, None] + np.arange(POSITIONS)
    windows = np.concatenate([audio_features, np.zeros_like(audio_features, shape=(1, *audio_features.shape[1:]))])
    inside = (positions >= 0) & (positions < count)
    gathered = windows[np.where(inside, positions, count)]
    return np.asarray(gathered.reshape(len(positions), TOKENS, TOKEN_SIZE) + position_table(), np.float32)


@functools.lru_cache(maxsize=1)
def position_table() -> np.ndarray:
    """Return what is added to the tokens so that the UNet knows their order, float32 [50, 384]."""
    frequencies = np.exp(np.arange(0, TOKEN_SIZE, 2) * (-math.log(WAVELENGTH_BASE) / TOKEN_SIZE))
    angles = np.arange(TOKENS)[:, None] * frequencies
    table = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(TOKENS, TOKEN_SIZE).astype(np.float32)
    table.flags.writeable = False  # shared by all callers
    return table
