"""When a voice speaks, by its energy alone: enough to make a background softer. Asks no server."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from client.media import AudioSource
from client.scene.scene import TimeSpan
from client.sound.gate import Gate
from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE

HOP = AUDIO_SAMPLE_RATE // 50  # samples of each level, 20 ms
FLOOR_DB = -60  # of full scale; softer sounds are never speech
SPEECH_RANGE_DB = 30  # speech is at most so much softer than its loudest twentieth
LOUD_PERCENTILE = 95
PAUSE_S = 0.4  # shorter pauses between words do not raise the background
FADE_S = 0.1  # attack and release; both are over when speech begins and start when it ends


def speaking_spans(voice: AudioSource) -> tuple[TimeSpan, ...]:
    """Return when a voice speaks, on the output's timeline."""
    levels = np.concatenate([_levels(block) for block in voice.speech_blocks(50 * HOP)])
    audible = levels[levels > FLOOR_DB]
    if not len(audible):
        return ()
    threshold = max(FLOOR_DB, float(np.percentile(audible, LOUD_PERCENTILE)) - SPEECH_RANGE_DB)
    loud = np.flatnonzero(levels > threshold)
    breaks = np.flatnonzero(np.diff(loud) * HOP > PAUSE_S * AUDIO_SAMPLE_RATE)
    hop_s = HOP / AUDIO_SAMPLE_RATE
    starts, ends = loud[np.concatenate([[0], breaks + 1])], loud[np.concatenate([breaks, [-1]])] + 1
    return tuple(TimeSpan(start * hop_s, end * hop_s) for start, end in zip(starts, ends, strict=True))


class Ducking:
    """The gain of a background that is softer while somebody speaks.

    Args:
        spans: when somebody speaks, in seconds.
        rate: samples per second.
        duck_db: how much softer, in dB.
    """

    def __init__(self, spans: Sequence[TimeSpan], rate: int, duck_db: float) -> None:
        """Widen the spans by the fades."""
        wide = [TimeSpan(max(0.0, span.start_s - FADE_S / 2), span.end_s + FADE_S / 2) for span in spans]
        self._gate = Gate(wide, rate, FADE_S)
        self._duck_db = duck_db

    def gain(self, start: int, stop: int) -> float | np.ndarray:
        """Return the gain of samples start..stop-1: one for all, or float32 [S]."""
        speech = self._gate.gain(start, stop)
        gain = np.power(10.0, -self._duck_db / 20 * np.asarray(speech))
        return float(gain) if isinstance(speech, float) else gain.astype(np.float32)


def _levels(block: np.ndarray) -> np.ndarray:
    """Return the level of each hop in dB, int8."""
    padded = np.pad(block, (0, -len(block) % HOP)).reshape(-1, HOP)
    energy = np.einsum("hs,hs->h", padded, padded) / HOP
    return np.clip(np.round(10 * np.log10(energy + 1e-12)), -120, 20).astype(np.int8)
