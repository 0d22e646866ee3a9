"""Where MuseTalk's original places its windows: of whole audio, and with its failures.

Source: docs/specs/musetalk.md, "Audio windows".
"""

from __future__ import annotations

import math

import numpy as np

from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE
from lipsync_core.musetalk.sizes import POSITIONS
from lipsync_core.musetalk.windows import check_original_rate, original_feature_count, original_window_start
from lipsync_core.whisper.sizes import POSITIONS_PER_SECOND

PADDING_AFTER = 6  # in whole frames of positions


def original_windows(sample_count: int, fps: float) -> np.ndarray:
    """Return where all of the original's windows of audio begin, int64 [N].

    Args:
        sample_count: Length of the audio at 16 kHz.
        fps: Frames per second of the video.

    Raises:
        ValueError: At this rate, or for so short audio, the original ends without a result.
    """
    whole = check_original_rate(fps)
    frames, features = math.floor(sample_count / AUDIO_SAMPLE_RATE * whole), original_feature_count(sample_count)
    if not frames:
        raise ValueError(f"audio: expected at least one frame at {whole} fps, got {sample_count} samples")
    starts = np.array([original_window_start(index, whole, features) for index in range(frames)])
    padding = min(PADDING_AFTER * math.ceil(POSITIONS_PER_SECOND / whole), features)
    if starts[-1] + POSITIONS > features + padding:
        raise ValueError(f"audio: expected audio that the original can pad, got {sample_count} samples")
    return starts
