"""Links to results that work without a token for a while: signed with a key of the service."""

from __future__ import annotations

import hashlib
import hmac
import time

from client.errors import UsageError
from client.web.problem_kinds import LINK_NOT_VALID
from client.web.problems import ProblemError

KEY_BYTES = 32
SIGNATURE_LENGTH = 64  # hexadecimal digits
RESULT = "result"


class LinkSigner:
    """Signs and checks links; services of one store accept each other's."""

    def __init__(self, key: bytes) -> None:
        """Use this key.

        Raises:
            UsageError: it has another length.
        """
        self._key = key
        if len(key) != KEY_BYTES:
            expected = f"a key of {KEY_BYTES} bytes for links"
            raise UsageError(option="data", expected=expected, got=f"{len(key)} bytes")

    def sign(self, job_id: str, file: str, expires: int) -> str:
        """Return the signature of a link to a job's file until a time, in seconds since 1970."""
        return hmac.new(self._key, f"link {job_id} {file} {expires}".encode(), hashlib.sha256).hexdigest()

    def check(self, job_id: str, file: str, expires: int, signature: str) -> None:
        """Check a link.

        Raises:
            ProblemError: 403, it has expired, or was not made here for this file.
        """
        is_ours = hmac.compare_digest(self.sign(job_id, file, expires).encode(), signature.encode(errors="replace"))
        if not is_ours or expires <= time.time():
            people = "This link has expired, or is not complete. Ask for a new one."
            got = "one that has expired" if is_ours else "another"
            raise ProblemError(LINK_NOT_VALID, expected="a link that is valid", got=got, people=people)
