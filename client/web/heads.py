"""Answers HEAD wherever GET is answered."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class _Answered(Exception):
    """Ends the app's work on a request whose headers have been sent."""


class HeadMiddleware:
    """Turns HEAD into GET, and ends the answer after its headers."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an app."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        headers = MutableHeaders(raw=[entry for entry in scope["headers"] if entry[0] != b"range"])  # is for GET alone
        asked = {**scope, "method": "GET", "headers": headers.raw}

        async def send_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                scope["route"] = asked.get("route")  # for the metrics
                await send(message)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                raise _Answered

        try:
            await self._app(asked, receive, send_headers)
        except _Answered:
            return
