"""Clips of single speakers as scenes are composed of: frames, sound, when there is speech, and silent frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from client.errors import LipSyncError, MediaError
from client.media import AudioSource, VideoSource
from lipsync_core.audio.lip_features import HOPS_PER_SECOND, energetic, log_mel
from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE

FPS = 25
HEIGHT = 288  # pixels, of every clip in a scene
BEFORE_SPEECH = 3  # frames: lips part before a sound is heard
LEAST_SILENT = 4  # frames; where a clip has fewer, its first frame is held


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip of one speaker.

    Attributes:
        frames: uint8 RGB, each [288, W, 3].
        samples: float32 [S], mono at 16 kHz, as long as the frames.
        heard: bool [F], frames from the first to the last one with sound that is loud enough to be speech.
    """

    frames: list[np.ndarray]
    samples: np.ndarray
    heard: np.ndarray

    @property
    def listening(self) -> list[np.ndarray]:
        """As many frames of the speaker saying nothing: those before the speech, played back and forth."""
        first = int(np.argmax(self.heard)) - BEFORE_SPEECH
        silent = self.frames[:first] if first >= LEAST_SILENT else self.frames[:1]
        back_and_forth = [*silent, *silent[-2:0:-1]]
        return [back_and_forth[i % len(back_and_forth)] for i in range(len(self.frames))]

    @property
    def mouthing(self) -> list[np.ndarray]:
        """The speaker saying something at other times: the second half of the clip first, as GRID's clips keep time."""
        middle = len(self.frames) // 2
        return [*self.frames[middle:], *self.frames[:middle]]


def read_clip(path: Path) -> Clip:
    """Read a clip at 25 frames per second.

    Raises:
        MediaError: it cannot be used, is of another rate, or nothing is heard in it.
    """
    source = VideoSource(path)
    if source.rate != FPS:
        raise MediaError(about=path, expected=f"{FPS} frames per second", got=f"{float(source.rate):g}")
    frames = [_resized(frame.picture.rgb()) for frame in source.frames()]
    with AudioSource(path, delay_s=source.speech_delay_s) as audio:
        samples = audio.window(0, len(frames) * AUDIO_SAMPLE_RATE // FPS)
    loud = energetic(log_mel(samples))
    at_frames = loud[np.minimum((np.arange(len(frames)) + 0.5) / FPS * HOPS_PER_SECOND, len(loud) - 1).astype(int)]
    if not at_frames.any():
        raise MediaError(about=path, expected="speech", got="silence")
    first, last = np.flatnonzero(at_frames)[[0, -1]]
    places = np.arange(len(frames))
    return Clip(frames, samples, (first <= places) & (places <= last))


def read_people(folders: Sequence[Path], most_clips: int) -> dict[str, list[Clip]]:
    """Read at most so many clips of each speaker: one folder each. Files that are no usable clips are left out.

    Raises:
        ValueError: fewer than two speakers are left.
    """
    people = {folder.name: _read_folder(folder, most_clips) for folder in folders}
    usable = {name: clips for name, clips in people.items() if clips}
    if len(usable) < 2:
        raise ValueError(f"folders: expected clips of at least two speakers, got those of {len(usable)}")
    return usable


def _read_folder(folder: Path, most_clips: int) -> list[Clip]:
    clips: list[Clip] = []
    for path in sorted(folder.iterdir()):
        if len(clips) == most_clips:
            break
        try:
            clips.append(read_clip(path))
        except LipSyncError:
            continue
    return clips


def _resized(rgb: np.ndarray) -> np.ndarray:
    width = 2 * round(rgb.shape[1] * HEIGHT / rgb.shape[0] / 2)
    if rgb.shape[:2] == (HEIGHT, width):
        return rgb
    return cv2.resize(rgb, (width, HEIGHT), interpolation=cv2.INTER_AREA)
