"""Speech, or mel windows that the caller already has, to one window per frame."""

import numpy as np

from lipsync_core.checks import check_rows
from lipsync_core.triton.step import TritonStep
from lipsync_core.wav2lip.mel import check_windows, mel_spectrogram, mel_windows


class TritonPythonModel(TritonStep):
    """Cut each frame's window out of the speech's mel spectrogram; given windows pass through."""

    def run(
        self,
        audio: np.ndarray | None = None,
        window_starts: np.ndarray | None = None,
        mel_windows: np.ndarray | None = None,
        face_boxes: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Look at the speech, unless the caller brings the windows; one for each frame, where frames are known."""
        windows = self._cut(audio, window_starts) if mel_windows is None else check_windows(mel_windows)
        if face_boxes is not None:
            check_rows("window_starts" if mel_windows is None else "mel_windows", windows, len(face_boxes))
        return {"mel": windows[:, None]}

    def _cut(self, audio: np.ndarray | None, window_starts: np.ndarray | None) -> np.ndarray:
        if audio is None or window_starts is None:
            raise ValueError(
                "wav2lip_mel: expected mel_windows, or audio with window_starts, got neither. Send one of them"
            )
        return mel_windows(mel_spectrogram(audio), window_starts)
