"""How well the mouth in a video follows speech: python -m perf sync VIDEO AUDIO.

Prints for three curves of the speech their correlation with the mouth's opening, at lag 0 and at the best lag within 12
frames. For unrelated clips of ten seconds the standard deviation of a correlation is 0.08 to 0.14.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from client.chunks import IN_FLIGHT, chunk_frames
from client.errors import NoFaceError
from client.flow import batched, ordered_map
from client.media import AudioSource, VideoSource
from client.report import StageClock
from client.servers.connection import TritonConnection
from client.servers.embedded import open_server
from client.tracking.faces import LARGEST, FaceChoice, parse_face_choice
from client.tracking.finder import MEDIAPIPE, FaceFinder, follow
from client.tracking.follow import smooth_landmarks
from lipsync_core.repository import DEFAULT_REPOSITORY
from perf.failures import run_command
from perf.scores.mouth_sync import SyncScore, mouth_opening, score_curves
from perf.scores.speech_curves import audio_curves

NAME = "perf sync"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure one video and print its scores; returns the exit code."""
    parser = argparse.ArgumentParser(prog=f"python -m {NAME}", description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("audio", type=Path, help="the speech")
    parser.add_argument("--face", type=parse_face_choice, default=LARGEST, help="which of several faces")
    parser.add_argument("--url", metavar="HOST:PORT", help="a running Triton; without it, one is started")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(argv)

    def run() -> None:
        with (
            open_server(options.url, DEFAULT_REPOSITORY, (MEDIAPIPE.model,)) as (url, _),
            TritonConnection(url) as connection,
        ):
            scores = measure_sync(connection, options.video, options.audio, options.face)
        if options.json:
            print(json.dumps({name: vars(score) for name, score in scores.items()}, indent=2))
        else:
            print(score_table(scores))

    return run_command(NAME, run)


def measure_sync(
    connection: TritonConnection, video: Path, audio: Path, choice: FaceChoice = LARGEST
) -> dict[str, SyncScore]:
    """Measure the mouth's opening in every frame and compare it with the speech.

    Args:
        connection: A server with the model `faces`.
        video: The video to judge.
        audio: The speech that the mouth should follow.
        choice: Which of several faces is the speaker's.

    Returns:
        Scores by curve of the speech; see `speech_curves`.

    Raises:
        NoFaceError: too few frames show the face.
        LipSyncError: the media cannot be decoded, or the server fails.
    """
    source, speech = VideoSource(video), AudioSource(audio)
    finder = FaceFinder(connection, StageClock())
    windows = batched(source.frames(), chunk_frames(source.frame_bytes))
    times: list[float] = []
    openings: list[float] = []
    with closing(ordered_map(finder.find, windows, IN_FLIGHT)) as found:
        followed = follow((frame for window in found for frame in window), choice)
        for observed in smooth_landmarks(followed):
            times.append(observed.frame.time_s)
            openings.append(mouth_opening(observed.face))
    centres = np.array(times) + source.sound_lead_s + 0.5 / float(source.rate)
    try:
        return score_curves(np.array(openings), audio_curves(speech, centres))
    except ValueError as error:
        raise NoFaceError(str(error), about=video) from error


def score_table(scores: Mapping[str, SyncScore]) -> str:
    """Return one line per curve."""
    lines = [f"{'curve of the speech':24}{'r at lag 0':>12}{'best r':>10}{'at lag':>8}"]
    lines += [
        f"{name:24}{score.correlation:12.2f}{score.best_correlation:10.2f}{score.best_lag:8d}"
        for name, score in scores.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
