"""Computes one mel window per frame from audio, or passes given windows on."""

import numpy as np

from lipsync_core.checks import check_rows
from lipsync_core.triton.step import TritonStep
from lipsync_core.wav2lip.mel import check_windows, mel_spectrogram, mel_windows


class TritonPythonModel(TritonStep):
    """Cut each frame's window out of the mel spectrogram."""

    def run(
        self,
        audio: np.ndarray | None = None,
        window_starts: np.ndarray | None = None,
        mel_windows: np.ndarray | None = None,
        mouth_strengths: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Compute the windows, unless they are given.

        Args:
            audio: float32 [S], mono at 16 kHz.
            window_starts: int32 [F], each window's first mel frame; -1 for silence.
            mel_windows: float32 [F, 80, 16], instead of audio.
            mouth_strengths: float32 [F], only to check the number of frames.

        Returns:
            mel, float32 [F, 1, 80, 16].

        Raises:
            ValueError: Neither windows nor audio with window starts are given, or row counts differ.
        """
        windows = self._cut(audio, window_starts) if mel_windows is None else check_windows(mel_windows)
        if mouth_strengths is not None:
            check_rows("window_starts" if mel_windows is None else "mel_windows", windows, len(mouth_strengths))
        return {"mel": windows[:, None]}

    def _cut(self, audio: np.ndarray | None, window_starts: np.ndarray | None) -> np.ndarray:
        if audio is None or window_starts is None:
            raise ValueError(
                "wav2lip_mel: expected mel_windows, or audio with window_starts, got neither. Send one of them"
            )
        return mel_windows(mel_spectrogram(audio), window_starts)
