"""Bounds what callers can hold: idle connections, half requests, and bodies of routes that take no upload."""

from __future__ import annotations

import asyncio
import resource
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from client.web.problem_kinds import BODY_TOO_LARGE, BUSY, STALLED
from client.web.problems import ProblemError
from client.web.scripts import MAX_SCRIPT_BYTES
from client.web.security import HEADERS

MAX_CONNECTIONS = 512  # each holds a file descriptor, of which processes often have 1,024
HEADERS_S = 10.0  # longest time for a connection without a complete request header
BODY_S = 30.0  # longest time for the whole body of a request without files
MAX_BODY_BYTES = 64 * 1024  # of a request without files
MAX_SCRIPT_BODY_BYTES = MAX_BODY_BYTES + MAX_SCRIPT_BYTES  # of one that may have a script
SCRIPT_PATH, SCRIPT_TYPE = "/jobs", "application/json"
UPLOAD_PATHS = ("/jobs", "/plan", "/submit", "/faces", "/waveform", "/verify")
UPLOAD_TYPE = "multipart/form-data"


def max_connections() -> int:
    """Return how many connections may be open at once: half of the file descriptors are for files."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if descriptors < 0 else min(MAX_CONNECTIONS, descriptors // 2)


class GuardedProtocol(H11Protocol):
    """HTTP/1.1 that closes connections without a request after a while, the oldest ones early if there are too many.

    What is still too much is answered with a problem: uvicorn's own limit, which it replaces, answers with plain text.
    """

    _ends_at: asyncio.TimerHandle | None = None

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Take over uvicorn's limit of connections."""
        super().__init__(*arguments, **named)
        self._whole_app, self._most = self.app, self.limit_concurrency
        self.limit_concurrency = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request; close the connection that has waited longest if there are too many."""
        super().connection_made(transport)
        self._wait_for_request()
        if self._is_crowded():
            known = [other for other in self.connections if isinstance(other, GuardedProtocol) and other is not self]
            waiting = [other for other in known if other._ends_at is not None]
            for other in sorted(waiting, key=GuardedProtocol._deadline)[:1]:
                other._stop_waiting()  # its end comes later, and the next one is to choose another
                other.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Choose what answers, and stop waiting once a request is being answered."""
        self.app = _busy if self._is_crowded() else self._whole_app
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()

    def handle_websocket_upgrade(self, event: Any) -> None:
        """Leave the connection to a WebSocket, which limits its time by itself."""
        self._stop_waiting()
        super().handle_websocket_upgrade(event)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._wait_for_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_for_request(self) -> None:
        self._stop_waiting()
        if not self.transport.is_closing():
            self._ends_at = self.loop.call_later(HEADERS_S, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._ends_at is not None:
            self._ends_at.cancel()
            self._ends_at = None

    def _should_upgrade(self) -> bool:
        return not self._is_crowded() and super()._should_upgrade()  # what is too much gets the problem by HTTP

    def _is_crowded(self) -> bool:
        return self._most is not None and max(len(self.connections), len(self.tasks)) >= self._most

    def _deadline(self) -> float:
        return float("inf") if self._ends_at is None else self._ends_at.when()


async def _busy(scope: Scope, receive: Receive, send: Send) -> None:
    problem = ProblemError(
        BUSY,
        expected="a free connection",
        got="none",
        advice="Try again in a moment",
        people="Too many people use this service at the moment. Try again in a moment.",
        headers=HEADERS,
    )
    await problem.response()(scope, receive, send)


class BodyGuard:
    """Reads the bodies of requests without files, so that their size and time are limited; others pass as they come."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an app."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or not _has_small_body(scope):
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(BODY_S):
                body = await _read(Headers(scope=scope), receive, _limit(scope))
        except TimeoutError:
            problem = ProblemError(STALLED, expected=f"the body within {BODY_S:g} s", got="a part of it")
            await problem.response()(scope, receive, send)
        except ProblemError as error:
            await error.response()(scope, receive, send)
        else:
            if body is not None:
                await self._app(scope, _replay(body, receive), send)


def _has_small_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    if "content-length" not in headers and "transfer-encoding" not in headers:
        return False
    is_upload = scope["path"] in UPLOAD_PATHS and _content_type(headers) == UPLOAD_TYPE
    return not (scope["method"] == "POST" and is_upload)


def _limit(scope: Scope) -> int:
    may_have_script = scope["path"] == SCRIPT_PATH and _content_type(Headers(scope=scope)) == SCRIPT_TYPE
    return MAX_SCRIPT_BODY_BYTES if may_have_script else MAX_BODY_BYTES


def _content_type(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


async def _read(headers: Headers, receive: Receive, limit: int) -> bytes | None:
    """Return a body; None if the caller has gone.

    Raises:
        ProblemError: 413, it is too large.
    """
    stated = headers.get("content-length", "")
    _check_size(int(stated) if stated.isdecimal() else 0, limit)
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        _check_size(len(body), limit)
        more = message.get("more_body", False)
    return bytes(body)


def _check_size(nbytes: int, limit: int) -> None:
    if nbytes > limit:
        raise ProblemError(BODY_TOO_LARGE, expected=f"at most {limit} bytes", got="more")


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the whole body first."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return first.pop() if first else await receive()

    return replay
