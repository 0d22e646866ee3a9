"""Reads the option `url`: one server, several, or a DNS name for any number of servers."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass

from client.errors import ServerUnavailable, UsageError
from lipsync_core.serving.endpoints import is_loopback

DNS_PREFIX = "dns:///"


@dataclass(frozen=True)
class Address:
    """Where a server is.

    Attributes:
        url: HOST:PORT of its gRPC endpoint.
        server_name: The name that its certificate must hold, if it is not the URL's host.
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
        """Whether the server is on this host."""
        return is_loopback(self.host)


@dataclass(frozen=True)
class Servers:
    """The servers that URLs name.

    Attributes:
        fixed: Addresses that were given one by one.
        name: NAME:PORT whose addresses the DNS lists, now and later; None if addresses were given.
    """

    fixed: tuple[Address, ...] = ()
    name: Address | None = None

    def find(self) -> list[Address]:
        """List the servers' current addresses.

        Raises:
            ServerUnavailable: The DNS does not know the name.
        """
        return list(self.fixed) if self.name is None else _look_up(self.name)


def parse_urls(texts: Sequence[str]) -> Servers:
    """Read HOST:PORT, several of them separated by commas or given one by one, or one dns:///NAME:PORT.

    Raises:
        UsageError: A text is none of these, or the two kinds are mixed.
    """
    parts = list(dict.fromkeys(part.strip() for text in texts for part in text.split(",")))
    if len(parts) == 1 and parts[0].startswith(DNS_PREFIX):
        return Servers(name=parse_address(parts[0].removeprefix(DNS_PREFIX)))
    return Servers(fixed=tuple(parse_address(part) for part in parts))


def parse_address(text: str) -> Address:
    """Read HOST:PORT, an IPv6 host in brackets.

    Raises:
        UsageError: The text is something else.
    """
    host, _, port = text.rpartition(":")
    is_one = host and port.isdecimal() and int(port) < 1 << 16 and "/" not in host
    if not is_one or (":" in host and not host.startswith("[")):
        rule = f"HOST:PORT of Triton's gRPC endpoint, several separated by commas, or one {DNS_PREFIX}NAME:PORT"
        raise UsageError(option="url", expected=rule, got=repr(text))
    return Address(text)


def _look_up(name: Address) -> list[Address]:
    try:
        found = socket.getaddrinfo(name.host.strip("[]"), name.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # the latter for text that cannot be a name, such as a..b
        reason = getattr(error, "strerror", None) or error
        raise ServerUnavailable(about=name.url, expected="a name that the DNS knows", got=reason) from error
    places = sorted({(str(place[0]), int(place[1])) for *_, place in found})
    return [Address(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", name.host) for host, port in places]
