from __future__ import annotations

import asyncio
import warnings
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pipecat", reason="no pipecat-ai; run: pip install 'lipsync-triton[pipecat]'")

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # pipecat imports audioop
    from pipecat.frames.frames import (
        Frame,
        InterruptionFrame,
        OutputImageRawFrame,
        TextFrame,
        TTSAudioRawFrame,
        TTSStoppedFrame,
    )
    from pipecat.tests.utils import SleepFrame, run_test

from client.errors import LipSyncError, ServerUnavailable
from client.live import asynchronous
from client.live.pipecat import LipSyncVideoService
from tests.live_stand_in import RATE, SIDE, StandInStream, voice

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> StandInStream:
    """The stream that the service opens."""
    stand_in = StandInStream()
    monkeypatch.setattr(asynchronous, "LiveSession", lambda *_, **__: stand_in)
    return stand_in


def spoken(pcm: np.ndarray, rate: int = RATE) -> list[Frame]:
    """Cut a voice into frames of 50 ms."""
    length = rate // 20
    return [TTSAudioRawFrame(pcm[start : start + length].tobytes(), rate, 1) for start in range(0, len(pcm), length)]


def run(service: LipSyncVideoService, frames: list[Frame]) -> tuple[list[Any], list[Any]]:
    """Send frames through a pipeline of the service alone; returns what came down, and what went up."""
    down, up = asyncio.run(run_test(service, frames_to_send=frames))
    return list(down), list(up)


def sound_of(frames: list[Any]) -> np.ndarray:
    """Return the voice of frames, int16 [S]."""
    pieces = [np.frombuffer(frame.audio, np.int16) for frame in frames if isinstance(frame, TTSAudioRawFrame)]
    return np.concatenate([np.zeros(0, np.int16), *pieces])


def make_service() -> LipSyncVideoService:
    """Return a service of a clip."""
    return LipSyncVideoService(url="127.0.0.1:8001", clip="ann")


def test_voice_comes_back_with_its_pictures_and_its_end(stream: StandInStream) -> None:
    """The pipeline's end waits for it; other frames pass."""
    pcm = voice(0.4)
    down, up = run(make_service(), [TextFrame("hello"), *spoken(pcm), TTSStoppedFrame()])
    assert np.array_equal(sound_of(down), pcm)
    pictures = [frame for frame in down if isinstance(frame, OutputImageRawFrame)]
    assert {(frame.size, frame.format, len(frame.image)) for frame in pictures} == {((SIDE, SIDE), "RGB", SIDE**2 * 3)}
    kinds = [type(frame) for frame in down]
    assert TextFrame in kinds
    assert kinds.index(TTSStoppedFrame) > max(i for i, kind in enumerate(kinds) if kind is TTSAudioRawFrame)
    assert not up
    assert stream.is_closed


def test_a_voice_of_another_rate_is_resampled_whole(stream: StandInStream) -> None:
    """Its last samples are not kept back in the resampler."""
    tone = (8000 * np.sin(np.arange(8000) / 5)).astype(np.int16)
    down, _ = run(make_service(), [*spoken(tone, 16_000), TTSStoppedFrame()])
    assert len(sound_of(down)) == pytest.approx(12_000, abs=RATE / 25)
    assert np.abs(sound_of(down)[-1000:]).max() > 4000


def test_an_interruption_drops_the_rest_and_the_pipeline_still_ends(stream: StandInStream) -> None:
    """What is said afterwards is shown."""
    after = voice(0.2, 9000)
    frames = [*spoken(voice(8.0)), TTSStoppedFrame(), SleepFrame(0.3), InterruptionFrame(), SleepFrame(0.1)]
    down, _ = run(make_service(), [*frames, *spoken(after), TTSStoppedFrame()])
    heard = sound_of(down)
    assert np.array_equal(heard[-len(after) :], after)
    assert 0 < len(heard) - len(after) < 6 * RATE
    assert sum(isinstance(frame, TTSStoppedFrame) for frame in down) == 1


def test_a_stream_that_fails_is_told_and_the_pipeline_goes_on(
    stream: StandInStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line; the voice is then passed on without pictures. So it is where no stream can be opened."""
    pcm = voice(0.2)
    stream.failure = LipSyncError("the stream is gone")
    down, up = run(make_service(), [SleepFrame(0.2), *spoken(pcm), TTSStoppedFrame()])
    assert np.array_equal(sound_of(down), pcm)
    assert [frame.error for frame in up] == ["the stream is gone"]

    def refuse(*_: Any, **__: Any) -> None:
        raise ServerUnavailable("nobody there")

    monkeypatch.setattr(asynchronous, "LiveSession", refuse)
    down, up = run(make_service(), [*spoken(pcm)])
    assert np.array_equal(sound_of(down), pcm)
    assert [frame.error for frame in up] == ["nobody there"]
