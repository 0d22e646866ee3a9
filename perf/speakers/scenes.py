"""Scenes of two people composed of clips of single speakers, with the truth: who is heard, and where that person is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE
from perf.speakers.clips import FPS, HEIGHT, Clip

CRF = "16"
SILENCE, NOBODY = -1, 0  # truth: frames that do not count, and frames in which nobody in view speaks
BESIDE, MOUTHING, SHOTS, REVERSE = (
    "side by side, silent listener",
    "side by side, the other one mouths",
    "alternating shots",
    "reverse shots, silent listener",
)
KINDS = (BESIDE, MOUTHING, SHOTS, REVERSE)


@dataclass(eq=False)
class Scene:
    """A composed scene.

    Attributes:
        frames: uint8 RGB, all of one size.
        samples: float32 [S], mono at 16 kHz.
        truth: for each frame SILENCE, NOBODY, or who of the people in view is heard: 1 or 2.
        in_view: for each frame, who is in view from left to right.
    """

    frames: list[np.ndarray] = field(default_factory=list)
    samples: list[np.ndarray] = field(default_factory=list)
    truth: list[int] = field(default_factory=list)
    in_view: list[tuple[int, ...]] = field(default_factory=list)


def compose(kind: str, people: Sequence[Sequence[Clip]], turns: int, rng: np.random.Generator) -> Scene:
    """Compose a scene of two people who speak in turn, one or two clips each time.

    Args:
        kind: one of KINDS. In the first two both people are in view, person 1 on the left; the one who is not heard
            listens, or says something else without a sound. In the others each turn is a shot of one person: the one
            who is heard, or in every other turn of the last kind the one who listens.
        people: the clips of both.
        turns: number of turns.
        rng: chooses clips and lengths.
    """
    scene = Scene()
    for turn in range(turns):
        speaker = turn % 2
        if kind == REVERSE:
            speaker = turn // 2 % 2
        for _ in range(int(rng.integers(1, 3))):
            heard, other = (clips[int(rng.integers(len(clips)))] for clips in (people[speaker], people[1 - speaker]))
            _add(scene, kind, speaker, heard, other, listener_in_view=bool(turn % 2))
    return scene


def write_scene(scene: Scene, path: Path) -> Path:
    """Write a scene as a video with lossless sound."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS, options={"crf": CRF, "preset": "veryfast"})
        video.height, video.width = scene.frames[0].shape[:2]
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("flac", rate=AUDIO_SAMPLE_RATE, layout="mono")
        for index, rgb in enumerate(scene.frames):
            frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(video.encode(frame))
        levels = np.clip(np.concatenate(scene.samples) * 32767, -32768, 32767).astype(np.int16)
        sound = av.AudioFrame.from_ndarray(levels[None], "s16", "mono")
        sound.sample_rate, sound.pts, sound.time_base = AUDIO_SAMPLE_RATE, 0, Fraction(1, AUDIO_SAMPLE_RATE)
        container.mux(audio.encode(sound))
        for stream in (video, audio):
            container.mux(stream.encode(None))
    return path


def _add(scene: Scene, kind: str, speaker: int, heard: Clip, other: Clip, *, listener_in_view: bool) -> None:
    """Add a clip of one person who is heard, with the other one."""
    if kind in (BESIDE, MOUTHING):
        pictures = [heard.frames, _as_long(other.listening if kind == BESIDE else other.mouthing, len(heard.frames))]
        in_view: tuple[int, ...] = (1, 2)
        beside = pictures if speaker == 0 else pictures[::-1]
        scene.frames += [np.concatenate(pair, axis=1) for pair in zip(*beside, strict=True)]
        truth = speaker + 1
    elif kind == REVERSE and listener_in_view:
        scene.frames += [_widened(frame) for frame in _as_long(other.listening, len(heard.frames))]
        in_view, truth = (2 - speaker,), NOBODY
    else:
        scene.frames += [_widened(frame) for frame in heard.frames]
        in_view, truth = (speaker + 1,), speaker + 1
    scene.samples.append(heard.samples)
    scene.truth += [truth if is_heard else SILENCE for is_heard in heard.heard.tolist()]
    scene.in_view += [in_view] * len(heard.frames)


def _as_long(frames: list[np.ndarray], count: int) -> list[np.ndarray]:
    return [frames[i % len(frames)] for i in range(count)]


def _widened(frame: np.ndarray) -> np.ndarray:
    """Put a shot of one person into a picture of fixed size, so that all clips fit one video."""
    width = 2 * HEIGHT
    wide = np.full((HEIGHT, width, 3), 60, np.uint8)
    shown = frame[:, :width]
    left = (width - shown.shape[1]) // 2
    wide[:, left : left + shown.shape[1]] = shown
    return wide
