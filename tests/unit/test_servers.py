from __future__ import annotations

import argparse
import re
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from client.chunks import FAN_OUT_BYTES, IN_FLIGHT, chunk_frames, requests_in_flight
from client.cli.run import build_parser
from client.cli.server_arguments import server_access
from client.errors import RequestRejected, ServerUnavailable, UsageError
from client.servers import embedded, roster
from client.servers.access import ServerAccess
from client.servers.addresses import Address, parse_urls
from client.servers.calls import InferRequest
from client.servers.connection import TritonConnection
from client.servers.embedded import open_pool
from client.servers.options import PoolOptions
from client.servers.pool import ServerPool
from client.servers.roster import Roster
from client.syncnet.towers import towers_of
from lipsync_core.contract import ModelContract
from lipsync_core.serving import runtime
from lipsync_core.serving.runtime import ServerStartError
from lipsync_core.syncnet.models import SYNCNET_MODELS


def options(*arguments: str) -> argparse.Namespace:
    return build_parser().parse_args(["--video", "v", "--audio", "a", "--output", "o", *arguments])


def test_urls_are_read_in_all_their_forms() -> None:
    """Commas and repetition mean the same, duplicates count once, and a DNS name stays a name."""
    urls = [address.url for address in parse_urls(["a:1, b:2", "c:3", "a:1", "[::1]:4"]).find()]
    assert urls == ["a:1", "b:2", "c:3", "[::1]:4"]
    assert parse_urls(["dns:///triton.internal:8001"]).name == Address("triton.internal:8001")


@pytest.mark.parametrize(
    "text", ["nonsense", "host:", ":8001", "host:99999", "http://host:8001", "::1:8001", "a:1,", ""]
)
def test_other_urls_fail_with_what_is_expected(text: str) -> None:
    """The message shows the part that cannot be used."""
    with pytest.raises(UsageError, match="url: expected HOST:PORT.*dns:///NAME:PORT, got"):
        parse_urls([text])


def test_name_beside_addresses_fails() -> None:
    """A name stands for all servers or for none."""
    with pytest.raises(UsageError, match="got 'dns:///b:2'"):
        parse_urls(["a:1", "dns:///b:2"])


def test_unknown_name_fails_as_unavailable() -> None:
    """The message holds the name, also of text that cannot be a name."""
    for name in ("no.such.invalid", "a..b"):
        with pytest.raises(ServerUnavailable, match=rf"{re.escape(name)}:1: expected a name that the DNS knows"):
            parse_urls([f"dns:///{name}:1"]).find()


def test_host_that_cannot_be_a_name_fails_as_unavailable() -> None:
    """It cannot even be looked up, which is no defect of the program."""
    with pytest.raises(ServerUnavailable, match=r"a\.\.b:1: expected a running Triton, got no connection"):
        TritonConnection("a..b:1")


class FakeConnection:
    """Answers at once, and records whether it was closed."""

    transport = "grpc"
    server_name = ""
    lacks = frozenset(SYNCNET_MODELS)
    opened: ClassVar[list[FakeConnection]] = []

    def __init__(self, address: Address, *_: object) -> None:
        if address.url == "dead:1":
            raise ServerUnavailable(about="dead:1", expected="a running Triton", got="no connection")
        self.url = address.url
        self.is_closed = False
        self.opened.append(self)

    def contract(self, model: str) -> ModelContract:
        return ModelContract(model, "python", 0, (), (), {})

    def serves(self, model: str) -> bool:
        return model not in self.lacks

    def identity(self, model: str) -> str:
        if model in self.lacks:
            raise RequestRejected(about=model, expected="a model that is served", got="none")
        return model

    def infer(self, request: InferRequest) -> dict[str, np.ndarray]:
        return {}

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[FakeConnection]:
    monkeypatch.setattr(FakeConnection, "opened", [])
    monkeypatch.setattr(roster, "TritonConnection", FakeConnection)
    return FakeConnection.opened


def test_servers_are_judged_by_requests_alone(connections: list[FakeConnection]) -> None:
    """A question about a model is quick, and must not make a slow server look fast."""
    with ServerPool(ServerAccess(("a:1",))) as pool:
        pool.contract("m")
        assert pool.answered == {"a:1": 0}
        assert "m" not in pool._roster.snapshots(0.0)[0].seconds
        pool.infer(InferRequest("m", {}))
        assert pool.answered == {"a:1": 1}
        assert "m" in pool._roster.snapshots(0.0)[0].seconds


def test_optional_models_cost_a_job_nothing(connections: list[FakeConnection], monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost server is not waited for, and nothing is held against one without them, which may get them later."""
    with ServerPool(ServerAccess(("dead:1", "alive:1")), PoolOptions(comeback_s=0.1)) as pool:
        assert towers_of(pool) is None
        assert not pool._roster["alive:1"].unfit
        monkeypatch.setattr(FakeConnection, "lacks", frozenset(SYNCNET_MODELS[1:]))
        assert towers_of(pool) is None
        monkeypatch.setattr(FakeConnection, "lacks", frozenset())
        assert towers_of(pool) is not None
    assert len(connections) == 1


def test_pool_without_servers_fails() -> None:
    """Whoever starts a server of their own has an address to give."""
    with pytest.raises(UsageError, match="url: expected a server's address, got none"):
        ServerPool(ServerAccess())


def test_interrupted_start_closes_what_was_opened(
    connections: list[FakeConnection], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the pool connects leaves no connection open."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Roster, "_start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ServerPool(ServerAccess(("a:1", "b:1")))
    assert [connection.is_closed for connection in connections] == [True, True]


def test_frames_under_way_are_bounded_for_any_number_of_servers() -> None:
    """Two requests for each server, as far as memory allows; chunks are the same for any number."""
    for frame_bytes in (100_000, 3_110_400, 12_441_600, 50_000_000):
        chunk = chunk_frames(frame_bytes) * frame_bytes
        assert requests_in_flight(1, chunk) == IN_FLIGHT
        for count in (3, 10, 1000):
            assert requests_in_flight(count, chunk) * chunk <= max(FAN_OUT_BYTES, IN_FLIGHT * chunk)
    assert requests_in_flight(3, 10_000_000) == 3 * IN_FLIGHT


def test_eight_servers_are_kept_busy_at_1080p() -> None:
    """With 16 frames per request, as LatentSync has; at four times the pixels with a few of them."""
    full_hd, ultra_hd = (16 * width * height * 3 // 2 for width, height in ((1920, 1080), (3840, 2160)))
    assert requests_in_flight(8, full_hd) == 8 * IN_FLIGHT
    assert requests_in_flight(8, ultra_hd) == 5
    assert requests_in_flight(200, 1_000_000) == 8 * IN_FLIGHT


def test_security_belongs_to_servers_that_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --url there is nothing to encrypt; a token of the environment then stays unused."""
    monkeypatch.setenv("LIPSYNC_TOKEN", "secret")
    assert server_access(options()).servers is None
    for arguments in (["--tls"], ["--token-file", str(tmp_path / "token")]):
        (tmp_path / "token").write_text("secret")
        with pytest.raises(UsageError, match="expected url beside them"):
            server_access(options(*arguments))


def test_timeout_of_no_time_fails() -> None:
    """A timeout below a second is refused."""
    with pytest.raises(UsageError, match="timeout: expected 1 to 1000000 seconds, got '0'"):
        server_access(options("--timeout", "0"))


def test_open_pool_fails_without_a_server_to_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client installed alone has neither server nor models, and says what to install or to give."""
    monkeypatch.setattr(runtime, "PYTHONS", (sys.version_info[:2],))
    monkeypatch.setattr(runtime.importlib.util, "find_spec", lambda name: None)
    with (
        pytest.raises(ServerStartError, match="pip install 'lipsync-triton"),
        open_pool(ServerAccess(), tmp_path / "none", ("faces",)),
    ):
        pass


def test_identity_of_a_model_depends_on_its_own_files(
    connections: list[FakeConnection], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A model that is served besides, or exported again, costs nobody the finished parts of a job."""
    for name in ("faces", "syncnet_lips"):
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "config.pbtxt").write_text('backend: "python"')
        (tmp_path / name / "1" / "model.py").write_text("")
    monkeypatch.setattr(embedded, "open_server", lambda *_: nullcontext(("a:1", 1.0)))

    def identity(*models: str) -> str:
        with open_pool(ServerAccess(), tmp_path, models) as (pool, _):
            return pool.identity("faces")

    alone = identity("faces")
    assert identity("faces", "syncnet_lips") == alone
    (tmp_path / "syncnet_lips" / "1" / "model.py").write_text("pass")
    assert identity("faces", "syncnet_lips") == alone
    (tmp_path / "faces" / "1" / "model.py").write_text("pass")
    assert identity("faces") != alone
    assert len(connections) == 4
