from __future__ import annotations

import os
import secrets
from multiprocessing.shared_memory import SharedMemory

import pytest

from client.servers.shared_memory import REGION_PREFIX, _is_mapped
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
