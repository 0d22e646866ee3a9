from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator

import pytest

from client.errors import ServerLost
from client.servers.addresses import parse_address
from client.servers.connection import TritonConnection
from client.servers.proxies import EXCEPTIONS, VARIABLES, proxy_of

PASSWORD = "secret-of-the-proxy"


class RefusingProxy(http.server.BaseHTTPRequestHandler):
    """Refuses every tunnel, and keeps where it should have led."""

    asked: list[str]

    def do_CONNECT(self) -> None:
        self.asked.append(self.path)
        self.send_error(403, "not for you")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Addresses that a proxy was asked for; the environment names it."""
    asked: list[str] = []
    handler = type("Handler", (RefusingProxy,), {"asked": asked})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name in EXCEPTIONS:
            monkeypatch.delenv(name, raising=False)
        for name in VARIABLES:
            monkeypatch.setenv(name, f"http://user:{PASSWORD}@127.0.0.1:{server.server_port}")
        yield asked
        server.shutdown()


def test_servers_on_this_host_are_reached_without_the_proxy(asked: list[str]) -> None:
    """The proxy is not asked for loopback, and no error about it names a proxy."""
    for host in ("127.0.0.1", "localhost", "[::1]", "127.0.0.2"):
        with pytest.raises(ServerLost, match="expected a running Triton, got no connection"):
            TritonConnection(f"{host}:1")
    assert asked == []


def test_connection_through_a_proxy_fails_with_its_name(asked: list[str]) -> None:
    """The message names the proxy, its variable and its reason, and never its password."""
    with pytest.raises(ServerLost) as failure:
        TritonConnection("gpu.invalid:8001")
    assert "gpu.invalid:8001: expected a running Triton behind the proxy 127.0.0.1:" in str(failure.value)
    assert "(from $grpc_proxy), got Tunnel connection failed: 403 not for you" in str(failure.value)
    assert "add gpu.invalid to $no_proxy" in str(failure.value)
    assert PASSWORD not in str(failure.value)
    assert set(asked) == {"gpu.invalid:8001"}


def test_proxy_that_is_not_there_fails_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of yesterday's network is named too."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("grpc_proxy", f"http://127.0.0.1:{unused.getsockname()[1]}")
        monkeypatch.delenv("no_proxy", raising=False)
        with pytest.raises(ServerLost, match=r"behind the proxy 127.0.0.1:\d+ .*, got Connection refused"):
            TritonConnection("gpu.invalid:8001")


@pytest.mark.parametrize(
    ("environment", "url", "variable"),
    [
        ({"http_proxy": "http://p:1"}, "gpu1:8001", "http_proxy"),
        ({"http_proxy": "http://p:1", "https_proxy": "http://q:2"}, "gpu1:8001", "https_proxy"),
        ({"https_proxy": "http://q:2", "grpc_proxy": "http://r"}, "10.1.2.3:8001", "grpc_proxy"),
        ({"HTTP_PROXY": "http://p:1", "HTTPS_PROXY": "http://p:1"}, "gpu1:8001", None),
        ({"http_proxy": "http://p:1"}, "LOCALHOST:8001", None),
        ({"http_proxy": "nonsense"}, "gpu1:8001", None),
        ({"http_proxy": "http://p:1", "no_proxy": "a, .example.com"}, "gpu.example.com:8001", None),
        ({"http_proxy": "http://p:1", "no_proxy": "10.0.0.0/8"}, "10.1.2.3:8001", None),
        ({"http_proxy": "http://p:1", "no_proxy": "*"}, "gpu1:8001", "http_proxy"),
        ({"http_proxy": "http://p:1", "no_proxy": "gpu1", "no_grpc_proxy": "gpu2"}, "gpu1:8001", "http_proxy"),
    ],
)
def test_the_proxy_is_the_one_that_grpc_uses(environment: dict[str, str], url: str, variable: str | None) -> None:
    """Its own variables in its order, in small letters, with the exceptions that it knows."""
    proxy = proxy_of(parse_address(url), environment)
    assert (proxy and proxy.variable) == variable
