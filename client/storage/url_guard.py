"""Which web addresses may be connected to: those of the public internet, checked at every step.

The name is resolved once; all its addresses must be public, and the connection goes to the address that was checked,
so that a name cannot resolve to another address afterwards.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx

from client.storage.errors import AddressRefused

PORTS = {"http": 80, "https": 443}
MAX_URL_LENGTH = 2000
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
RESERVED = tuple(
    map(
        ipaddress.ip_network,
        (
            "192.0.0.0/24",  # RFC 6890: assignments of protocols, part of which Python calls global
            "192.88.99.0/24",  # RFC 7526: relays of 6to4, given up
            "168.63.129.16/32",  # Azure's agent on every virtual machine
            "fec0::/10",  # RFC 3879: site-local, given up
            "3fff::/20",  # RFC 9637: documentation
            "5f00::/16",  # RFC 9602: segment routing
            "64:ff9b:1::/48",  # RFC 8215: local translation between IPv4 and IPv6
        ),
    )
)
NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: an IPv4 address in its last 32 bits


async def resolve(host: str, port: int) -> list[str]:
    """Return a host's addresses, resolved by the system."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def is_public(text: str) -> bool:
    """Return whether an address belongs to the public internet; embedded IPv4 addresses are checked too."""
    try:
        address: Address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        carried = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if carried is None and address in NAT64:
            carried = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if carried is not None:
            return is_public(str(carried))
    if any(address in network for network in RESERVED):  # False between the two versions
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


@dataclass(frozen=True)
class Target:
    """A web address that was checked.

    Attributes:
        url: the address to connect to, with the number that was checked in place of the name.
        host: the name, for the header.
        sni: the name, for the check of the certificate.
    """

    url: httpx.URL
    host: str
    sni: str

    def request(
        self,
        client: httpx.AsyncClient,
        method: str,
        *,
        timeout_s: float,
        headers: dict[str, str],
        content: bytes | None = None,
    ) -> httpx.Request:
        """Build a request to the checked address."""
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), timeout_s)
        extensions = {"sni_hostname": self.sni, "timeout": timeouts}
        return client.build_request(
            method, self.url, headers={"Host": self.host, **headers}, content=content, extensions=extensions
        )


@dataclass(frozen=True)
class UrlGuard:
    """Checks web addresses; the fields are for tests.

    Attributes:
        resolve: host and port -> addresses.
        is_allowed: whether an address may be connected to.
        ports: ports that may be connected to.
    """

    resolve: Callable[[str, int], Awaitable[list[str]]] = resolve
    is_allowed: Callable[[str], bool] = is_public
    ports: tuple[int, ...] = tuple(PORTS.values())

    def parse(self, name: str, url: str) -> tuple[httpx.URL, int]:
        """Return a web address and its port, without resolving its name.

        Args:
            name: the option or field that names it, for messages; may be empty.
            url: the address.

        Raises:
            AddressRefused: it has another form than it may have.
        """
        try:
            parsed = httpx.URL(url) if len(url) <= MAX_URL_LENGTH else httpx.URL("")
        except httpx.InvalidURL as error:
            raise refused(name, "a web address", "another text") from error
        port = parsed.port or PORTS.get(parsed.scheme, 0)
        if parsed.scheme not in PORTS or not parsed.host or parsed.userinfo or port not in self.ports:
            raise refused(name, "an http or https address of the public web, without user and port", "another")
        return parsed, port

    async def check(self, name: str, url: str) -> Target:
        """Return where a web address leads, if that is public.

        Raises:
            AddressRefused: it is refused, or its name has no address.
        """
        parsed, port = self.parse(name, url)
        try:
            addresses = await self.resolve(parsed.host, port)
        except (OSError, UnicodeError) as error:
            raise refused(name, "a name that has an address", "none", "Check it") from error
        if not addresses or not all(map(self.is_allowed, addresses)):
            raise refused(name, "an address of the public web", "another")
        pinned = parsed.copy_with(host=addresses[0], fragment=None)
        return Target(pinned, parsed.netloc.decode("ascii"), parsed.host)


PUBLIC_WEB = UrlGuard()


def new_client(timeout_s: float) -> httpx.AsyncClient:
    """Open a client that uses no proxy of the environment and follows no redirect by itself."""
    return httpx.AsyncClient(trust_env=False, timeout=timeout_s, follow_redirects=False)


def refused(name: str, expected: str, got: str, advice: str = "") -> AddressRefused:
    """Return the error of a web address that cannot be used."""
    return AddressRefused(option=name or (), expected=expected, got=got, advice=advice)
