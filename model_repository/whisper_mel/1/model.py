"""Computes the log-mel segments that Whisper's encoder takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE
from lipsync_core.triton.step import TritonStep
from lipsync_core.whisper import mel
from lipsync_core.whisper.sizes import SEGMENT_MEL_FRAMES, SEGMENT_S


@dataclass(frozen=True)
class WhisperMelParameters:
    """Parameters set in config.pbtxt.

    Attributes:
        max_segments: Most segments of one request; at most whisper_encoder's max_batch_size.
    """

    max_segments: int


class TritonPythonModel(TritonStep):
    """Compute the mel frames of audio, or some of them, and cut them into segments."""

    Parameters = WhisperMelParameters

    def run(
        self,
        audio: np.ndarray,
        first_mel_frame: np.ndarray | None = None,
        mel_frame_count: np.ndarray | None = None,
        log_mel_peak: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Compute segments; without the optional inputs the audio is taken as whole.

        Args:
            audio: float32 [S], mono at 16 kHz.
            first_mel_frame: int32 [1], the first mel frame that is asked for.
            mel_frame_count: int32 [1], how many are asked for.
            log_mel_peak: float32 [1], the whole audio's peak; see `lipsync_core.whisper.mel.log_mel_peak`.

        Returns:
            mel, float32 [segments, 80, 3000]; position_counts, int32 [segments].

        Raises:
            ValueError: The audio is too short or too long, a number is not finite, or the audio does not cover
                the mel frames.
        """
        first = 0 if first_mel_frame is None else int(first_mel_frame[0])
        count = None if mel_frame_count is None else int(mel_frame_count[0])
        self._check_length(audio, first, count)
        mel_frames = mel.log_mel(audio, first, count)
        peak = float(mel_frames.max() if log_mel_peak is None else log_mel_peak[0])
        if not np.isfinite(peak):
            raise ValueError(f"log_mel_peak: expected a finite number, got {peak}")
        segments, position_counts = mel.cut_segments(mel.normalise(mel_frames, peak))
        return {"mel": segments, "position_counts": position_counts}

    def _check_length(self, audio: np.ndarray, first: int, count: int | None) -> None:
        mel_frames = mel.mel_frame_count(len(audio)) - first if count is None else count
        if mel_frames > self.parameters.max_segments * SEGMENT_MEL_FRAMES:
            raise ValueError(
                f"audio: expected at most {self.parameters.max_segments * SEGMENT_S} s in one request,"
                f" got {len(audio) / AUDIO_SAMPLE_RATE:.1f} s. Send it in parts, with log_mel_peak"
            )
