"""Reads --url: one server, several, or a name that stands for as many as the DNS lists at the moment."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass

from client.errors import ServerUnavailable, UsageError

DNS_PREFIX = "dns:///"
LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True)
class Address:
    """Where a server is.

    Attributes:
        url: HOST:PORT of its gRPC endpoint.
        server_name: what its certificate must name, where that is not the host of the URL.
    """

    url: str
    server_name: str | None = None

    @property
    def host(self) -> str:
        """The host, an IPv6 address in brackets."""
        return self.url.rpartition(":")[0]

    @property
    def port(self) -> int:
        """The port."""
        return int(self.url.rpartition(":")[2])

    @property
    def is_local(self) -> bool:
        """Say whether the host is this one."""
        return self.host in LOCAL_HOSTS


@dataclass(frozen=True)
class Servers:
    """What --url means.

    Attributes:
        fixed: addresses that were given one by one.
        name: HOST:PORT of a name whose addresses are looked up, and looked up again; None without one.
    """

    fixed: tuple[Address, ...] = ()
    name: Address | None = None

    def find(self) -> list[Address]:
        """List the servers' addresses now.

        Raises:
            ServerUnavailable: the name stands for none.
        """
        return list(self.fixed) if self.name is None else _look_up(self.name)


def parse_urls(texts: Sequence[str]) -> Servers:
    """Read HOST:PORT, several of them separated by commas or given one by one, or dns:///NAME:PORT.

    Raises:
        UsageError: a text is none of these, or the two kinds are mixed.
    """
    parts = list(dict.fromkeys(part.strip() for text in texts for part in text.split(",")))
    if len(parts) == 1 and parts[0].startswith(DNS_PREFIX):
        return Servers(name=_address(parts[0].removeprefix(DNS_PREFIX)))
    return Servers(fixed=tuple(_address(part) for part in parts))


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    is_one = host and port.isdecimal() and int(port) < 1 << 16 and "/" not in host
    if not is_one or (":" in host and not host.startswith("[")):
        raise UsageError(
            f"--url: expected HOST:PORT of Triton's gRPC endpoint, several separated by commas, or one"
            f" {DNS_PREFIX}NAME:PORT, got {text!r}"
        )
    return Address(text)


def _look_up(name: Address) -> list[Address]:
    try:
        found = socket.getaddrinfo(name.host.strip("[]"), name.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # the latter for a name that can be none, such as a..b
        reason = getattr(error, "strerror", None) or error
        raise ServerUnavailable(f"{name.url}: expected a name that the DNS knows, got: {reason}") from error
    places = sorted({(str(place[0]), int(place[1])) for *_, place in found})
    return [Address(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", name.host) for host, port in places]
