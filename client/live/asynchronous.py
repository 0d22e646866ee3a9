"""A live stream for programs of asyncio: what the adapters to LiveKit and pipecat share. Knows neither of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import numpy as np

from client.errors import UsageError
from client.live.messages import as_float
from client.live.stream import LivePicture, LiveSession, StreamFacts
from client.live.waiting import WaitingVoice
from client.servers.security import IN_THE_CLEAR, Security
from lipsync_core.audio.pcm import FULL_SCALE

PIECE_S = 0.1  # of voice that is sent at once
MOST_UNREAD = 5  # pictures that may wait here; beyond, those of a silence are left out
ROUNDING_S = 1e-3
Mark = TypeVar("Mark")


@dataclass(frozen=True, eq=False)
class ShownPicture:
    """A picture, and whether somebody speaks in it.

    Attributes:
        picture: the picture with its sound.
        has_voice: whether its sound holds voice that was sent and not interrupted, be it a pause of the speaker.
    """

    picture: LivePicture
    has_voice: bool


class AsyncLiveSession(Generic[Mark]):
    """A live stream whose methods return at once, and whose pictures are iterated over with `async for`.

    All methods belong to one event loop. Any amount of voice may be sent at once; it is passed on as it is shown.

    Attributes:
        facts: what the server says of the stream.
    """

    def __init__(self, live: LiveSession) -> None:
        """Take an open stream; it is closed with this one."""
        self.facts: StreamFacts = live.facts
        self._live = live
        self._reader = ThreadPoolExecutor(1, "live reader")
        self._waiting = WaitingVoice(live)
        self._given_s = 0.0  # voice that was sent or waits here
        self._shown_s = 0.0
        self._marks: deque[tuple[float, Mark]] = deque()
        self._is_closed = False

    @classmethod
    async def open(
        cls,
        url: str,
        clip: str,
        *,
        rate: int,
        options: Mapping[str, object] | None = None,
        security: Security = IN_THE_CLEAR,
    ) -> AsyncLiveSession[Mark]:
        """Open a stream; see `LiveSession` for the arguments and the errors."""
        make = partial(LiveSession, url, clip, rate=rate, options=options, security=security)
        return cls(await asyncio.to_thread(make))

    def send(self, pcm: np.ndarray, rate: int) -> None:
        """Add voice, mono samples [S], int16 or float.

        Raises:
            LipSyncError: the samples cannot be used or have another rate, or the stream has failed.
        """
        if rate != self.facts.rate:
            raise UsageError(
                about="rate",
                expected=f"{self.facts.rate} Hz, as the stream was opened",
                got=f"{rate} Hz",
                advice="Open the stream with the voice's rate",
            )
        samples, length = as_float(pcm), round(PIECE_S * self.facts.rate)
        self._given_s += len(samples) / self.facts.rate
        for start in range(0, len(samples), length):
            self._waiting.add(samples[start : start + length])

    def mark(self, mark: Mark) -> None:
        """Let something be given back between the pictures, once all voice before it was shown."""
        self._marks.append((self._given_s, mark))

    def interrupt(self) -> list[Mark]:
        """Drop the voice that is not shown yet, and close the mouth; return the marks that are dropped with it.

        Raises:
            LipSyncError: the stream has ended.
        """
        self._waiting.drop()
        self._given_s = self._shown_s = self._live.sent_s
        dropped = self.drop_marks()
        self._live.interrupt()
        return dropped

    def drop_marks(self) -> list[Mark]:
        """Return the marks that were not reached, and forget them."""
        dropped = [mark for _, mark in self._marks]
        self._marks.clear()
        return dropped

    async def close(self) -> None:
        """End at once; safe to call again."""
        if not self._is_closed:
            self._is_closed = True
            await asyncio.to_thread(self._live.close)
            self._reader.shutdown(wait=False)

    async def __aiter__(self) -> AsyncIterator[ShownPicture | Mark]:
        """Yield pictures, also while nobody speaks, and marks between them, until the stream is closed.

        Raises:
            LipSyncError: the stream failed.
        """
        loop = asyncio.get_running_loop()
        while not self._is_closed:
            picture = await loop.run_in_executor(self._reader, self._live.next_picture)
            if picture is None:
                return
            has_voice = self._live.shown_s > self._shown_s + ROUNDING_S
            self._shown_s = max(self._shown_s, self._live.shown_s)
            self._waiting.pass_on()
            if has_voice or self._live.unread <= MOST_UNREAD:
                yield ShownPicture(picture, has_voice)
            while self._marks and self._marks[0][0] <= self._shown_s + ROUNDING_S:
                yield self._marks.popleft()[1]


def as_pcm(samples: np.ndarray) -> np.ndarray:
    """Return samples, float32 [S] from -1 to 1, as int16 [S]; those that were int16 before are the same again."""
    return np.clip(np.rint(samples * np.float32(FULL_SCALE)), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def mono(pcm: np.ndarray, channels: int) -> np.ndarray:
    """Return the mean of interleaved channels, int16 [S * channels], as int16 [S]."""
    if channels == 1:
        return pcm
    return np.rint(pcm.reshape(-1, channels).mean(axis=1)).astype(np.int16)
