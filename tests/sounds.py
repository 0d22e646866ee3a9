"""Sounds without speech: silence, noise, hum, breathing and music, synthesised; and speech.

All are float32 mono at 16 kHz, -1 to 1. Levels are those of the whole sound, in dB of full scale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from av import open as open_av
from av.audio.resampler import AudioResampler

from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE

SPEECH = Path(__file__).resolve().parent / "data" / "speech.flac"
CHORDS_HZ = ((220, 277, 330), (196, 247, 294), (175, 220, 262), (165, 208, 247))
BEAT_S = 0.5


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * AUDIO_SAMPLE_RATE), np.float32)


def noise(seconds: float, level: float) -> np.ndarray:
    """The sound of a room."""
    return _at(level, np.random.default_rng(0).standard_normal(len(silence(seconds))))


def hum(seconds: float, level: float) -> np.ndarray:
    """Mains hum with overtones."""
    times = _times(seconds)
    return _at(level, sum(np.sin(2 * np.pi * 50 * k * times) / k for k in range(1, 5)))


def breathing(seconds: float, level: float) -> np.ndarray:
    """Muffled noise that swells and fades, a breath every three seconds."""
    muffled = np.convolve(noise(seconds, 0), np.hanning(16), "same")
    return _at(level, muffled * np.clip(np.sin(2 * np.pi * _times(seconds) / 3), 0, 1))


def music(seconds: float, level: float) -> np.ndarray:
    """Plucked chords, and a drum on every beat."""
    samples = np.zeros(len(silence(seconds)))
    drum = np.random.default_rng(0).standard_normal(1600) * np.exp(-np.arange(1600) / 200)
    for beat in range(int(seconds / BEAT_S)):
        start = round(beat * BEAT_S * AUDIO_SAMPLE_RATE)
        notes = [_pluck(pitch) for pitch in CHORDS_HZ[beat // 4 % len(CHORDS_HZ)]]
        for sound in (*notes, 2 * drum):
            part = samples[start : start + len(sound)]
            part += sound[: len(part)]
    return _at(level, samples)


def speech() -> np.ndarray:
    """9.3 s of speech."""
    resampler = AudioResampler("flt", "mono", AUDIO_SAMPLE_RATE)
    with open_av(str(SPEECH)) as file:
        frames = [*file.decode(audio=0), None]
        pieces = [piece.to_ndarray()[0] for frame in frames for piece in resampler.resample(frame)]
    return np.concatenate(pieces)


WITHOUT_SPEECH: Mapping[str, Callable[[float], np.ndarray]] = {
    "digital silence": silence,
    "noise at -60 dB": lambda seconds: noise(seconds, -60),
    "noise at -40 dB": lambda seconds: noise(seconds, -40),
    "hum": lambda seconds: hum(seconds, -30),
    "breathing at -50 dB": lambda seconds: breathing(seconds, -50),
    "breathing at -35 dB": lambda seconds: breathing(seconds, -35),
    "music at -20 dB": lambda seconds: music(seconds, -20),
}


def _times(seconds: float) -> np.ndarray:
    return np.arange(len(silence(seconds))) / AUDIO_SAMPLE_RATE


def _pluck(pitch_hz: float) -> np.ndarray:
    times = _times(1.0)
    overtones = [np.sin(2 * np.pi * pitch_hz * k * times) / k * np.exp(-times * (3 + k)) for k in range(1, 8)]
    return np.sum(overtones, axis=0)


def _at(level: float, samples: np.ndarray | float) -> np.ndarray:
    samples = np.asarray(samples)
    return (samples / np.sqrt(np.mean(samples**2)) * 10 ** (level / 20)).astype(np.float32)
