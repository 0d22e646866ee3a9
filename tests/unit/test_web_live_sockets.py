"""Live streams through the real web server: handshakes, limits of connections and messages, slow readers."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from client.live.settings import StreamSettings
from client.web import connections
from client.web.live_messages import MAX_MESSAGE_BYTES
from client.web.live_outbox import MAX_WAITING_BYTES, Outbox, OutboxClosed
from client.web.service import Service
from tests.fake_live import FakeSession, write_clip
from tests.waiting import wait_until
from tests.web_service import SomeModels, listening, make_service

OPEN = json.dumps({"kind": "open", "clip": "ann", "rate": 16_000})
NOISE = np.random.default_rng(0)


def noisy_session(settings: StreamSettings) -> FakeSession:
    """Open a session whose pictures need many bytes, and come fast."""
    return FakeSession(settings, 0.002, [NOISE.integers(0, 255, (256, 256, 3), np.uint8) for _ in range(8)])


def open_and_close(address: str, **options: Any) -> None:
    with connect(address, **options):
        pass


def read_all(socket: ClientConnection) -> None:
    while True:
        socket.recv(timeout=5)


@pytest.fixture
def service(tmp_path: Path) -> Service:
    """A service with a clip."""
    write_clip(tmp_path / "clips" / "ann")
    models = SomeModels("mouth-motion", live=True)
    return make_service(tmp_path / "web", models, open_session=noisy_session, clips=tmp_path / "clips")


@pytest.fixture
def address(service: Service) -> Iterator[str]:
    """Where it listens."""
    with listening(service) as found:
        yield found.replace("http", "ws") + "/live"


@contextmanager
def opened(address: str, **options: Any) -> Iterator[ClientConnection]:
    """Open a stream."""
    with connect(address, **options) as socket:
        socket.send(OPEN)
        assert json.loads(socket.recv())["kind"] == "opened"
        yield socket


def test_refusal_is_an_answer_with_a_problem(address: str) -> None:
    """Before the connection is made: programs read its status and text."""
    with pytest.raises(InvalidStatus) as refused:
        open_and_close(address, origin="https://evil.example")
    response = refused.value.response
    assert (response.status_code, response.headers["content-type"]) == (403, "application/problem+json")
    assert json.loads(response.body or b"")["type"] == "/problems/other-site"
    assert response.headers["x-frame-options"] == "DENY"


def test_stream_outlives_the_time_of_a_request(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection without a further request is closed soon; a stream is none."""
    monkeypatch.setattr(connections, "HEADERS_S", 0.3)
    with opened(address) as socket:
        until = time.monotonic() + 1
        while time.monotonic() < until:
            assert socket.recv(timeout=5)


def test_large_message_ends_the_stream(service: Service, address: str) -> None:
    """It is not even held."""
    with opened(address) as socket:
        socket.send(bytes(MAX_MESSAGE_BYTES + 1))
        with pytest.raises(ConnectionClosed) as closed:
            read_all(socket)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009
    wait_until(lambda: service.live.open_streams == 0)


def test_too_many_connections_are_told_so(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream counts as one."""
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 2)
    with listening(service) as found:
        address = found.replace("http", "ws") + "/live"
        with opened(address):
            with pytest.raises(InvalidStatus) as refused:
                open_and_close(address)
            assert refused.value.response.status_code == 503


def test_slow_page_delays_its_own_pictures_alone(service: Service, address: str) -> None:
    """What waits for it is limited; another page's stream goes on, and its own ends when it goes."""
    with opened(address, max_queue=1) as slow, opened(address) as fast:
        seen = 0
        while seen <= 2 * MAX_WAITING_BYTES:
            seen += len(fast.recv(timeout=60))
        slow.socket.close()
    wait_until(lambda: service.live.open_streams == 0)


def test_service_that_ends_takes_its_streams_along(service: Service) -> None:
    """Soon, and their pages are told that it restarts."""
    with ExitStack() as stack:
        with listening(service) as found:
            socket = stack.enter_context(opened(found.replace("http", "ws") + "/live"))
        with pytest.raises(ConnectionClosed) as closed:
            read_all(socket)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
    assert service.live.open_streams == 0


def test_outbox_lets_its_thread_wait() -> None:
    """Until messages are taken, or nobody takes them any more."""

    async def take() -> None:
        outbox = Outbox()
        put: list[int] = []
        ended: list[type[Exception]] = []

        def fill() -> None:
            try:
                while True:
                    outbox.put(bytes(MAX_WAITING_BYTES // 2))
                    put.append(1)
            except OutboxClosed as error:
                ended.append(type(error))

        thread = threading.Thread(target=fill)
        thread.start()
        while len(put) < 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert len(put) == 2
        await outbox.get()
        while len(put) < 3:
            await asyncio.sleep(0.01)
        outbox.close()
        await asyncio.to_thread(thread.join, 5)
        assert ended == [OutboxClosed]

    asyncio.run(asyncio.wait_for(take(), 10))
