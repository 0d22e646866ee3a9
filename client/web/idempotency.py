"""Requests that may be sent again without making a second job, by the header Idempotency-Key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated

from fastapi import Header

from client.web.job_record import JobRecord
from client.web.problem_kinds import KEY_REUSED
from client.web.problems import ProblemError

KEY_HEADER = "Idempotency-Key"
REPEATED_HEADER = "Idempotent-Replayed"  # of answers that give the job of an earlier request
MAX_KEY_LENGTH = 255
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias=KEY_HEADER,
        min_length=1,
        max_length=MAX_KEY_LENGTH,
        pattern=r"^[!-~]+$",
        description="Any text, new for each new job. The same request with the same key gives the same job again, as"
        " long as that is kept; another request with the key is refused.",
        examples=["8e03978e-40d5-43dd-bc93-6894a57f9324"],
    ),
]


def fingerprint(content: Mapping[str, object]) -> str:
    """Return a digest of what a request says: fields, file names and digests of files, but not how they were sent."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def check_same(known: JobRecord, new: str | None) -> None:
    """Check that a request is the one that made a job.

    Raises:
        ProblemError: 422, it has another fingerprint.
    """
    if known.fingerprint != new:
        raise ProblemError(
            KEY_REUSED,
            name=KEY_HEADER,
            expected="the same request again",
            got="another one",
            advice="Send a new key with a new request",
            people="This was sent before with other files or options. Send it as a new video.",
        )
