"""What callers can hold of the service without sending a whole request."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from client.web import connections
from client.web.connections import MAX_BODY_BYTES
from tests.web_service import TOKENS, listening, make_service, open_client, problem


def connect(address: str, sent: bytes = b"") -> socket.socket:
    parts = urlsplit(address)
    assert parts.hostname is not None
    assert parts.port is not None
    opened = socket.create_connection((parts.hostname, parts.port), timeout=20)
    opened.sendall(sent)
    return opened


def endless(piece: bytes) -> Iterator[bytes]:
    for _ in range(1000):
        yield piece


@pytest.mark.parametrize("path", ["/session", "/jobs/x/cancel", "/jobs", "/nothing"])
def test_large_body_without_files_is_refused_unread(tmp_path: Path, path: str) -> None:
    """A stated length over the limit is refused at once, for every route that takes no files."""
    with open_client(tmp_path, tokens=TOKENS) as client:
        said = problem(client.post(path, content=bytes(MAX_BODY_BYTES + 1)), 413)
    assert said["title"] == "The body is too large"


def test_body_of_unknown_length_is_cut_off(tmp_path: Path) -> None:
    """Sign-in takes no more than its limit into memory, however much is sent."""
    with listening(make_service(tmp_path, tokens=TOKENS)) as address:
        with suppress(httpx.WriteError):  # the connection is closed while sending
            problem(httpx.post(f"{address}/session", content=endless(bytes(100_000)), timeout=20), 413)
        assert httpx.get(f"{address}/health").status_code == 200


def test_half_header_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that sends no whole request header is closed."""
    monkeypatch.setattr(connections, "HEADERS_S", 0.2)
    with listening(make_service(tmp_path)) as address:
        for sent in (b"", b"GET /health HTTP/1.1\r\nHost: localh"):
            with connect(address, sent) as half, suppress(ConnectionResetError):
                assert half.recv(100) == b""


def test_half_body_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that never completes its small body is answered 408."""
    monkeypatch.setattr(connections, "BODY_S", 0.2)
    with listening(make_service(tmp_path)) as address:
        head = b"POST /session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf"
        with connect(address, head) as half:
            assert half.recv(100).startswith(b"HTTP/1.1 408 ")


def test_half_requests_do_not_stop_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With more half requests than there may be connections, the oldest go and whole requests are answered."""
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 20)
    with listening(make_service(tmp_path)) as address, ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(connect(address, b"POST /session HTTP/1.1\r\nHost: localhost\r\n"))
        for _ in range(3):
            assert httpx.get(f"{address}/health", timeout=20).status_code == 200
