"""Speech to the log-mel segments that Whisper sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lipsync_core.triton.step import TritonStep
from lipsync_core.whisper.mel import (
    COLUMNS_PER_SECOND,
    SAMPLE_RATE,
    SEGMENT_COLUMNS,
    column_count,
    cut_segments,
    log_mel,
    normalise,
)


@dataclass(frozen=True)
class LatentSyncMelParameters:
    """What config.pbtxt sets."""

    max_segments: int  # of one request; at most whisper_encoder's max_batch_size


class TritonPythonModel(TritonStep):
    """Compute a speech's columns, or some of them, and cut them into segments."""

    Parameters = LatentSyncMelParameters

    def run(
        self,
        audio: np.ndarray,
        first_column: np.ndarray | None = None,
        column_count: np.ndarray | None = None,
        log_mel_peak: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Without the optional inputs the audio is a whole speech."""
        first = 0 if first_column is None else int(first_column[0])
        count = None if column_count is None else int(column_count[0])
        self._check_length(audio, first, count)
        columns = log_mel(audio, first, count)
        peak = float(columns.max() if log_mel_peak is None else log_mel_peak[0])
        if not np.isfinite(peak):
            raise ValueError(f"log_mel_peak: expected a finite number, got {peak}")
        mel, position_counts = cut_segments(normalise(columns, peak))
        return {"mel": mel, "position_counts": position_counts}

    def _check_length(self, audio: np.ndarray, first: int, count: int | None) -> None:
        columns = column_count(len(audio)) - first if count is None else count
        most = self.parameters.max_segments * SEGMENT_COLUMNS
        if columns > most:
            raise ValueError(
                f"audio: expected at most {most // COLUMNS_PER_SECOND} s in one request,"
                f" got {len(audio) / SAMPLE_RATE:.1f} s. Send it in parts, with log_mel_peak"
            )
