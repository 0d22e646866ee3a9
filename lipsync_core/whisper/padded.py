"""Log-mel segments by the rule of Whisper's own feature extractor, on which MuseTalk was trained.

Each segment of 30 s is computed alone: padded with silence, its floor 8 decades below its own peak.

Source: docs/specs/whisper.md, "Padded segments".
"""

from __future__ import annotations

import numpy as np

from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE
from lipsync_core.checks import check_audio
from lipsync_core.whisper.mel import log_mel, normalise, position_count
from lipsync_core.whisper.sizes import SEGMENT_POSITIONS, SEGMENT_S

SEGMENT_SAMPLES = SEGMENT_S * AUDIO_SAMPLE_RATE


def padded_segments(samples: np.ndarray) -> np.ndarray:
    """Compute the segments of audio, or of a part of it that begins with a segment.

    Args:
        samples: float32 [S], mono at 16 kHz, -1 to 1.

    Returns:
        float32 [segments, 80, 3000].

    Raises:
        ValueError: There are no samples, or one is NaN or infinite.
    """
    if not len(samples):
        raise ValueError("audio: expected at least one sample, got none. Send longer audio")
    check_audio(samples)
    missing = -len(samples) % SEGMENT_SAMPLES
    segments = np.pad(samples, (0, missing)).reshape(-1, SEGMENT_SAMPLES)
    return np.stack([_segment(segment) for segment in segments])


def padded_position_counts(sample_count: int) -> np.ndarray:
    """Count the encoder's positions of each segment that are not padding, int32 [segments]."""
    starts = np.arange(-(-sample_count // SEGMENT_SAMPLES)) * SEGMENT_POSITIONS
    return np.clip(position_count(sample_count) - starts, 0, SEGMENT_POSITIONS).astype(np.int32)


def _segment(samples: np.ndarray) -> np.ndarray:
    mel = log_mel(samples)
    return normalise(mel, float(mel.max()))
