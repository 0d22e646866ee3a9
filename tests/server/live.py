"""Serves live streams for tests, and feeds them."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.errors import ServerBusy
from client.job import Job
from client.live.clips import CLIPS_VARIABLE
from client.live.stream import LivePicture, LiveSession
from client.media import AudioSource, VideoSource
from client.prepared.options import prepared_job, read_preparation
from client.prepared.preparation import Preparation
from client.progress import SilentProgress
from client.servers.connection import TritonConnection
from lipsync_core.serving.server import EmbeddedServer
from tests.conftest import serve
from tests.server.clips import SPEECH, swaying_head, write_video
from tests.waiting import wait_until

RATE = 16_000
MAX_SESSIONS, IDLE_TIMEOUT_S = 3, 6  # of a small server
CLIP_FRAMES = 12
AS_LIVE = {"lossless": True, "live_windows": True, "check": "off", "resume": False}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the server's clips."""
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def server(model_repository: Path, clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server with room for three streams, and the clip `head`."""
    with small_live_server(model_repository, tmp_path_factory.mktemp("repository"), clips) as up:
        yield up


@contextmanager
def live_server(repository: Path, clips: Path, *models: str, **options: Any) -> Iterator[EmbeddedServer]:
    """Serve live streams of the clips in a folder, and what prepares them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CLIPS_VARIABLE, str(clips))
        with serve(repository, ("live", "faces", *models), **options) as server:
            yield server


def prepare_clip(server: EmbeddedServer, folder: Path, *, frames: int = 12, **given: object) -> Path:
    """Prepare a head that sways a little."""
    video = write_video(folder.parent / f"{folder.name}.mp4", swaying_head(frames))
    options = read_preparation(video, folder, given)
    with TritonConnection(server.url) as connection, Preparation(options, {}) as preparation:
        preparation.run(connection, SilentProgress())
    return folder


def speech_of(seconds: float, start_s: float = 0.5) -> np.ndarray:
    """Return some speech, float32 [S] at 16 kHz."""
    with AudioSource(SPEECH) as audio:
        return audio.window(round(start_s * RATE), round((start_s + seconds) * RATE))


def pieces_of(pcm: np.ndarray, sizes: Sequence[int]) -> Iterator[np.ndarray]:
    """Cut samples into pieces of these sizes in turn."""
    start = turn = 0
    while start < len(pcm):
        yield pcm[start : start + sizes[turn % len(sizes)]]
        start, turn = start + sizes[turn % len(sizes)], turn + 1


def streamed(
    server: EmbeddedServer, clip: str, pcm: np.ndarray, sizes: Sequence[int], **given: object
) -> list[LivePicture]:
    """Stream a voice as fast as it goes, and return all pictures."""
    with opened(server, clip, pace="fast", **given) as live:
        for piece in pieces_of(pcm, sizes):
            live.send(piece)
        live.end()
        return list(live)


def job_pictures(server: EmbeddedServer, folder: Path, audio: Path, output: Path, **given: object) -> list[np.ndarray]:
    """Run a job that hears the voice as a stream does; returns its pictures before the encoder, which loses nothing."""
    options = prepared_job(folder, audio, output, {**AS_LIVE, **given})
    with Job(options) as job, TritonConnection(server.url) as connection:
        job.run(connection)
    return [frame.picture.rgb() for frame in VideoSource(output).frames()]


@contextmanager
def speaking(live: LiveSession, pcm: np.ndarray, piece_s: float = 0.05, *, ends: bool = True) -> Iterator[list[float]]:
    """Send a voice at the pace of a speaker from another thread; gives the times at which pieces were sent."""
    sent: list[float] = []

    def feed() -> None:
        began = time.monotonic()
        for number, piece in enumerate(pieces_of(pcm, [round(piece_s * live.facts.rate)])):
            time.sleep(max(0.0, began + number * piece_s - time.monotonic()))
            sent.append(time.monotonic())
            live.send(piece)
        if ends:
            live.end()

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield sent
    finally:
        thread.join()


def opened(server: EmbeddedServer, clip: str = "head", **given: object) -> LiveSession:
    """Open a stream; waits for the places of streams that were closed just before."""

    def attempt() -> LiveSession | None:
        try:
            return LiveSession(server.url, clip, **given)  # type: ignore[arg-type]
        except ServerBusy:
            return None

    found: LiveSession = wait_until(attempt)
    return found


@contextmanager
def small_live_server(repository: Path, copy: Path, clips: Path) -> Iterator[EmbeddedServer]:
    """Serve live streams with room for three, which end after some seconds without a message; one clip is `head`.

    Args:
        repository: the model repository.
        copy: an empty folder, for one with lower limits.
        clips: an empty folder for the clips.
    """
    for model in repository.iterdir():
        if model.name != "live":
            (copy / model.name).symlink_to(model)
    shutil.copytree(repository / "live", copy / "live", ignore=shutil.ignore_patterns("__pycache__"))
    config = copy / "live" / "config.pbtxt"
    text = config.read_text()
    for name, usual, value in (("max_sessions", 16, MAX_SESSIONS), ("idle_timeout_s", 30, IDLE_TIMEOUT_S)):
        line = f'key: "{name}" value {{ string_value: "{usual}" }}'
        assert line in text
        text = text.replace(line, line.replace(str(usual), str(value)))
    config.write_text(text)
    with live_server(copy, clips) as server:
        prepare_clip(server, clips / "head", frames=CLIP_FRAMES)
        yield server


def sound_of(pictures: list[LivePicture]) -> np.ndarray:
    """Return the sound of pictures, one after another."""
    return np.concatenate([picture.sound for picture in pictures])


def spoken_part(sound: np.ndarray) -> np.ndarray:
    """Return sound without the silence around it."""
    heard = np.flatnonzero(sound)
    return sound[heard[0] : heard[-1] + 1]
