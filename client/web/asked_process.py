"""Processes that answer one request, and end when nobody waits for the answer any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from fastapi import Request

from client.web.problem_kinds import NOT_READY
from client.web.problems import ProblemError
from client.web.service import Service

LOOK_EVERY_S = 0.5
Waiting = Callable[[], Awaitable[object]]  # returns as soon as nobody waits for the answer any more


async def ask(
    command: Sequence[str], folder: Path, stdin: bytes, timeout_s: float, is_to_end: Waiting
) -> tuple[int | None, bytes]:
    """Run a process, and return its exit code and what it prints.

    Args:
        command: program and arguments.
        folder: the current folder of the process.
        stdin: what it reads.
        timeout_s: longest time that it may take, in seconds.
        is_to_end: see Waiting.

    Raises:
        TimeoutError: it took too long.
        ProblemError: 503, nobody waits any more.
    """
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    answering = asyncio.create_task(process.communicate(stdin))
    leaving = asyncio.ensure_future(is_to_end())
    try:
        await asyncio.wait({answering, leaving}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise _nobody_waits() if leaving.done() else TimeoutError
        stdout, _ = answering.result()
        return process.returncode, stdout
    finally:
        leaving.cancel()
        if process.returncode is None:
            process.kill()
        await asyncio.gather(answering, leaving, return_exceptions=True)
        await process.wait()


@asynccontextmanager
async def turn(places: asyncio.Semaphore, is_to_end: Waiting) -> AsyncIterator[None]:
    """Take one of some places, waiting for it as long as somebody waits for the answer.

    Raises:
        ProblemError: 503, nobody waits any more.
    """
    taking = asyncio.ensure_future(places.acquire())
    leaving = asyncio.ensure_future(is_to_end())
    try:
        await asyncio.wait({taking, leaving}, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if not taking.done():
            raise _nobody_waits()
        yield
    finally:
        leaving.cancel()
        taking.cancel()  # does nothing once the place is taken
        await asyncio.gather(taking, leaving, return_exceptions=True)
        if not taking.cancelled():
            places.release()


class UserTurns:
    """Lets each user ask for one thing at a time."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._users: set[str] = set()

    @contextmanager
    def asking(self, user: str, refusal: Callable[[], ProblemError]) -> Iterator[None]:
        """Note that a user asks.

        Raises:
            ProblemError: the refusal; the user is asking already.
        """
        if user in self._users:
            raise refusal()
        self._users.add(user)
        try:
            yield
        finally:
            self._users.discard(user)


def _nobody_waits() -> ProblemError:
    people = "The service is being stopped. Try again in a moment."
    return ProblemError(NOT_READY, expected="a service that goes on", got="one that ends", people=people)


def until_nobody_waits(request: Request, service: Service) -> Waiting:
    """Return what waits until the caller has left or the service ends."""

    async def wait() -> None:
        while not service.is_ending and not await request.is_disconnected():
            await asyncio.sleep(LOOK_EVERY_S)

    return wait
