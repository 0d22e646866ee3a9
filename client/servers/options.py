"""How patient a pool is with its servers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def unknown_files(model: str) -> str:  # noqa: ARG001
    """Return no stamp: a running server's files are not known."""
    return ""


@dataclass(frozen=True)
class PoolOptions:
    """How patient a pool is with its servers; times are in seconds.

    Attributes:
        patience_s: How long servers may refuse a request for want of room.
        comeback_s: How long a request waits for a server to come back when all are lost.
        check_every_s: Time between checks that a server is ready, and between attempts to reach a lost one.
        check_timeout_s: Timeout of such a check.
        max_misses: Number of failed checks in a row after which a server is lost.
        look_up_every_s: Time between two DNS look-ups of a name's addresses.
        stamp_of: Returns a hash of a model's files if they are known, as a part of its identity; else "".
    """

    patience_s: float = 60.0
    comeback_s: float = 60.0
    check_every_s: float = 2.0
    check_timeout_s: float = 5.0
    max_misses: int = 3
    look_up_every_s: float = 30.0
    stamp_of: Callable[[str], str] = unknown_files
