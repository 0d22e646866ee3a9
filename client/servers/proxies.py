"""Finds the HTTP proxy that gRPC uses for a server, as the environment says, and opens sockets the same way."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import os
import socket
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass

from client.servers.addresses import Address

# gRPC's own variables, the first that is set counts; it ignores them in capitals. Source: its environment_variables.md.
VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")
EXCEPTIONS = ("no_grpc_proxy", "no_proxy")
DEFAULT_PORT = 80


@dataclass(frozen=True)
class Proxy:
    """An HTTP proxy.

    Attributes:
        host: its name or address.
        port: its port.
        variable: the environment variable that names it.
    """

    host: str
    port: int
    variable: str

    def __str__(self) -> str:
        """Return it for messages, without the password that the variable may hold."""
        return f"the proxy {self.host}:{self.port} (from ${self.variable})"


class ProxyFailed(Exception):
    """The proxy does not connect us, with its reason."""


def proxy_of(address: Address, environment: Mapping[str, str] = os.environ) -> Proxy | None:
    """Return the proxy that gRPC uses for a server; None for none, and always for servers on this host."""
    if address.is_local or _is_excepted(address.host.strip("[]"), environment):
        return None
    variable = next((name for name in VARIABLES if environment.get(name)), None)
    if variable is None:
        return None
    with contextlib.suppress(ValueError):  # gRPC ignores what it cannot read
        parts = urllib.parse.urlsplit(environment[variable])
        if parts.scheme == "http" and parts.hostname:
            return Proxy(parts.hostname, parts.port or DEFAULT_PORT, variable)
    return None


def open_socket(address: Address, proxy: Proxy | None, timeout_s: float) -> socket.socket:
    """Connect to a server as gRPC does.

    Raises:
        ProxyFailed: The proxy cannot be reached or does not connect us.
        OSError: The server cannot be reached.
    """
    host = address.host.strip("[]")
    if proxy is None:
        return socket.create_connection((host, address.port), timeout_s)
    tunnel = http.client.HTTPConnection(proxy.host, proxy.port, timeout=timeout_s)
    tunnel.set_tunnel(host, address.port)
    try:
        tunnel.connect()
    except (OSError, http.client.HTTPException) as error:
        raise ProxyFailed(getattr(error, "strerror", None) or str(error) or "no answer") from error
    return tunnel.sock


def _is_excepted(host: str, environment: Mapping[str, str]) -> bool:
    """Say whether the environment excepts a host: by the end of its name, or by a network that holds its address."""
    texts = [environment[name] for name in EXCEPTIONS if environment.get(name)]
    entries = [entry.strip() for entry in texts[0].split(",")] if texts else []
    return any(entry and (host.lower().endswith(entry.lower()) or _holds(entry, host)) for entry in entries)


def _holds(network: str, host: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
