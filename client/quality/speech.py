"""What a voice suggests at any time: how far lips are open that say it, and whether there is speech at all."""

from __future__ import annotations

import numpy as np

from client.media import AudioSource
from client.pipelines.speech import speech_statistics_of
from lipsync_core.audio.lip_shapes import CONTEXT_S, fitted_regressor, lip_shapes
from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE
from lipsync_core.mouth.lips import signed_openings

BLOCK_S = 8.0  # of sound that is looked at in one piece
HOP_S = 0.01  # pieces begin at multiples of this, so that they give what the whole would


class VoiceCurves:
    """The curves of one voice; memory does not grow with its length."""

    def __init__(self, voice: AudioSource) -> None:
        """Measure the voice."""
        self._voice = voice
        self._statistics = speech_statistics_of(voice)

    def openings(self, times_s: np.ndarray, lags_s: np.ndarray) -> np.ndarray:
        """Return how far lips are open that say the voice, before or after some times.

        Args:
            times_s: float64 [F], seconds.
            lags_s: float64 [L], how much later lips move than the speech, in seconds.

        Returns:
            float64 [F, L], in distances of the outer eye corners, relative to the mean.
        """
        found = np.zeros((len(times_s), len(lags_s)))
        blocks = np.floor(times_s / BLOCK_S).astype(int)
        for block in np.unique(blocks).tolist():
            rows = blocks == block
            wanted = times_s[rows, None] - lags_s
            found[rows] = self._piece(wanted.reshape(-1)).reshape(wanted.shape)
        return found

    def _piece(self, times_s: np.ndarray) -> np.ndarray:
        start_s = np.floor((times_s.min() - CONTEXT_S) / HOP_S) * HOP_S
        first, stop = (round(time_s * AUDIO_SAMPLE_RATE) for time_s in (start_s, times_s.max() + CONTEXT_S))
        shapes, _ = lip_shapes(self._voice.window(first, stop), self._statistics, times_s - start_s)
        return np.asarray(signed_openings(fitted_regressor().displacements(shapes)))
