"""Audio features to each frame's audio tokens. Knows nothing of pictures and networks.

Source: docs/specs/latentsync.md, "Audio tokens".
"""

from __future__ import annotations

import numpy as np

from lipsync_core.latentsync.sizes import POSITIONS_AFTER, POSITIONS_BEFORE, TOKEN_SIZE, TOKENS
from lipsync_core.whisper.sizes import POSITIONS_PER_SECOND

NATIVE_FPS = 25  # of the clips that the network was trained on
FRAMES_BEYOND = 2  # which the original draws after the audio's end


def frame_count(positions: int, fps: float = NATIVE_FPS) -> int:
    """Count the frames that the original makes of a speech: one or two more than it lasts."""
    return int(positions * fps / POSITIONS_PER_SECOND) + FRAMES_BEYOND


def frame_position(index: int, fps: float = NATIVE_FPS) -> int:
    """Place one frame of a clip with a constant rate in the audio features."""
    return int(index * POSITIONS_PER_SECOND / fps)


def positions_at(times_s: np.ndarray) -> np.ndarray:
    """Place frames at their own times, float64 [F] in seconds from the first sample: for variable rates.

    Returns:
        int32 [F], never below 0.
    """
    positions = times_s * POSITIONS_PER_SECOND + 1e-6  # 2 must not become 1 for having been 1 / 25 * 50
    return np.maximum(0, np.floor(positions)).astype(np.int32)


def features_for_frames(positions: np.ndarray, feature_count: int) -> tuple[slice, np.ndarray]:
    """Say which features of a long speech give the same tokens as all of them.

    Args:
        positions: int [F], at least one, the frames' positions in the whole speech's features.
        feature_count: positions of the whole speech.

    Returns:
        the part; int32 [F], the frames' positions within the part.
    """
    start = max(0, min(int(positions.min()) - POSITIONS_BEFORE, feature_count - 1))
    stop = min(feature_count, int(positions.max()) + POSITIONS_AFTER)
    return slice(start, max(stop, start + 1)), (positions - start).astype(np.int32)


def window_positions(positions: np.ndarray, feature_count: int) -> np.ndarray:
    """List the ten features around each frame, those beyond the ends replaced by the last there is; int [F, 10]."""
    around = np.arange(-POSITIONS_BEFORE, POSITIONS_AFTER)
    return np.clip(positions[:, None] + around, 0, feature_count - 1)


def audio_tokens(audio_features: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Gather each frame's tokens: ten positions, five states of each.

    Args:
        audio_features: float32 [N, 5, 384].
        positions: int [F], each frame's place in the features.

    Returns:
        float32 [F, 50, 384].

    Raises:
        ValueError: there are no features, or a frame lies where none of them reach.
    """
    count = len(audio_features)
    if not count:
        raise ValueError("audio_features: expected at least one position, got none. Give a longer speech")
    last = count + POSITIONS_BEFORE - 1  # from here on a window would hold nothing but the last position, repeated
    if len(positions) and not (positions.min() >= 0 and positions.max() <= last):
        raise ValueError(
            f"audio_positions: expected 0 to {last} for these {count} audio features,"
            f" got {positions.min()} to {positions.max()}. Send the features that the frames lie in"
        )
    windows = audio_features[window_positions(positions, count)]
    return windows.reshape(len(positions), TOKENS, TOKEN_SIZE)
