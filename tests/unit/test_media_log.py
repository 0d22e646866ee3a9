"""FFmpeg's log is read by one thread at a time, and switched off again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from logging import DEBUG
from pathlib import Path

import av
import pytest
from av import logging

from client.media.carried.chroma import read_chroma_location
from client.media.ffmpeg_log import VERBOSE, captured_log
from client.media.size_limit import check_undecodable
from tests.media_clips import read_frames, write_clip

OVERLAP_S = 0.2  # for which one thread waits for the other; they must not meet


def test_two_threads_leave_the_log_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The level is global: a second thread would restore the first one's, and the log would stay on."""
    clip = write_clip(tmp_path / "clip.mp4")
    reading, checked = threading.Event(), threading.Event()

    def read_header(name: str, in_stream: object) -> None:
        reading.set()
        checked.wait(10)

    def read() -> None:
        with av.open(str(clip)) as container:
            read_chroma_location(container.streams.video[0])

    other = threading.Thread(target=read)

    @contextmanager
    def opened(path: Path) -> Iterator[None]:
        other.start()
        reading.wait(OVERLAP_S)
        yield

    monkeypatch.setattr("client.media.carried.chroma.BitStreamFilterContext", read_header)
    monkeypatch.setattr("client.media.size_limit.open_media", opened)
    before = logging.get_level()
    check_undecodable(clip)
    checked.set()
    other.join()
    assert logging.get_level() == before


def test_other_threads_stay_silent_meanwhile(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What FFmpeg says to other threads while one reads its log goes nowhere, as at all times."""
    clip = write_clip(tmp_path / "clip.mp4")
    other = threading.Thread(target=lambda: read_frames(clip))
    with caplog.at_level(DEBUG, logger="libav"), captured_log(VERBOSE) as lines:
        other.start()
        other.join()
    assert caplog.records == lines == []
