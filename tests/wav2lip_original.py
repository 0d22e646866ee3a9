"""Where Wav2Lip's original places its mel windows: one per frame, of whole audio.

Source: docs/specs/wav2lip.md, "Mel windows".
"""

from __future__ import annotations

from itertools import count, takewhile

import numpy as np

from lipsync_core.wav2lip.mel import WINDOW_MEL_FRAMES, window_start


def original_windows(mel_frames: int, fps: float) -> np.ndarray:
    """Return where all of the original's windows of audio begin, int32 [N].

    The last window is the audio's last 16 mel frames; no video frame starts there, so 9.6 s at 25 fps give 237
    windows.

    Args:
        mel_frames: Length of the whole spectrogram; fewer than 16 count as 16.
        fps: Frames per second of the video.
    """
    last = max(mel_frames, WINDOW_MEL_FRAMES) - WINDOW_MEL_FRAMES
    starts = takewhile(lambda start: start <= last, (window_start(i, fps) for i in count()))
    return np.array([*starts, last], np.int32)
