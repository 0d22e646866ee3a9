"""The clip and the voice of a measurement: 512x512 at 25 pictures per second, and utterances of a recording."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from client.errors import MediaError
from client.media import AudioSource, VideoSource, at_rate, timeline
from client.portrait import portrait
from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE
from lipsync_core.extras import needs_extra

SIDE = 512  # pixels
FPS = 25
LENGTH_S = 4.0
SWAY_PIXELS, SWAY_S = 6.0, 3.0  # how far and how slowly the portrait moves to and fro
ENCODER_OPTIONS = {"crf": "16", "preset": "veryfast"}
UTTERANCE_S = 2.6
QUIET = 0.02  # of full scale; an utterance begins above it
TINY = 1e-5  # in place of exact zeros, so that a voice can be told from the silence around it


def write_clip(video: Path | None, path: Path) -> Path:
    """Write the first seconds of a video, or a portrait that sways, as a clip.

    Args:
        video: a video or an image; None for the demo's portrait.
        path: the file to write.

    Raises:
        MediaError: the video cannot be used.
    """
    frames = _portrait() if video is None else _frames_of(video)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options=dict(ENCODER_OPTIONS))
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        for index, rgb in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def utterances_of(recording: Path) -> list[np.ndarray]:
    """Cut a recording into utterances that begin with a sound, float32 [S] at 16 kHz without exact zeros.

    Raises:
        MediaError: it cannot be used, or is quiet or too short.
    """
    with AudioSource(recording) as audio:
        speech = audio.window(0, round(audio.duration * AUDIO_SAMPLE_RATE))
    length = round(UTTERANCE_S * AUDIO_SAMPLE_RATE)
    found, start = [], 0
    while (start := _next_sound(speech, start)) + length <= len(speech):
        cut = speech[start : start + length]
        found.append(np.where(cut == 0, np.float32(TINY), cut).astype(np.float32))
        start += length
    if not found:
        raise MediaError(about=recording, expected=f"at least {UTTERANCE_S:g} s of speech", got="less")
    return found


def _next_sound(speech: np.ndarray, start: int) -> int:
    loud = np.flatnonzero(np.abs(speech[start:]) > QUIET)
    return start + int(loud[0]) if len(loud) else len(speech)


def _portrait() -> Iterator[np.ndarray]:
    with needs_extra("perf"):
        picture = cv2.resize(portrait(), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    for index in range(round(LENGTH_S * FPS)):
        shift = SWAY_PIXELS * np.sin(2 * np.pi * index / (SWAY_S * FPS))
        move = np.array([[1, 0, shift], [0, 1, 0]], np.float32)
        yield cv2.warpAffine(picture, move, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)


def _frames_of(video: Path) -> Iterator[np.ndarray]:
    source = VideoSource(video)
    shown = at_rate(timeline(source, LENGTH_S), Fraction(FPS))
    for frame in itertools.islice(shown, round(LENGTH_S * FPS)):
        yield _square(frame.picture.rgb())


def _square(rgb: np.ndarray) -> np.ndarray:
    """Return the middle of a picture, uint8 RGB [512, 512, 3]."""
    side = min(rgb.shape[:2])
    rows, columns = (slice((edge - side) // 2, (edge - side) // 2 + side) for edge in rgb.shape[:2])
    return cv2.resize(np.ascontiguousarray(rgb[rows, columns]), (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def endless(utterances: Sequence[np.ndarray], first: int) -> Iterator[np.ndarray]:
    """Yield utterances one after another without an end, from one of them on."""
    for number in itertools.count(first):
        yield utterances[number % len(utterances)]
