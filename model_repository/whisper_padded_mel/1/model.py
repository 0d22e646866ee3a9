"""Computes log-mel segments by the rule of Whisper's own feature extractor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE
from lipsync_core.triton.step import TritonStep
from lipsync_core.whisper.padded import SEGMENT_SAMPLES, padded_position_counts, padded_segments
from lipsync_core.whisper.sizes import SEGMENT_S


@dataclass(frozen=True)
class WhisperPaddedMelParameters:
    """Parameters set in config.pbtxt.

    Attributes:
        max_segments: Most segments of one request; at most whisper_encoder's max_batch_size.
    """

    max_segments: int


class TritonPythonModel(TritonStep):
    """Compute the segments of audio, or of a part of it."""

    Parameters = WhisperPaddedMelParameters

    def run(self, audio: np.ndarray) -> dict[str, np.ndarray]:
        """Compute segments.

        Args:
            audio: float32 [S], mono at 16 kHz.

        Returns:
            mel, float32 [segments, 80, 3000]; position_counts, int32 [segments].

        Raises:
            ValueError: There are no samples or too many, or one is not finite.
        """
        if len(audio) > self.parameters.max_segments * SEGMENT_SAMPLES:
            raise ValueError(
                f"audio: expected at most {self.parameters.max_segments * SEGMENT_S} s in one request,"
                f" got {len(audio) / AUDIO_SAMPLE_RATE:.1f} s. Send it in parts of whole segments"
            )
        return {"mel": padded_segments(audio), "position_counts": padded_position_counts(len(audio))}
