"""Gathers the audio tokens of each frame from audio features.

Source: docs/specs/latentsync.md, "Audio tokens".
"""

from __future__ import annotations

import numpy as np

from lipsync_core.latentsync.sizes import POSITIONS_AFTER, POSITIONS_BEFORE, TOKEN_SIZE, TOKENS
from lipsync_core.whisper.sizes import POSITIONS_PER_SECOND

NATIVE_FPS = 25  # frame rate of the training clips


def end_of_frames_s(positions: int) -> float:
    """Return the time of the original's last frame: it stops after the first frame beyond the last position.

    At 25 frames per second these are positions // 2 + 2 frames, one or two more than the audio lasts.

    Args:
        positions: Number of positions in the audio.

    Returns:
        Seconds; the first frame that is shown then or later is the last one.
    """
    return (positions + 1) / POSITIONS_PER_SECOND


def frame_position(index: int, fps: float = NATIVE_FPS) -> int:
    """Return the audio position of one frame of a video with a constant frame rate."""
    return int(index * POSITIONS_PER_SECOND / fps)


def positions_at(times_s: np.ndarray) -> np.ndarray:
    """Compute the audio positions of frames by their times, for videos with a variable frame rate.

    Args:
        times_s: float64 [F], seconds from the first sample.

    Returns:
        int32 [F], 0 or more.
    """
    positions = times_s * POSITIONS_PER_SECOND + 1e-6  # 1 / 25 * 50 must not round down to 1
    return np.maximum(0, np.floor(positions)).astype(np.int32)


def features_for_frames(positions: np.ndarray, feature_count: int) -> tuple[slice, np.ndarray]:
    """Find the part of the features of long audio that gives the same tokens as all of them.

    Args:
        positions: int [F], at least one; the frames' positions in the whole audio.
        feature_count: Number of features of the whole audio.

    Returns:
        The part; int32 [F], the frames' positions within the part.
    """
    start = max(0, min(int(positions.min()) - POSITIONS_BEFORE, feature_count - 1))
    stop = min(feature_count, int(positions.max()) + POSITIONS_AFTER)
    return slice(start, max(stop, start + 1)), (positions - start).astype(np.int32)


def window_positions(positions: np.ndarray, feature_count: int) -> np.ndarray:
    """List the ten features around each frame; indices beyond the ends are clamped.

    Args:
        positions: int [F].
        feature_count: Number of features.

    Returns:
        int [F, 10].
    """
    around = np.arange(-POSITIONS_BEFORE, POSITIONS_AFTER)
    return np.clip(positions[:, None] + around, 0, feature_count - 1)


def audio_tokens(audio_features: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Gather each frame's audio tokens: ten positions with five states each.

    Args:
        audio_features: float32 [N, 5, 384].
        positions: int [F], each frame's position in the features.

    Returns:
        float32 [F, 50, 384].

    Raises:
        ValueError: There are no features, or a frame lies too far outside them.
    """
    count = len(audio_features)
    if not count:
        raise ValueError("audio_features: expected at least one position, got none. Send longer audio")
    last = count + POSITIONS_BEFORE - 1  # further on, a window would only repeat the last position
    if len(positions) and not (positions.min() >= 0 and positions.max() <= last):
        raise ValueError(
            f"audio_positions: expected 0 to {last} for these {count} audio features,"
            f" got {positions.min()} to {positions.max()}. Send the features that the frames cover"
        )
    windows = audio_features[window_positions(positions, count)]
    return windows.reshape(len(positions), TOKENS, TOKEN_SIZE)
