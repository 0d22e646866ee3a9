from __future__ import annotations

from pathlib import Path

import pytest

from client.chunks import MAX_CHUNK_FRAMES, chunk_frames
from client.errors import ServerUnavailable
from client.servers import room
from client.servers.access import ServerAccess
from client.servers.room import fitting_frames, room_for
from lipsync_core.serving import shared_memory
from lipsync_core.serving.runtime import ServerStartError

DOCKERS = 64 << 20  # bytes; its default
MEDIUM, FULL_HD = 848 * 480 * 3, 1920 * 1080 * 3


def test_requests_are_smaller_where_shared_memory_is_short() -> None:
    """Docker's 64 MB take some frames of a usual size, and a gigabyte takes every job's full requests."""
    assert 1 <= fitting_frames(DOCKERS, MEDIUM, MEDIUM) < MAX_CHUNK_FRAMES
    assert fitting_frames(DOCKERS, FULL_HD // 4, FULL_HD) == 1
    for width, height in ((256, 256), (640, 480), (854, 854), (1280, 720), (1920, 1080), (3840, 2160)):
        pixels, searched = width * height, min(width * height, 960 * 960)
        assert fitting_frames(1 << 30, 3 * searched, 3 * pixels) >= chunk_frames(pixels * 3 // 2)


def test_no_room_for_a_frame_fails_with_what_is_needed() -> None:
    """The job does not begin, and says how much it needs and how a container gets it."""
    with pytest.raises(ServerUnavailable, match=r"/dev/shm: expected at least 28 MB free .*, got 3 MB.*--shm-size=1g"):
        fitting_frames(3 << 20, MEDIUM, MEDIUM)


def test_only_servers_on_this_host_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server elsewhere, and one behind a name, have their own."""
    monkeypatch.setattr(room, "has_shared_memory", lambda: True)
    assert room_for(ServerAccess(("gpu1:8001",))) is None
    assert room_for(ServerAccess(("127.0.0.1:8001,gpu1:8001",))) is None
    assert room_for(ServerAccess(("dns:///localhost:8001",))) is None
    assert (room_for(ServerAccess()) or 0) > 0
    assert (room_for(ServerAccess(("127.0.0.1:8001", "[::1]:8001"))) or 0) > 0
    monkeypatch.setattr(room, "has_shared_memory", lambda: False)
    assert room_for(ServerAccess()) is None


def test_frames_in_messages_need_room_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton's models pass them on through /dev/shm, so a job is limited, or refused, whatever way it sends frames."""
    for free in (DOCKERS, 3 << 20):
        monkeypatch.setattr(room, "free_shared_memory", lambda free=free: free)
        for urls in ((), ("127.0.0.1:8001",)):
            assert room_for(ServerAccess(urls, transport="grpc")) == free == room_for(ServerAccess(urls))


def test_missing_shared_memory_fails_before_a_server_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It matters for a server of the job's own; a running one may have its own."""
    monkeypatch.setattr(shared_memory, "SHARED_MEMORY", tmp_path / "absent")
    with pytest.raises(ServerStartError, match="absent: expected a tmpfs, got: No such file"):
        room_for(ServerAccess())
    assert room_for(ServerAccess(("127.0.0.1:8001",))) is None
