"""Explains why a server cannot be reached, by connecting once more with Python's own sockets."""

from __future__ import annotations

import http.client
from contextlib import closing

from client.errors import ServerLost, ServerUnavailable
from client.servers.addresses import Address
from client.servers.handshake import handshake_problem
from client.servers.proxies import Proxy, ProxyFailed, open_socket, proxy_of
from client.servers.security import Security
from lipsync_core.serving.endpoints import GRPC_PORT

PROBE_TIMEOUT_S = 3.0
LIVENESS_PATH, METRICS_PATH, METRICS_MARK = "/v2/health/live", "/metrics", b"nv_"  # of Triton
READ_BYTES = 1 << 16


def connection_problem(address: Address, security: Security) -> ServerUnavailable | None:
    """Return why a server cannot be reached; None if the reason is not known."""
    proxy = proxy_of(address)
    try:
        return _http_problem(address, proxy) or handshake_problem(address, security, proxy) or _unknown(address, proxy)
    except ProxyFailed as error:
        return _behind(address, proxy, str(error))


def _http_problem(address: Address, proxy: Proxy | None) -> ServerLost | None:
    """Say which port it is if it speaks plain HTTP."""
    status, page = _get(address, proxy, METRICS_PATH)
    if status is None:
        return None
    if METRICS_MARK in page:
        what = "its metrics port"  # which answers every path alike
    elif _get(address, proxy, LIVENESS_PATH)[0] == http.HTTPStatus.OK:
        what = "its HTTP port"
    else:
        return ServerLost(about=address.url, expected="a running Triton", got="a web server", advice="Check the port")
    return ServerLost(
        about=address.url,
        expected="Triton's gRPC port",
        got=what,
        advice=f"gRPC is on port {GRPC_PORT}, unless it was started with another",
    )


def _get(address: Address, proxy: Proxy | None, path: str) -> tuple[int | None, bytes]:
    """Return status and content of a page; None without an answer in HTTP."""
    with closing(http.client.HTTPConnection(address.host.strip("[]"), address.port)) as connection:
        try:
            connection.sock = open_socket(address, proxy, PROBE_TIMEOUT_S)
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read(READ_BYTES)
        except (OSError, UnicodeError, http.client.HTTPException):
            return None, b""


def _unknown(address: Address, proxy: Proxy | None) -> ServerLost | None:
    return None if proxy is None else _behind(address, proxy, "no connection")


def _behind(address: Address, proxy: Proxy | None, reason: str) -> ServerLost:
    """Return the error of a server that is reached through a proxy."""
    variable = proxy.variable if proxy else ""
    return ServerLost(
        about=address.url,
        expected=f"a running Triton behind {proxy}",
        got=reason,
        advice=f"Check ${variable}, or add {address.host} to $no_proxy",
    )
