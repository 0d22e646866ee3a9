from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from client.errors import LipSyncError, UsageError
from client.live.asynchronous import AsyncLiveSession, ShownPicture, as_pcm, mono
from client.live.waiting import AHEAD_S
from tests.live_stand_in import RATE, StandInStream, voice


async def until_mark(shown: AsyncIterator[ShownPicture | str], mark: str) -> list[ShownPicture]:
    """Return the pictures before a mark."""
    pictures = []
    async for one in shown:
        if one == mark:
            return pictures
        assert isinstance(one, ShownPicture)
        pictures.append(one)
    raise AssertionError(f"the stream ended before {mark}")


def sound_of(pictures: list[ShownPicture]) -> np.ndarray:
    """Return the voice of pictures, int16 [S]."""
    sound = np.concatenate([np.zeros(0, np.float32), *(one.picture.sound for one in pictures if one.has_voice)])
    pcm = as_pcm(sound)
    return pcm[pcm != 0]


def test_a_mark_comes_after_all_voice_before_it() -> None:
    """Whatever else waits; the voice is the same to the bit."""

    async def run() -> None:
        live: AsyncLiveSession[str] = AsyncLiveSession(StandInStream())  # type: ignore[arg-type]
        first, second = voice(0.48), voice(0.32, 9000)  # whole pictures
        live.send(first, RATE)
        live.mark("first")
        live.send(second, RATE)
        live.mark("second")
        shown = aiter(live)
        assert np.array_equal(sound_of(await until_mark(shown, "first")), first)
        assert np.array_equal(sound_of(await until_mark(shown, "second")), second)
        live.mark("at once")
        assert len(await until_mark(shown, "at once")) <= 1
        await live.close()

    asyncio.run(run())


def test_an_interruption_drops_voice_and_marks() -> None:
    """Pictures that still come with the old voice are silent; the next voice is heard whole."""

    async def run() -> None:
        stream = StandInStream()
        live: AsyncLiveSession[str] = AsyncLiveSession(stream)  # type: ignore[arg-type]
        live.send(voice(2.0), RATE)
        live.mark("dropped")
        shown = aiter(live)
        while not (await anext(shown)).has_voice:  # type: ignore[union-attr]
            pass
        assert live.interrupt() == ["dropped"]
        fresh = voice(0.3, 9000)
        live.send(fresh, RATE)
        live.mark("fresh")
        assert np.array_equal(sound_of(await until_mark(shown, "fresh")), fresh)
        await live.close()

    asyncio.run(run())


def test_any_amount_of_voice_may_be_sent_at_once() -> None:
    """The server never gets more than it takes; the rest waits here, and an interruption drops it."""

    async def run() -> None:
        stream = StandInStream()
        live: AsyncLiveSession[str] = AsyncLiveSession(stream)  # type: ignore[arg-type]
        live.send(voice(3 * AHEAD_S), RATE)
        assert AHEAD_S <= stream.sent_s < AHEAD_S + 1
        shown = aiter(live)
        for _ in range(20):
            await anext(shown)
        assert stream.most_ahead_s < AHEAD_S + 1
        assert stream.sent_s > AHEAD_S + 0.3
        live.interrupt()
        live.mark("after")
        assert not sound_of(await until_mark(shown, "after")).any()
        await live.close()

    asyncio.run(run())


def test_a_reader_that_is_behind_skips_pictures_of_silence_alone() -> None:
    """So that a delay does not stay for good."""

    async def run() -> None:
        stream = StandInStream()
        stream.unread = 40
        live: AsyncLiveSession[str] = AsyncLiveSession(stream)  # type: ignore[arg-type]
        live.send(voice(0.2), RATE)
        live.mark("end")
        pictures = await until_mark(aiter(live), "end")
        assert [one.has_voice for one in pictures] == [True] * 5
        await live.close()

    asyncio.run(run())


def test_a_failure_of_the_stream_reaches_the_reader() -> None:
    """Marks that were not reached can be had; another rate is refused at once."""

    async def run() -> None:
        stream = StandInStream()
        live: AsyncLiveSession[str] = AsyncLiveSession(stream)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="rate: expected 24000 Hz, as the stream was opened, got 16000 Hz"):
            live.send(voice(0.1), 16_000)
        live.send(voice(1.0), RATE)
        live.mark("never")
        stream.failure = LipSyncError("gone")
        with pytest.raises(LipSyncError, match="gone"):
            await until_mark(aiter(live), "never")
        assert live.drop_marks() == ["never"]
        await live.close()
        await live.close()
        assert stream.is_closed

    asyncio.run(run())


def test_samples_of_16_bits_are_the_same_again() -> None:
    """Both ends of the range included; channels are averaged."""
    pcm = np.array([-32_768, -1, 0, 1, 32_767], np.int16)
    assert np.array_equal(as_pcm((pcm / np.float32(32_768)).astype(np.float32)), pcm)
    assert np.array_equal(mono(np.array([100, 200, -3, -5], np.int16), 2), [150, -4])
