from __future__ import annotations

import os
import secrets
from multiprocessing.shared_memory import SharedMemory

import pytest

from client.servers.shared_memory import REGION_PREFIX, _is_hidden, _is_mapped
from client.system import has_shared_memory


@pytest.mark.skipif(not has_shared_memory(), reason="this system has no /dev/shm")
def test_a_region_belongs_to_a_living_client_from_its_first_moment() -> None:
    """Another client must not unregister it, also before its name is removed; one that is closed may go."""
    name = f"{REGION_PREFIX}{os.getpid()}-{secrets.token_hex(4)}-1"
    memory = SharedMemory(name, create=True, size=1)
    try:
        assert _is_mapped(name)
        assert not _is_mapped(name[:-1])
    finally:
        memory.unlink()
    assert _is_mapped(name)
    memory.close()
    assert not _is_mapped(name)
    assert not _is_mapped(f"{REGION_PREFIX}999999999-{secrets.token_hex(4)}-1")


def test_a_client_that_proc_hides_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """With hidepid=2, other users' processes are not in /proc; a signal to one is refused, to none fails otherwise."""

    def refuse(pid: int, number: int) -> None:
        assert number == 0
        raise (
            PermissionError(1, "Operation not permitted")
            if pid == 999_999_998
            else ProcessLookupError(3, "No such process")
        )

    monkeypatch.setattr(os, "kill", refuse)
    assert _is_mapped(f"{REGION_PREFIX}999999998-{secrets.token_hex(4)}-1")
    assert not _is_mapped(f"{REGION_PREFIX}999999999-{secrets.token_hex(4)}-1")
    assert not _is_hidden("no number")
