"""Takes over what earlier versions kept in files of the data folder: the key of links, revoked sessions, the queue."""

from __future__ import annotations

import secrets
from pathlib import Path

from client.errors import UsageError
from client.web.sessions import expiry_of
from client.web.signed_links import KEY_BYTES
from client.web.store import JobStore
from client.web.stored_file import is_stored

KEY_NAME = KEY_FILE = "link-key"
REVOKED_FILE = "revoked-sessions"
QUEUE_FILES = ("queue.sqlite3", "queue.sqlite3-wal", "queue.sqlite3-shm", "queue.sqlite3-journal", "queue.damaged")


def link_key(data: Path, store: JobStore) -> bytes:
    """Return the key of links, the same for all services of a store; an earlier version's is kept.

    Raises:
        UsageError: the earlier version's file holds something else.
    """
    file = data / KEY_FILE
    if not file.exists() and not file.is_symlink():
        return store.shared_bytes(KEY_NAME, secrets.token_bytes(KEY_BYTES))
    old = file.read_bytes() if is_stored(file) else b""
    if len(old) != KEY_BYTES:
        expected = f"a key of {KEY_BYTES} bytes in {file}"
        advice = "Remove the file; links that were given out stop working"
        raise UsageError(option="data", expected=expected, got=f"{len(old)} bytes", advice=advice)
    key = store.shared_bytes(KEY_NAME, old)
    file.unlink(missing_ok=True)
    return key


def take_over(data: Path, store: JobStore) -> None:
    """Record the sessions that an earlier version revoked, and remove its queue: its jobs wait in the records."""
    file = data / REVOKED_FILE
    if is_stored(file):
        for session in file.read_text().split():
            store.revoke_session(session, expiry_of(session))
        file.unlink(missing_ok=True)
    for name in QUEUE_FILES:
        (data / name).unlink(missing_ok=True)
