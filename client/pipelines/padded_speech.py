"""Whisper's features by MuseTalk's rule, requested from the server piece by piece."""

from __future__ import annotations

import numpy as np

from client.pipelines.speech import WhisperFeatures
from client.servers.calls import InferRequest
from lipsync_core.whisper.padded import SEGMENT_SAMPLES

PADDED_FEATURES_MODEL = "whisper_padded_features"


class PaddedSpeechFeatures(WhisperFeatures):
    """The features as MuseTalk was trained on them: each 30 s by themselves."""

    def _segment(self, number: int) -> np.ndarray:
        start = number * SEGMENT_SAMPLES
        samples = self._audio.window(start, min(start + SEGMENT_SAMPLES, self.sample_count))
        return self._connection.infer(InferRequest(PADDED_FEATURES_MODEL, {"audio": samples}))["audio_features"]
