"""Sessions of signed-in users as signed cookies that can be revoked, and a limit on attempts to sign in."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Mapping
from typing import Protocol

from client.web.problem_kinds import TOO_MANY_ATTEMPTS
from client.web.problems import ProblemError

SESSION_S = 7 * 24 * 3600
MAX_FAILURES = 5  # failed attempts to sign in that an address may make within FAILURES_S
MAX_BEARER_FAILURES = 30  # the same for bearer tokens of requests
FAILURES_S = 60.0


class RevokedSessions(Protocol):
    """Remembers the sessions that were ended before their time."""

    def revoke_session(self, session: str, expires_at: int) -> None:
        """Record one."""
        ...

    def is_revoked(self, session: str) -> bool:
        """Return whether one was recorded."""
        ...


class Sessions:
    """Makes, checks and revokes the values of session cookies: expiry, a random name, and a signature of both."""

    def __init__(self, tokens: Mapping[str, str], revoked: RevokedSessions) -> None:
        """Sign with the users' tokens.

        Args:
            tokens: user -> token.
            revoked: the revoked sessions, the same for all services of a store.
        """
        self._tokens = tokens
        self._revoked = revoked

    def make(self, user: str) -> str:
        """Return the cookie of a new session."""
        session = f"{int(time.time()) + SESSION_S}.{secrets.token_hex(8)}"
        return f"{session}.{_proof(self._tokens[user], session)}"

    def user(self, cookie: str) -> str | None:
        """Return the user of a session; None if it has expired, was revoked, or was not made here."""
        session, _, proof = cookie.rpartition(".")
        if expiry_of(session) <= time.time():
            return None
        found = None
        for user, token in self._tokens.items():
            if hmac.compare_digest(proof.encode(errors="surrogateescape"), _proof(token, session).encode()):
                found = user
        return None if found is None or self._revoked.is_revoked(session) else found

    def revoke(self, cookie: str) -> None:
        """End a session for good, also for the next start of the service; cookies that are not valid are ignored."""
        if self.user(cookie) is None:
            return
        session = cookie.rpartition(".")[0]
        self._revoked.revoke_session(session, expiry_of(session))


class SignInThrottle:
    """Refuses attempts to sign in from an address that has failed several times lately."""

    def __init__(self, max_failures: int) -> None:
        """Allow this number of failures within FAILURES_S."""
        self._max_failures = max_failures
        self._failures: dict[str, list[float]] = {}
        self._lock = threading.Lock()

    def check(self, address: str) -> None:
        """Refuse an attempt.

        Raises:
            ProblemError: 429, the address has failed too often.
        """
        with self._lock:
            recent = self._recent(address)
        if len(recent) >= self._max_failures:
            wait_s = max(1, round(recent[0] + FAILURES_S - time.monotonic()))
            raise ProblemError(
                TOO_MANY_ATTEMPTS,
                "Too many attempts to sign in failed",
                advice=f"Try again in {wait_s} s",
                headers={"Retry-After": str(wait_s)},
            )

    def note_failure(self, address: str) -> None:
        """Count a failed attempt, and forget old ones of all addresses."""
        with self._lock:
            self._failures = {known: recent for known in self._failures if (recent := self._recent(known))}
            self._failures.setdefault(address, []).append(time.monotonic())

    def _recent(self, address: str) -> list[float]:
        return [moment for moment in self._failures.get(address, []) if time.monotonic() - moment < FAILURES_S]


def expiry_of(session: str) -> int:
    """Return when a session expires, in seconds since 1970; 0 if it is malformed."""
    expires = session.partition(".")[0]
    return int(expires) if expires.isascii() and expires.isdecimal() and len(expires) < 16 else 0


def _proof(token: str, session: str) -> str:
    return hmac.new(token.encode(), f"lipsync session {session}".encode(), hashlib.sha256).hexdigest()
