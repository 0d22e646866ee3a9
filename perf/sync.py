"""How well the mouth in any video follows any speech, measured through the `faces` model.

python -m perf sync VIDEO SPEECH prints, for three measures of the speech, the correlation with the mouth's opening
at lag 0 and the best one within 12 frames. Chance gives 0.08 to 0.14 (standard deviation) on clips of ten seconds.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from client.connection import TritonConnection
from client.errors import LipSyncError
from client.face_finder import MEDIAPIPE, FaceFinder, follow
from client.faces import LARGEST, FaceChoice, parse_face_choice
from client.flow import batched, ordered_map
from client.media import AudioSource, VideoSource
from client.pipeline import IN_FLIGHT, chunk_frames
from client.report import StageClock
from client.serve import DEFAULT_REPOSITORY, open_server
from client.tracking import smooth_landmarks
from lipsync_core.serving.runtime import ServerStartError
from lipsync_core.sync import SyncScore, mouth_openings, score_sync


def main(argv: Sequence[str] | None = None) -> int:
    """Measure one video and print its scores."""
    parser = argparse.ArgumentParser(prog="python -m perf sync", description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("speech", type=Path)
    parser.add_argument("--face", type=parse_face_choice, default=LARGEST, help="which of several faces")
    parser.add_argument("--url", help="a running Triton instead of one of our own")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(argv)
    with (
        open_server(options.url, DEFAULT_REPOSITORY, (MEDIAPIPE.model,)) as (url, _),
        TritonConnection(url) as connection,
    ):
        scores = measure_sync(connection, options.video, options.speech, options.face)
    if options.json:
        print(json.dumps({name: vars(score) for name, score in scores.items()}, indent=2))
    else:
        print_scores(scores)
    return 0


def measure_sync(
    connection: TritonConnection, video: Path, speech: Path, choice: FaceChoice = LARGEST
) -> dict[str, SyncScore]:
    """Measure the mouth's opening in every frame and compare it with the speech.

    Raises:
        LipSyncError: the media cannot be used, or the server fails.
        ValueError: too few frames with a face.
    """
    source = VideoSource(video)
    finder = FaceFinder(connection, StageClock())
    windows = batched(source.frames(), chunk_frames(source.frame_bytes))
    times: list[float] = []
    landmarks: list[np.ndarray] = []
    nowhere = np.full((468, 3), np.nan, np.float32)
    with closing(ordered_map(finder.find, windows, IN_FLIGHT)) as found:
        followed = follow((frame for window in found for frame in window), choice)
        for observed in smooth_landmarks(followed):
            times.append(observed.frame.time_s)
            seen = None if observed.face is None else observed.face.landmarks
            landmarks.append(nowhere if seen is None else seen)
    centres = np.array(times) + 0.5 / float(source.rate)
    samples = np.concatenate(list(AudioSource(speech).speech_blocks()))
    return score_sync(mouth_openings(np.array(landmarks)), samples, centres)


def print_scores(scores: dict[str, SyncScore]) -> None:
    """Print one line per measure."""
    print(f"{'measure of the speech':24}{'r at lag 0':>12}{'best r':>10}{'at lag':>8}")
    for name, score in scores.items():
        print(f"{name:24}{score.correlation:12.2f}{score.best_correlation:10.2f}{score.best_lag:8d}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (LipSyncError, ServerStartError, ValueError) as error:
        sys.exit(f"perf sync: {error}")
