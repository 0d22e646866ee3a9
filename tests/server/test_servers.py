from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc

from client.errors import NoAnswer, RequestRejected, ServerBusy, ServerUnavailable
from client.job import Job
from client.job_options import JobOptions
from client.servers.access import BATCH_PRIORITY, ServerAccess
from client.servers.calls import InferRequest
from client.servers.connection import TritonConnection
from client.servers.options import PoolOptions
from client.servers.pool import ServerPool
from lipsync_core.serving.server import EmbeddedServer, ServerOptions
from tests.conftest import DEFAULT_MODELS, REPOSITORY
from tests.server.clips import SPEECH, swaying_head, write_video
from tests.server.toy_models import DOUBLE_CONFIG, DOUBLE_MODEL, write_model
from tests.waiting import wait_until

pytestmark = pytest.mark.server

LATENTSYNC_CONFIG = REPOSITORY / "latentsync" / "config.pbtxt"
ALERT = PoolOptions(check_every_s=0.2, check_timeout_s=1.0, max_misses=2)  # a frozen server is noticed within about 3 s


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[EmbeddedServer]]:
    """Two servers that take 0.05 s for a request, and one that takes 1 s."""
    with ExitStack() as stack:
        yield [stack.enter_context(start_toy(tmp_path_factory.mktemp("toy"), seconds)) for seconds in (0.05, 0.05, 1.0)]


def sleeping_double(seconds: float) -> str:
    """Make `double` take that long for a request."""
    return DOUBLE_MODEL.replace("        return", f"        time.sleep({seconds})\n        return")


def start_toy(folder: Path, seconds: float = 0.0, config: str = DOUBLE_CONFIG) -> EmbeddedServer:
    write_model(folder, "double", config, sleeping_double(seconds))
    return EmbeddedServer(ServerOptions(folder, ("double",)))


def open_pool(servers: list[EmbeddedServer], comeback_s: float = 60.0, **options: object) -> ServerPool:
    access = ServerAccess(tuple(server.url for server in servers), **options)  # type: ignore[arg-type]
    return ServerPool(access, replace(ALERT, comeback_s=comeback_s))


def ask_many(pool: ServerPool, count: int, at_once: int = 6) -> list[float]:
    """Ask for the doubles of 0 to count - 1, large enough for shared memory."""

    def ask(number: int) -> float:
        values = np.full(20_000, number, np.float32)
        doubled = pool.infer(InferRequest("double", {"values": values}))["doubled"]
        assert np.all(doubled == doubled[0])
        return float(doubled[0])

    with ThreadPoolExecutor(at_once) as threads:
        return list(threads.map(ask, range(count)))


def signal_all(server: EmbeddedServer, number: int) -> None:
    for pid in server.pids:
        os.kill(pid, number)


@pytest.mark.parametrize("transport", ["shm", "grpc"])
def test_slow_server_gets_less(trio: list[EmbeddedServer], transport: str) -> None:
    """Requests go where they are answered first; a server twenty times slower gets a few of them."""
    with open_pool(trio, transport=transport) as pool:
        assert pool.transport == transport
        assert ask_many(pool, 120) == [2.0 * number for number in range(120)]
        fast, fast_too, slow = (pool.answered[server.url] for server in trio)
    assert fast + fast_too + slow == 120
    assert 1 <= slow <= 20
    assert min(fast, fast_too) > slow


@pytest.mark.long
def test_job_survives_a_killed_and_a_frozen_server(model_repository: Path, tmp_path: Path) -> None:
    """With one of three servers killed and one frozen mid-job, the file is bit for bit that of a single server."""
    clip = write_video(tmp_path / "head.mp4", swaying_head(60))
    whole, broken = JobOptions(clip, SPEECH, tmp_path / "whole.mp4"), JobOptions(clip, SPEECH, tmp_path / "broken.mp4")
    with ExitStack() as stack:
        options = ServerOptions(model_repository, DEFAULT_MODELS)
        killed, frozen, last = (stack.enter_context(EmbeddedServer(options)) for _ in range(3))

        class Breaker:
            done = 0

            def stage(self, name: str, total_frames: int | None = None) -> None: ...

            def advance(self, frames: int) -> None:
                self.done += frames
                if self.done == 1:
                    signal_all(killed, signal.SIGKILL)
                if self.done == 40:
                    signal_all(frozen, signal.SIGSTOP)

        with open_pool([last]) as pool, Job(whole) as job:
            single = job.run(pool)
        with open_pool([killed, frozen, last]) as pool, Job(broken) as job:
            report = job.run(pool, Breaker())
            assert pool.retries > 0
            assert not pool.is_connected(killed.url)
    assert report.frames == single.frames
    assert broken.output.read_bytes() == whole.output.read_bytes()


def test_frozen_server_is_left_out_and_comes_back(tmp_path: Path) -> None:
    """Its requests are answered elsewhere; thawed it gets requests again, and leaves no shared memory registered."""
    with start_toy(tmp_path / "a", 0.02) as steady, start_toy(tmp_path / "b", 0.02) as frozen:
        with open_pool([steady, frozen]) as pool:
            ask_many(pool, 8)
            signal_all(frozen, signal.SIGSTOP)
            assert ask_many(pool, 40) == [2.0 * number for number in range(40)]
            wait_until(lambda: not pool.is_connected(frozen.url))
            answered = pool.answered[frozen.url]
            signal_all(frozen, signal.SIGCONT)
            wait_until(lambda: pool.is_connected(frozen.url))
            ask_many(pool, 40)
            assert pool.answered[frozen.url] > answered
        import tritonclient.grpc as triton_grpc

        with triton_grpc.InferenceServerClient(frozen.url) as client:
            assert not client.get_system_shared_memory_status().regions


def test_server_that_starts_later_takes_part(tmp_path: Path) -> None:
    """A server that is down when the job begins is tried again, and used once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    write_model(tmp_path / "b", "double", DOUBLE_CONFIG, sleeping_double(0.02))
    late = EmbeddedServer(ServerOptions(tmp_path / "b", ("double",), grpc_port=port))
    with (
        start_toy(tmp_path / "a", 0.02) as first,
        ServerPool(ServerAccess((f"{first.url},127.0.0.1:{port}",)), ALERT) as pool,
    ):
        assert pool.server_count == 2
        ask_many(pool, 4)
        with late:
            wait_until(lambda: pool.is_connected(late.url))
            ask_many(pool, 20)
            assert pool.answered[late.url] > 0


def test_full_queue_slows_the_client_down(tmp_path: Path) -> None:
    """Refusals for want of room are waited out, and all requests are answered."""
    config = DOUBLE_CONFIG.replace(
        "max_batch_size: 0", "max_batch_size: 1\ndynamic_batching { default_queue_policy { max_queue_size: 1 } }"
    )
    model = sleeping_double(0.1).replace("values[0] < 0", "values.min() < 0")
    write_model(tmp_path / "toy", "double", config, model)
    with EmbeddedServer(ServerOptions(tmp_path / "toy", ("double",))) as server, open_pool([server]) as pool:

        def ask(number: int) -> float:
            request = InferRequest("double", {"values": np.full((1, 4), number, np.float32)})
            return float(pool.infer(request)["doubled"][0, 0])

        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(ask, range(24))) == [2.0 * number for number in range(24)]
        assert pool.retries > 0
        assert pool.is_connected(server.url)


def test_a_batch_does_not_keep_people_waiting(tmp_path: Path) -> None:
    """It fills its own queue, bounded by LatentSync's policy; the page's requests go before what waits there."""
    lines = LATENTSYNC_CONFIG.read_text().splitlines()
    policy, instances = (next(one for one in lines if one.startswith(key)) for key in ("dynamic_batch", "instance_"))
    config = DOUBLE_CONFIG.replace("instance_group [ { kind: KIND_CPU } ]", instances)
    waiting, extra = 32, 8
    with ExitStack() as stack:
        server = stack.enter_context(start_toy(tmp_path / "toy", 0.1, f"{config}{policy}\n"))
        batch = stack.enter_context(TritonConnection(server.url, priority=BATCH_PRIORITY))
        page = stack.enter_context(TritonConnection(server.url))
        request = InferRequest("double", {"values": np.ones(1, np.float32)})
        page.infer(request)
        threads = stack.enter_context(ThreadPoolExecutor(waiting + extra))
        answers = [threads.submit(batch.infer, request) for _ in range(waiting + extra)]
        wait_until(lambda: any(answer.done() and answer.exception() for answer in answers))  # the queue is full
        page.infer(request)
        assert sum(not answer.done() for answer in answers) > waiting / 2
        errors = [answer.exception() for answer in answers]
    assert all(error is None or isinstance(error, ServerBusy) for error in errors)
    assert sum(error is None for error in errors) >= waiting


def test_regions_that_a_server_has_forgotten_are_registered_again(trio: list[EmbeddedServer]) -> None:
    """A server that was restarted at its address does not know them; requests are sent again and nothing is lost."""
    with open_pool(trio[:1], transport="shm") as pool, triton_grpc.InferenceServerClient(trio[0].url) as other:
        ask_many(pool, 6)
        other.unregister_system_shared_memory()
        ask_many(pool, 6)
        assert pool.retries > 0


def test_missed_deadline_is_tried_again_and_then_fails(tmp_path: Path) -> None:
    """A request that takes longer than its deadline is sent again, a few times, and the error says what it is."""
    with start_toy(tmp_path / "toy", 2.0) as server, open_pool([server], request_timeout_s=0.3) as pool:
        with pytest.raises(NoAnswer, match="expected an answer in time"):
            ask_many(pool, 1)
        assert pool.retries == 3


def test_refused_request_fails_at_once(trio: list[EmbeddedServer]) -> None:
    """What one server rejects as invalid is not sent to another."""
    with open_pool(trio) as pool:
        with pytest.raises(RequestRejected, match="expected at least one"):
            pool.infer(InferRequest("double", {"values": np.zeros(0, np.float32)}))
        assert pool.retries == 0


def test_server_with_another_model_is_left_out(trio: list[EmbeddedServer], tmp_path: Path) -> None:
    """Results must not depend on the server: one that serves another version gets no requests for it."""
    other = DOUBLE_CONFIG + 'parameters { key: "kind" value { string_value: "other" } }\n'
    with start_toy(tmp_path / "toy", 0.0, other) as stranger, open_pool([*trio[:2], stranger]) as pool:
        pool.contract("double")
        ask_many(pool, 30)
        answered = pool.answered
        strangers = answered.pop(stranger.url)
        assert 0 in (strangers, *(sum(answered.values()),))  # whichever was asked first is the measure
        with pytest.raises(RequestRejected, match="'wav2lop'.*Load the"):
            pool.contract("wav2lop")


@pytest.mark.slow
def test_model_whose_process_died_is_asked_elsewhere(tmp_path: Path) -> None:
    """After kill -9 of a model's process one server's other requests and the next job's go to the other server."""
    with start_toy(tmp_path / "a", 0.1) as sound, start_toy(tmp_path / "b", 0.1) as hurt:
        with open_pool([sound, hurt]) as pool:
            ask_many(pool, 8)
            (stub,) = [pid for pid in hurt.pids if b"python_backend_stub" in Path(f"/proc/{pid}/cmdline").read_bytes()]
            os.kill(stub, signal.SIGKILL)
            assert ask_many(pool, 20) == [2.0 * number for number in range(20)]
            answered = pool.answered[hurt.url]
            ask_many(pool, 20)
            assert pool.answered[hurt.url] == answered
        assert hurt.ends_within(10)
        assert hurt.how_it_ended().startswith("since the process of its model double died")


def test_nobody_there_fails_as_unavailable(tmp_path: Path) -> None:
    """With no server at all the pool fails at once; with all gone later, after its patience."""
    with pytest.raises(ServerUnavailable, match="127.0.0.1:1: expected a running Triton"):
        ServerPool(ServerAccess(("127.0.0.1:1,127.0.0.1:2",)))
    with start_toy(tmp_path / "toy") as server, open_pool([server], comeback_s=0.5) as pool:
        ask_many(pool, 1)
        signal_all(server, signal.SIGKILL)
        with pytest.raises(ServerUnavailable):
            ask_many(pool, 1)


def test_cancelled_requests_end_at_once(trio: list[EmbeddedServer]) -> None:
    """Giving up ends requests under way instead of waiting for them or sending them elsewhere."""
    with open_pool(trio[2:]) as pool:
        ask_many(pool, 1)
        threading.Timer(0.2, pool.cancel).start()
        started = time.monotonic()
        with pytest.raises(ServerUnavailable):
            ask_many(pool, 20)
        assert time.monotonic() - started < 10


def test_name_stands_for_all_its_servers(trio: list[EmbeddedServer], monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that the DNS lists for a name are used, new ones as soon as they are listed."""
    listed = trio[:1]

    def look_up(host: str, port: int, **_: object) -> list[tuple]:
        assert (host, port) == ("triton.internal", 8001)
        return [(0, 0, 0, "", ("127.0.0.1", int(server.url.rpartition(":")[2]))) for server in listed]

    monkeypatch.setattr("client.servers.addresses.socket.getaddrinfo", look_up)
    access = ServerAccess(("dns:///triton.internal:8001",))
    with ServerPool(access, replace(ALERT, look_up_every_s=0.1)) as pool:
        ask_many(pool, 4)
        listed.append(trio[1])
        wait_until(lambda: pool.server_count == 2)
        ask_many(pool, 40)
        assert all(pool.answered[server.url] for server in listed)
