"""A stream's clock, limits and end, with an engine that draws nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from client.errors import LipSyncError, UsageError
from client.live.frame_queue import Shown
from client.live.session import Session
from client.live.settings import StreamLimits, StreamSettings, read_settings
from client.live.voice import GrowingVoice
from tests.waiting import wait_until

RATE = 16_000
LOOK_AHEAD_S = 0.25
FRAME_S = 0.04
TONE = np.full(RATE, 0.5, np.float32)


class Engine:
    """Frames of nothing, which speak where the voice is not silent."""

    hears_ahead_s = LOOK_AHEAD_S + FRAME_S
    live = SimpleNamespace(chunk_frames=1)

    def __init__(self, voice: GrowingVoice, draw_s: float = 0.0) -> None:
        self._voice = voice
        self._draw_s = draw_s
        self._next = 0
        self.drawn: list[float] = []

    def next_frames(self) -> list[Any]:
        time_s = self._next * FRAME_S
        self._next += 1
        return [SimpleNamespace(shown=SimpleNamespace(time_s=time_s, duration_s=FRAME_S, middle_s=time_s + 0.02))]

    def needed(self, frames: list[Any]) -> int:
        return round((frames[-1].shown.middle_s + LOOK_AHEAD_S) * RATE)

    def draw(self, frames: list[Any]) -> list[Any]:
        time.sleep(self._draw_s)
        self.drawn += [frame.shown.time_s for frame in frames]
        return frames

    def speaks(self, frames: list[Any]) -> bool:
        at = frames[0].shown
        return bool(self._voice.sound(at.time_s, at.time_s + at.duration_s).any())

    def treat(self, frame: Any, number: int) -> Any:
        return SimpleNamespace(rgb=lambda: np.full((1, 1, 3), number % 256, np.uint8))

    def hush(self, time_s: float) -> None:
        pass


class Viewer:
    """Keeps what it is shown."""

    def __init__(self) -> None:
        self.shown: list[tuple[float, Shown]] = []
        self.ends: list[LipSyncError | None] = []
        self.gone = False

    def opened(self, engine: object) -> None:
        pass

    def show(self, shown: Shown) -> None:
        self.shown.append((time.monotonic(), shown))

    def is_gone(self) -> bool:
        return self.gone

    def ended(self, error: LipSyncError | None) -> None:
        self.ends.append(error)

    @property
    def sound(self) -> np.ndarray:
        return np.concatenate([shown.sound for _, shown in self.shown])


Open = Callable[..., tuple[Session, Viewer]]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Opens streams, which end with the test."""
    sessions = []

    def open_one(limits: StreamLimits | None = None, draw_s: float = 0.0, **settings: Any) -> tuple[Session, Viewer]:
        viewer = Viewer()

        def open_engine(_: StreamSettings, voice: GrowingVoice, stack: ExitStack) -> Any:
            return Engine(voice, draw_s)

        chosen = StreamSettings("clip", **settings)
        sessions.append(Session(chosen, limits or StreamLimits(), viewer, open_engine))
        return sessions[-1], viewer

    yield open_one
    for session in sessions:
        session.stop()
        assert session.join(5)


def test_a_fast_stream_shows_the_voice_and_ends_with_it(opened: Open) -> None:
    """25 frames a second, the last one in part; silence is added for nothing but the look-ahead."""
    session, viewer = opened(pace="fast")
    session.add_voice(TONE[:12_500], RATE)
    session.end()
    assert session.join(10)
    assert [shown.number for _, shown in viewer.shown] == list(range(20))
    assert np.array_equal(viewer.sound[:12_500], TONE[:12_500])
    assert not viewer.sound[12_500:].any()
    assert viewer.ends == [None]


def test_a_stream_in_real_time_keeps_its_clock(opened: Open) -> None:
    """Pictures come at their times with or without a voice, and the voice comes soon and whole."""
    session, viewer = opened()
    wait_until(lambda: len(viewer.shown) > 5, seconds=10)
    said = time.monotonic()
    session.add_voice(TONE[:4_800], RATE)
    session.end()
    assert session.join(10)
    arrived = np.array([at - shown.time_s for at, shown in viewer.shown])
    assert np.median(arrived - arrived.min()) < 0.1
    first = next(at for at, shown in viewer.shown if shown.sound.any())
    assert LOOK_AHEAD_S < first - said < 1.0
    heard = np.flatnonzero(viewer.sound)
    assert len(heard) == heard[-1] - heard[0] + 1 == 4_800


def test_frames_that_come_too_late_are_not_drawn(opened: Open) -> None:
    """A server that is too slow shows fewer pictures, at their times."""
    session, viewer = opened(draw_s=0.1)
    time.sleep(1.5)
    session.stop()
    assert session.join(5)
    held = [shown.rgb is None for _, shown in viewer.shown]
    assert 0.2 < np.mean(held) < 0.9
    at, last = viewer.shown[-1]
    assert at - viewer.shown[0][0] - last.time_s < 0.5


def test_an_interruption_drops_what_is_queued_and_draws_those_frames_again(opened: Open) -> None:
    """No frame is missing or shown twice, and new voice follows."""
    session, viewer = opened()
    session.add_voice(np.tile(TONE, 3), RATE)
    wait_until(lambda: any(shown.speaks for _, shown in viewer.shown), seconds=10)
    session.interrupt()
    cut = len(viewer.shown)
    session.add_voice(TONE[:3_200], RATE)
    session.end()
    assert session.join(10)
    assert [shown.number for _, shown in viewer.shown] == list(range(len(viewer.shown)))
    assert np.allclose(np.diff([shown.time_s for _, shown in viewer.shown]), FRAME_S)
    after = np.concatenate([shown.sound for _, shown in viewer.shown[cut + 2 :]])
    assert np.count_nonzero(after) == 3_200


def test_voice_that_comes_before_the_clip_is_loaded_is_kept(opened: Open) -> None:
    """And its end too."""
    started = threading.Event()
    viewer = Viewer()

    def open_engine(_: StreamSettings, voice: GrowingVoice, stack: ExitStack) -> Any:
        started.wait(10)
        return Engine(voice)

    session = Session(StreamSettings("clip", pace="fast"), StreamLimits(), viewer, open_engine)
    session.add_voice(TONE[:1_600], RATE)
    session.end()
    started.set()
    assert session.join(10)
    assert np.count_nonzero(viewer.sound) == 1_600


def test_a_reader_that_does_not_confirm_misses_pictures(opened: Open) -> None:
    """As many as may be on their way are sent; when it reads on, it is told how many it missed."""
    session, viewer = opened(StreamLimits(max_unread=4))
    time.sleep(0.6)
    assert len(viewer.shown) == 4
    session.confirm(3)
    wait_until(lambda: len(viewer.shown) > 4, seconds=10)
    missed = viewer.shown[4][1]
    assert missed.left_out == missed.number - 4 > 0


def test_a_reader_that_holds_stops_the_clock(opened: Open) -> None:
    """No number is left out."""
    session, viewer = opened(StreamLimits(max_unread=4), slow_reader="hold")
    time.sleep(0.6)
    session.confirm(3)
    wait_until(lambda: len(viewer.shown) == 8, seconds=10)
    assert [shown.number for _, shown in viewer.shown] == list(range(8))
    assert viewer.shown[4][0] - viewer.shown[3][0] > 0.3


def test_streams_end_when_their_client_is_gone_or_silent(opened: Open) -> None:
    """The first without a word, the second with the reason."""
    session, viewer = opened()
    viewer.gone = True
    assert session.join(5)
    assert viewer.ends == [None]
    session, viewer = opened(StreamLimits(idle_timeout_s=0.3))
    assert session.join(5)
    assert str(viewer.ends[0]) == "session: expected a message within 0.3 s, got none. Open another one"


def test_a_broken_engine_ends_the_stream_alone(opened: Open, caplog: pytest.LogCaptureFixture) -> None:
    """The reason is in the log, and one line says so."""
    viewer = Viewer()

    def open_engine(*_: object) -> Any:
        raise ZeroDivisionError

    session = Session(StreamSettings("clip"), StreamLimits(), viewer, open_engine)
    assert session.join(5)
    assert str(viewer.ends[0]) == "the stream failed; the server's log says why"
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    ("samples", "rate", "said"),
    [
        (TONE[:0], RATE, "voice: expected at least one sample, got none"),
        (TONE, 8_000, "rate: expected 16000 Hz, as the stream was opened, got 8000 Hz"),
        (np.array([np.inf], np.float32), RATE, "voice: expected finite samples, got NaN or infinity"),
        (np.tile(TONE, 61), RATE, "voice: expected at most 60 s that wait to be shown, got 61.0 s"),
    ],
)
def test_bad_voice_fails_in_one_line(opened: Open, samples: np.ndarray, rate: int, said: str) -> None:
    """And the stream goes on."""
    session, viewer = opened()
    with pytest.raises(UsageError) as caught:
        session.add_voice(samples, rate)
    assert str(caught.value).startswith(said)
    session.add_voice(TONE, RATE)
    wait_until(lambda: any(shown.speaks for _, shown in viewer.shown), seconds=10)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "settings: expected a JSON object with the clip's name"),
        ({"clip": "a", "tempo": 1}, "settings: expected some of clip, rate, pace, slow_reader, options, got 'tempo'"),
        ({"clip": "a", "rate": 1}, "rate: expected a sample rate from 1000 to 768000 Hz, got 1"),
        ({"clip": "a", "rate": "16000"}, "rate: expected a sample rate"),
        ({"clip": "a", "pace": "slow"}, "pace: expected one of real_time, fast, got slow"),
        ({"clip": "a", "options": []}, "options: expected options by their names"),
        ({"clip": 1}, "clip: expected a name, got 1"),
    ],
)
def test_bad_settings_fail_in_one_line(given: object, said: str) -> None:
    """Whatever a client sends."""
    with pytest.raises(UsageError) as caught:
        read_settings(given)
    assert str(caught.value).startswith(said)
