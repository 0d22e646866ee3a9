"""What the service does beside answering requests: fetching files and sending callbacks, in a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable

from client.web.callbacks import CallbackSender
from client.web.fetching import JobFetcher
from client.web.service import Service

LOOK_EVERY_S = 0.5
AFTER_TROUBLE_S = 5.0
END_S = (
    5.0  # longest time that the service waits for the thread at its end; what it does begins again at the next start
)
logger = logging.getLogger("client.web")


class Background:
    """A thread with an event loop of its own, until the context is left."""

    def __init__(self, service: Service) -> None:
        """Work for this service."""
        self._service = service
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fetch and call back", daemon=True)

    def __enter__(self) -> Background:
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """End what is in progress; it is taken up at the next start."""
        self._stop.set()
        self._thread.join(END_S)

    def _run(self) -> None:
        asyncio.run(self._work())

    async def _work(self) -> None:
        fetcher, sender = JobFetcher(self._service), CallbackSender(self._service)
        tasks = [asyncio.create_task(self._repeat(step)) for step in (fetcher.look, sender.send_due)]
        while not self._stop.is_set():
            await asyncio.sleep(LOOK_EVERY_S / 5)
        for task in tasks:
            task.cancel()

    async def _repeat(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
                await asyncio.sleep(LOOK_EVERY_S)
            except Exception:
                logger.exception("fetching files and sending callbacks")  # such as a full disk: try again later
                await asyncio.sleep(AFTER_TROUBLE_S)
