"""When somebody speaks in a job's audio, asked from the server piece by piece."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from client.media import SpeechSource
from client.servers.calls import InferRequest, TritonCalls
from lipsync_core.audio.speaking import REACH_S, WINDOW, SpeechSpans

VOICE_MODEL = "voice_activity"
BLOCK = 512 * WINDOW  # samples per request, 16 s


class TellsSpeech(Protocol):
    """Tells how far mouths follow the audio."""

    def at(self, times_s: np.ndarray) -> np.ndarray:
        """Return float32 [F] at float64 [F] seconds: 1 in speech, 0 in silence."""


class VoiceActivity:
    """How far the mouth follows audio of any length, computed once and only as far as it is asked for."""

    def __init__(self, connection: TritonCalls, audio: SpeechSource) -> None:
        """Take the audio, and the server that tells speech from other sounds."""
        self._connection = connection
        self._audio = audio
        self._spans = SpeechSpans()
        self._next = 0  # sample
        self._left: dict[str, np.ndarray] = {}  # of the part before, for the next one

    @property
    def found_speech(self) -> bool:
        """Whether there was any speech, as far as it was asked for."""
        return bool(self._spans.spans_s)

    def at(self, times_s: np.ndarray) -> np.ndarray:
        """Return float32 [F] at float64 [F] seconds: 1 in speech, 0 in silence and outside the audio."""
        until_s = float(times_s.max()) + REACH_S if len(times_s) else 0.0
        while self._next < self._audio.speech_length and self._spans.covered_s < until_s:
            self._add_block()
        return self._spans.weights(times_s)

    def _add_block(self) -> None:
        stop = min(self._next + BLOCK, self._audio.speech_length)
        left = self._left or first_voice_state(self._connection)
        inputs = {"audio": self._audio.window(self._next, stop), **left}
        answer = self._connection.infer(InferRequest(VOICE_MODEL, inputs))
        self._spans.add(answer["speech_probs"])
        self._left = {name: answer[f"next_{name}"] for name in left}
        self._next = stop


def first_voice_state(connection: TritonCalls) -> dict[str, np.ndarray]:
    """Return what the first part of audio is sent with, beside its samples."""
    contract = connection.contract(VOICE_MODEL)
    return {spec.name: np.zeros(spec.dims, spec.dtype) for spec in contract.inputs if spec.name != "audio"}
