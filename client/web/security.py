"""Who may call the service and from where: tokens, sessions, hosts and origins; and the headers of all responses."""

from __future__ import annotations

import hmac
from typing import Annotated

from fastapi import Depends
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from client.option import flag
from client.web.problem_kinds import OTHER_SITE, TOKEN_NOT_VALID, TOKEN_REQUIRED, UNKNOWN_HOST
from client.web.problems import ProblemError
from client.web.sessions import MAX_BEARER_FAILURES, MAX_FAILURES, RevokedSessions, Sessions, SignInThrottle
from client.web.settings import LEGACY_PATHS, NULL_ORIGIN, Settings

MAX_SEEN = 10_000  # pairs of an address and a user
COOKIE = "lipsync_session"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
SOCKET_METHOD = "POST"  # what a WebSocket counts as: what it sends changes something, and it is sent with cookies
ANSWERS = ("http.response.start", "websocket.http.response.start")
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Gatekeeper:
    """Identifies the user of a request."""

    def __init__(self, settings: Settings, revoked: RevokedSessions) -> None:
        """Use the tokens of these settings."""
        self._tokens = dict(settings.tokens)
        self.sessions = Sessions(self._tokens, revoked)
        self.throttle = SignInThrottle(MAX_FAILURES)
        self._bearers = SignInThrottle(MAX_BEARER_FAILURES)
        self._seen: set[tuple[str, str]] = set()  # addresses and users whose token was right there

    @property
    def asks_for_token(self) -> bool:
        """Whether a token is needed at all."""
        return bool(self._tokens)

    def user(self, request: HTTPConnection) -> str:
        """Return the user who sent a request, by token or session; if no token is needed, the address.

        Raises:
            ProblemError: 401, neither is valid; 429, too many tokens from the address were not.
        """
        if not self._tokens:
            return address_of(request)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        user = self._bearer(token, address_of(request)) if scheme.lower() == "bearer" else None
        user = user or self.sessions.user(request.cookies.get(COOKIE, ""))
        if user is None:
            headers = {"WWW-Authenticate": 'Bearer realm="lipsync"'}
            people = "You are signed out. Sign in again."
            raise ProblemError(
                TOKEN_REQUIRED, expected="a valid bearer token", got="none", people=people, headers=headers
            )
        return user

    def sign_in(self, token: str, address: str) -> str:
        """Return the owner of a token that was sent from an address.

        Raises:
            ProblemError: 401, the token is not valid; 429, too many were not.
        """
        self.throttle.check(address)
        user = self.user_of_token(token)
        if user is None:
            self.throttle.note_failure(address)
            raise ProblemError(
                TOKEN_NOT_VALID,
                expected="a valid token",
                got="another",
                people="Check that it is complete, or ask whoever runs this service.",
            )
        return user

    def _bearer(self, token: str, address: str) -> str | None:
        """Return the owner of a bearer token. Wrong ones from an address keep out only who was never right there."""
        user = self.user_of_token(token)
        if user is None or (address, user) not in self._seen:
            self._bearers.check(address)
        if user is None:
            self._bearers.note_failure(address)
        elif len(self._seen) < MAX_SEEN:
            self._seen.add((address, user))
        return user

    def user_of_token(self, token: str) -> str | None:
        """Return the owner of a token; compares all tokens in constant time."""
        found = None
        for user, known in self._tokens.items():
            if hmac.compare_digest(token.encode(errors="surrogateescape"), known.encode()):
                found = user
        return found


def address_of(request: HTTPConnection) -> str:
    """Return the address that a request came from."""
    return request.client.host if request.client else "unknown"


def current_user(request: HTTPConnection) -> str:
    """Return the user who sent a request, for routes."""
    gatekeeper: Gatekeeper = request.app.state.gatekeeper
    return gatekeeper.user(request)


User = Annotated[str, Depends(current_user)]
SIGNED_IN = [Depends(current_user)]  # for routes that need a signed-in user, whoever it is


class SecurityMiddleware:
    """Refuses unknown host names and forms of other sites, and adds the headers to every response."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        """Wrap an app."""
        self._app = app
        self._hosts = {host.lower() for host in settings.allowed_hosts}
        self._origins = set(settings.cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] in ANSWERS:
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        method = scope.get("method", SOCKET_METHOD)
        problem = self._refusal(method, scope["path"], Headers(scope=scope))
        answer = self._app if problem is None else problem.response()
        await answer(scope, receive, send_with_headers)

    def _refusal(self, method: str, path: str, headers: Headers) -> ProblemError | None:
        host = headers.get("host", "").lower()
        if self._hosts and _without_port(host) not in self._hosts:
            advice = f"Start the service with {flag('allowed_host')} and this name"
            return ProblemError(
                UNKNOWN_HOST, expected="a host name that the service was started for", got="another", advice=advice
            )
        origin = headers.get("origin")
        if origin is None or method in SAFE_METHODS:
            return None
        if origin in self._origins and (origin != NULL_ORIGIN or path.startswith(LEGACY_PATHS)):
            return None
        if origin.partition("://")[2].lower() != host:
            return ProblemError(
                OTHER_SITE, expected="a request from the service's own page", got="one from another site"
            )
        return None


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
