"""Sounds that are no speech: a mouth should stay closed in all of them.

Source: docs/specs/truth.md, "Silence protocol".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE
from lipsync_core.mouth.lips import openings
from perf.truth.clips import TruthClip
from perf.truth.closures import opening_range
from perf.truth.drawing import DrawLips

LENGTH_S = 4.0  # of each sound, or as long as the clip
OPEN_ABOVE = 0.15  # of the clip's true range
HUM_HZ, HUM_HARMONICS, HUM_DB = 50.0, 4, -40.0
BREATH_PERIOD_S = 3.0
BREATH_BAND_HZ = (300.0, 3000.0)
CHORDS_HZ = ((220.0, 277.2, 329.6), (196.0, 246.9, 293.7), (174.6, 220.0, 261.6), (196.0, 246.9, 329.6))
BEAT_S = 0.5
PLUCK_HARMONICS, PLUCK_DECAY_S, DRUM_DECAY_S = 6, 0.4, 0.06
BETWEEN_SPEECH_S = 1.0  # of music, then of speech with it, in turn
SEED = 0


@dataclass(frozen=True)
class Protocol:
    """A sound, and where in it the mouth should be closed.

    Attributes:
        samples: float32 [S], mono at 16 kHz.
        silent: bool [F], frames without speech.
    """

    samples: np.ndarray
    silent: np.ndarray


def protocols(clip: TruthClip) -> dict[str, Protocol]:
    """Make every sound of the protocol, by name."""
    count = min(len(clip.speech), round(LENGTH_S * AUDIO_SAMPLE_RATE))
    everywhere = np.ones(clip.frames, bool)
    sounds = {
        "digital silence": np.zeros(count),
        "room noise, -60 dB": at_level(_pink(count), -60),
        "room noise, -40 dB": at_level(_pink(count), -40),
        "hum, -40 dB": at_level(_hum(count), HUM_DB),
        "breathing, -50 dB": at_level(_breathing(count), -50),
        "breathing, -35 dB": at_level(_breathing(count), -35),
        "music, -20 dB": at_level(_music(count), -20),
    }
    made = {name: Protocol(sound.astype(np.float32), everywhere) for name, sound in sounds.items()}
    made["music between speech, -30 dB"] = _between_speech(clip, count)
    return made


def open_shares(draw: DrawLips, clip: TruthClip, chosen: Mapping[str, Protocol]) -> dict[str, float]:
    """Lip-sync a clip to each sound.

    Returns:
        The share of silent frames in which the result's mouth is open, by the sound's name.

    Raises:
        LipSyncError: a job fails.
    """
    limit = OPEN_ABOVE * opening_range(clip.openings)
    shares = {}
    for name, protocol in chosen.items():
        drawn = openings(draw(clip, protocol.samples, name.replace(" ", "-").replace(",", "")))
        judged = drawn[protocol.silent & np.isfinite(drawn)]
        shares[name] = float((judged > limit).mean()) if len(judged) else float("nan")
    return shares


def at_level(sound: np.ndarray, level_db: float) -> np.ndarray:
    """Scale a sound to a level, the root of its mean square in dB of full scale."""
    level = float(np.sqrt((sound**2).mean()))
    return sound * (10 ** (level_db / 20) / level)


def _between_speech(clip: TruthClip, count: int) -> Protocol:
    """Mute every other second of the clip's speech, under quiet music."""
    parts = (np.arange(count) / AUDIO_SAMPLE_RATE // BETWEEN_SPEECH_S).astype(int)
    samples = np.where(parts % 2 == 1, clip.speech[:count], 0) + at_level(_music(count), -30)
    place = clip.times_s / BETWEEN_SPEECH_S
    inner = np.abs(place % 1 - 0.5) < 0.25  # not near the speech: lips move before it and rest after it
    return Protocol(samples.astype(np.float32), (place.astype(int) % 2 == 0) & inner)


def _pink(count: int) -> np.ndarray:
    spectrum = np.fft.rfft(np.random.default_rng(SEED).standard_normal(count))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    spectrum[0] = 0
    return np.fft.irfft(spectrum, count)


def _hum(count: int) -> np.ndarray:
    time = np.arange(count) / AUDIO_SAMPLE_RATE
    return np.sum([np.sin(2 * np.pi * HUM_HZ * n * time) / n for n in range(1, HUM_HARMONICS + 1)], axis=0)


def _breathing(count: int) -> np.ndarray:
    """Noise of a breath's band that swells and fades, in and out."""
    spectrum = np.fft.rfft(np.random.default_rng(SEED + 1).standard_normal(count))
    frequencies = np.fft.rfftfreq(count, 1 / AUDIO_SAMPLE_RATE)
    spectrum[(frequencies < BREATH_BAND_HZ[0]) | (frequencies > BREATH_BAND_HZ[1])] = 0
    swell = np.sin(np.pi * np.arange(count) / AUDIO_SAMPLE_RATE / BREATH_PERIOD_S * 2) ** 2
    return np.fft.irfft(spectrum, count) * swell


def _music(count: int) -> np.ndarray:
    """Plucked chords with a drum on each beat."""
    noise = np.random.default_rng(SEED + 2).standard_normal(count)
    time = np.arange(count) / AUDIO_SAMPLE_RATE
    beat, since = (time // BEAT_S).astype(int), time % BEAT_S
    chords = np.array(CHORDS_HZ)[beat % len(CHORDS_HZ)]
    harmonics = np.arange(1, PLUCK_HARMONICS + 1)
    strings = [np.sin(2 * np.pi * harmonic * chords * time[:, None]).sum(axis=1) / harmonic for harmonic in harmonics]
    pluck = np.sum(strings, axis=0) * np.exp(-since / PLUCK_DECAY_S)
    return pluck + noise * np.exp(-since / DRUM_DECAY_S)
