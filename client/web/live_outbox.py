"""Messages for a page from the thread that draws them. Knows no stream."""

from __future__ import annotations

import asyncio
import threading

MAX_WAITING_BYTES = 250_000  # messages that a slow page has not taken: a second or two of pictures


class OutboxClosed(OSError):
    """Nobody takes messages any more."""


class Outbox:
    """Takes messages in a thread, and gives them to the event loop; while too much waits, the thread does."""

    def __init__(self) -> None:
        """Belong to the event loop that runs."""
        self._loop = asyncio.get_running_loop()
        self._messages: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self._room = threading.Condition()
        self._waiting = 0
        self._is_closed = False

    def put(self, message: str | bytes) -> None:
        """Add a message, from a thread.

        Raises:
            OutboxClosed: it was closed.
        """
        with self._room:
            self._room.wait_for(lambda: self._waiting < MAX_WAITING_BYTES or self._is_closed)
            self._check_open()
            self._waiting += len(message)
            self._loop.call_soon_threadsafe(self._messages.put_nowait, message)

    def finish(self) -> None:
        """Say, from the thread, that no message follows."""
        with self._room:
            if not self._is_closed:
                self._loop.call_soon_threadsafe(self._messages.put_nowait, None)

    async def get(self) -> str | bytes | None:
        """Return the next message; None after the last one."""
        message = await self._messages.get()
        with self._room:
            self._waiting -= len(message or "")
            self._room.notify_all()
        return message

    def close(self) -> None:
        """Take no more; a thread that waits is told."""
        with self._room:
            self._is_closed = True
            self._room.notify_all()

    def _check_open(self) -> None:
        if self._is_closed:
            raise OutboxClosed("closed")
