"""Runs a pipeline on a clip's picture with a given speech, and tracks the lips of the result."""

from __future__ import annotations

import tempfile
import wave
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from client.job import Job
from client.job_options import JobOptions
from client.servers.connection import TritonConnection
from client.tracking.clip import track_clip
from lipsync_core.audio.pcm import FULL_SCALE
from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE
from lipsync_core.mouth.lips import align_lips
from perf.truth.clips import TruthClip

SAMPLE_BYTES = 2
# The result has the clip's own frames, as far as the speech reaches.
FIXED: dict[str, object] = {"if_audio_longer": "cut", "if_audio_shorter": "cut", "resume": False}

# Clip, speech float32 [S] and a name for the result -> its lips, float64 [F, 40, 2].
DrawLips = Callable[[TruthClip, np.ndarray, str], np.ndarray]


@dataclass(frozen=True, eq=False)
class Pipeline:
    """The pipeline under test.

    Attributes:
        connection: A server with the pipeline's models and the model `faces`.
        given: Options of the job by name, `model` among them.
        keep: Folder that results are written to; None to drop them.
    """

    connection: TritonConnection
    given: Mapping[str, object]
    keep: Path | None = None

    def draw(self, clip: TruthClip, speech: np.ndarray, name: str) -> np.ndarray:
        """Lip-sync a clip's picture to speech.

        Args:
            clip: The clip; its own sound is not used.
            speech: float32 [S], mono at 16 kHz, -1 to 1.
            name: Tells results of one clip apart.

        Returns:
            The result's lips on the clip's template, float64 [F, 40, 2]; NaN where the result shows no face or ends.

        Raises:
            LipSyncError: the job fails.
        """
        with tempfile.TemporaryDirectory(prefix="lipsync-perf-") as folder:
            sound, output = Path(folder) / "speech.wav", (self.keep or Path(folder)) / f"{clip.path.stem}-{name}.mp4"
            write_speech(sound, speech)
            options = JobOptions.read(clip.path, sound, output, {**FIXED, **self.given})
            with Job(options) as job:
                job.run(self.connection)
            tracked = track_clip(self.connection, output, clip.choice)
        lips = np.full_like(clip.lips, np.nan)
        count = min(len(lips), len(tracked.landmarks))
        lips[:count] = align_lips(tracked.landmarks[:count], clip.template)
        return lips


def write_speech(path: Path, samples: np.ndarray) -> None:
    """Write mono speech at 16 kHz as a WAV file of 16 bits, float32 [S], -1 to 1."""
    levels = np.clip(np.round(samples * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(SAMPLE_BYTES)
        file.setframerate(AUDIO_SAMPLE_RATE)
        file.writeframes(levels.tobytes())


def own_speech(draw: DrawLips, clip: TruthClip) -> np.ndarray:
    """Return the lips of a clip that was lip-synced to its own speech, float64 [F, 40, 2]."""
    return draw(clip, clip.speech, "own")


def speech_on_other_picture(draw: DrawLips, clip: TruthClip) -> np.ndarray:
    """Return the lips for the clip's speech on the picture of half a clip away, in the order of the speech.

    The source's own lips then cannot help: speech and picture are of different times.

    Returns:
        float64 [F, 40, 2]; frame i has the speech of the clip's frame i.
    """
    half = clip.frames // 2
    shift = round(half / clip.fps * AUDIO_SAMPLE_RATE)
    drawn = draw(clip, np.roll(clip.speech, -shift), "fair")  # the picture's frame i now sounds like frame i + half
    return np.roll(drawn, half, axis=0)
