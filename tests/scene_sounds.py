"""Scenes, voices and videos with sound for the tests of a job's sound."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from client.media import AudioSource, VideoSource
from client.option import OptionValues
from client.options import read_options
from client.scene.scene import Scene, Segment, Speaker, TimeSpan, Voice
from client.sound.blocks import blocks_of
from client.sound.job_sound import JobSound, open_sound
from tests.media_clips import write_clip, write_sound

RATE = 48_000  # Hz
MARGIN = RATE // 50  # samples around a border in which sounds fade into each other


def noise(seconds: float, seed: int, rate: int = RATE, peak: float = 0.3) -> np.ndarray:
    """Return noise whose samples are exact in 16 bits, float32 [S]."""
    samples = np.random.default_rng(seed).uniform(-peak, peak, round(seconds * rate))
    return (np.round(samples * 32_768) / 32_768).astype(np.float32)


def video_with(sound: np.ndarray | None, path: Path, frames: int = 100, start_s: float = 0.0) -> Path:
    """Write a video of 25 frames per second with a sound; exact in avi."""
    codec = "mpeg4" if path.suffix == ".avi" else "libx264"  # avi has no place for the times of B-frames
    return write_clip(
        path, frames=frames, codec=codec, time_base=Fraction(1, 25), sound=sound, sound_rate=RATE, sound_start_s=start_s
    )


def voice_of(folder: Path, name: str, samples: np.ndarray, rate: int = RATE) -> Voice:
    """Write a voice, exact for what 16 bits hold."""
    layout = "stereo" if samples.ndim == 2 else "mono"
    return Voice(write_sound(folder / f"{name}.wav", samples, rate=rate, layout=layout))


def speaker(name: str, voice: Voice, *spans: tuple[float, float]) -> Speaker:
    """Return somebody who speaks in these spans, or throughout."""
    return Speaker(name, voice, segments=tuple(Segment(TimeSpan(*span)) for span in spans))


def scene_of(*speakers: Speaker, unchanged: tuple[tuple[float, float], ...] = ()) -> Scene:
    return Scene(speakers, tuple(TimeSpan(*span) for span in unchanged))


def opened(scene: Scene, video: Path | VideoSource, output: str = "out.mp4", **given: object) -> JobSound:
    """Open the sound of a job beside its video."""
    source = video if isinstance(video, VideoSource) else VideoSource(video)
    values: OptionValues = read_options(given)
    return open_sound(scene, values, source, source.path.parent / output)


def samples_of(source: AudioSource) -> np.ndarray:
    """Return all samples of a sound, float32 [S, channels]."""
    return np.concatenate(list(blocks_of(source.frames())))


def at(seconds: float, rate: int = RATE) -> int:
    return round(seconds * rate)


def level_db(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(samples.astype(np.float64) ** 2)))
