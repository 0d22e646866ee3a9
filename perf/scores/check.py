"""How well the check of results tells mouths that follow the speech from others, on clips of people who speak.

Each clip's mouth is judged with the clip's own sound, with that of other clips, and with its own moved by some time;
and so are closures of the lips, where phones lie beside the clip (CLIP.phones.json).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from client.chunks import chunk_frames
from client.errors import UsageError
from client.flow import batched
from client.media import AudioSource, VideoSource
from client.pipelines.voice import VOICE_MODEL, VoiceActivity
from client.quality.alignment import Phone
from client.quality.check import SpokenVoice, samples_of
from client.quality.closures import closures_of
from client.quality.judging import MouthSamples, correlation_near, judge_following, judge_offset
from client.quality.mouths import MouthMeter
from client.quality.speech import VoiceCurves
from client.report import StageClock
from client.servers.calls import TritonCalls
from client.servers.connection import TritonConnection
from client.servers.embedded import open_server
from client.tracking.faces import LARGEST
from client.tracking.finder import MEDIAPIPE, FaceFinder
from export.mouth_shapes.phones import read_phones
from lipsync_core.repository import DEFAULT_REPOSITORY
from perf.failures import run_command
from perf.scores.closures import ClipClosures, measure_closures

NAME = "perf check"
MOVES_S = (-0.2, -0.12, 0.12, 0.2)  # of the sound: later if positive
FRAME_S = 0.04
FOREIGN = 4  # voices of other clips that each clip is judged with


@dataclass(frozen=True, eq=False)
class SpokenClip:
    """The mouth of a clip, and its sound.

    Attributes:
        name: the file's name.
        times_s: float64 [F], the frames' centres.
        openings: float64 [F], NaN where the mouth is not seen.
        voice: the sound.
        closures: float64 [C, 2], when the lips should be closed, in seconds; empty where that is not known.
    """

    name: str
    times_s: np.ndarray
    openings: np.ndarray
    voice: AudioSource
    closures: np.ndarray

    def said(self, triton: TritonCalls, voice: AudioSource) -> MouthSamples:
        """Put the mouth beside a voice."""
        rows = self.times_s < voice.duration
        speaker = SpokenVoice(self.name, voice, VoiceActivity(triton, voice).at)
        return samples_of(self.times_s[rows], self.openings[rows], speaker, VoiceCurves(voice))


def open_clip(triton: TritonCalls, path: Path, voice: AudioSource) -> SpokenClip:
    """Measure the mouth in each frame of a clip, as the check of a job does.

    Raises:
        LipSyncError: the file cannot be decoded, or the server fails.
    """
    video, meter = VideoSource(path), MouthMeter(triton)
    finder = FaceFinder(triton, StageClock())
    for window in batched(video.frames(), chunk_frames(video.frame_bytes)):
        for found in finder.find(window):
            position = LARGEST.pick(found.faces)
            if position is not None:
                middle_s = found.frame.time_s + 0.5 / float(video.rate)
                meter.add(0, middle_s, found.frame.picture, found.faces[position])
    meter.finish()
    times_s, openings = np.array(meter.openings.get(0, [])).reshape(-1, 2).T
    phones = [Phone(phone.name, phone.start_s, phone.end_s) for phone in read_phones(path)]
    return SpokenClip(path.stem, times_s, openings, voice, closures_of(phones))


def measure(triton: TritonCalls, clips: Sequence[SpokenClip]) -> dict[str, object]:
    """Judge at least two clips with their own voices and others; returns figures.

    Raises:
        LipSyncError: the server fails.
    """
    said = [clip.said(triton, clip.voice) for clip in clips]
    own = [correlation_near(samples) for samples in said]
    foreign, refused, errors_s, told = [], 0, [], 0
    for number, clip in enumerate(clips):
        for other in others_of(number, len(clips)):
            samples = clip.said(triton, clips[other].voice)
            if judge_following(samples).verdict == "unknown":
                refused += 1
            else:
                foreign.append(correlation_near(samples))
        for move_s in MOVES_S:
            found = judge_offset(clip.said(triton, clip.voice.ahead(-move_s)))
            told += found.verdict == "bad"
            if found.verdict == "bad" and found.value is not None:
                errors_s.append(abs(found.value + move_s))
    in_time = [judge_offset(samples).verdict == "bad" for samples in said]
    beside = [
        ClipClosures(clip.times_s[: len(samples.openings)], samples, clip.closures)
        for clip, samples in zip(clips, said, strict=True)
    ]
    others = [others_of(number, len(clips)) for number in range(len(clips))]
    return {
        "clips": len(clips),
        "own": _quartiles(own),
        "foreign": _quartiles(foreign) if foreign else None,
        "foreign too short": refused,
        "equal error": _equal_error(own, foreign) if foreign else None,
        "verdicts own": _verdicts([judge_following(samples).verdict for samples in said]),
        "shifts told": round(told / (len(clips) * len(MOVES_S)), 3),
        "of those within a frame": round(float(np.mean(np.array(errors_s) <= FRAME_S)), 3) if errors_s else None,
        "own told as shifted": round(float(np.mean(in_time)), 3),
        "closures": measure_closures(beside, MOVES_S, others) if any(len(clip.closures) for clip in clips) else None,
    }


def others_of(number: int, count: int) -> list[int]:
    """Choose up to FOREIGN other clips of `count`, each once and spread over all of them."""
    wanted = min(FOREIGN, count - 1)
    return [(number + 1 + place * (count - 1) // wanted) % count for place in range(wanted)]


def _verdicts(verdicts: Sequence[str]) -> dict[str, int]:
    return {verdict: list(verdicts).count(verdict) for verdict in sorted(set(verdicts))}


def _quartiles(values: Sequence[float]) -> list[float]:
    return [round(float(value), 2) for value in np.percentile(values, [0, 25, 50, 75, 100])]


def _equal_error(own: Sequence[float], foreign: Sequence[float]) -> list[float]:
    """Return the share of wrong answers where both kinds are alike, and the limit that gives it."""
    limits = np.unique([*own, *foreign])
    wrong = [max(float((np.array(own) < x).mean()), float((np.array(foreign) >= x).mean())) for x in limits]
    best = int(np.argmin(wrong))
    return [round(wrong[best], 3), round(float(limits[best]), 2)]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(prog=f"python -m {NAME}", description=__doc__)
    parser.add_argument("clips", type=Path, nargs="+", help="videos of people who speak, with their own sound")
    options = parser.parse_args(argv)
    return run_command(NAME, lambda: _run(options.clips))


def _run(paths: Sequence[Path]) -> None:
    if len(paths) < 2:
        raise UsageError(
            about="clips", expected="at least two, to judge each with the voices of others", got=len(paths)
        )
    models = (MEDIAPIPE.model, VOICE_MODEL)
    with (
        ExitStack() as stack,
        open_server(None, DEFAULT_REPOSITORY, models) as (url, _),
        TritonConnection(url) as triton,
    ):
        clips = []
        for path in paths:
            voice = stack.enter_context(AudioSource(path, delay_s=VideoSource(path).speech_delay_s))
            clips.append(open_clip(triton, path, voice))
        print(json.dumps(measure(triton, clips), indent=2))


if __name__ == "__main__":
    sys.exit(main())
