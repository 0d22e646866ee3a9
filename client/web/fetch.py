"""Downloads media from public web addresses only: every address and every redirect is checked.

The name is resolved once; all its addresses must be public, and the connection goes to the address that was checked,
so that a name cannot resolve to another address afterwards. Disabled unless the service is started with --allow-urls.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import httpx
from starlette.concurrency import run_in_threadpool

from client.web.problems import ProblemError
from client.web.settings import MB
from client.web.upload import DiskGuard, shown_name

PORTS = {"http": 80, "https": 443}
MAX_REDIRECTS = 5
MAX_URL_LENGTH = 2000
TIMEOUT_S = 30.0  # timeout of each step
TOTAL_TIMEOUT_S = 300.0
REDIRECTS = (301, 302, 303, 307, 308)
WRITE_BYTES = 1 << 20
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
class Fetcher:
    """How media are downloaded; the fields after `disk` are for tests.

    Attributes:
        max_bytes: size limit of one file.
        disk: checked while writing.
        resolve: host and port -> addresses.
        is_allowed: whether an address may be connected to.
        ports: ports that may be connected to.
    """

    max_bytes: int
    disk: DiskGuard
    resolve: Callable[[str, int], Awaitable[list[str]]] = resolve
    is_allowed: Callable[[str], bool] = is_public
    ports: tuple[int, ...] = tuple(PORTS.values())

    async def fetch(self, name: str, url: str, path: Path) -> str:
        """Download a web address to a file; returns the address's file name, for display.

        Args:
            name: the request's field, for messages.
            url: the address.
            path: the file to create.

        Raises:
            ProblemError: the address is refused, cannot be reached, or returns too much.
        """
        try:
            async with asyncio.timeout(TOTAL_TIMEOUT_S), self._client() as client:
                for _ in range(MAX_REDIRECTS + 1):
                    request = await self._request(name, url, client)
                    response = await client.send(request, stream=True)
                    try:
                        if response.status_code not in REDIRECTS:
                            await self._save(name, response, path)
                            return shown_name(httpx.URL(url).path) or name
                        url = urljoin(url, response.headers.get("location", ""))
                    finally:
                        await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            raise _refused(name, "an address that answers", "no answer", "Check it") from error
        raise _refused(name, f"at most {MAX_REDIRECTS} redirects", "more")

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_S, follow_redirects=False)

    async def _request(self, name: str, url: str, client: httpx.AsyncClient) -> httpx.Request:
        """Build the request to the checked address; the host name is used in the header and the certificate check."""
        parsed = httpx.URL(url) if len(url) <= MAX_URL_LENGTH else httpx.URL("")
        port = parsed.port or PORTS.get(parsed.scheme, 0)
        if parsed.scheme not in PORTS or not parsed.host or parsed.userinfo or port not in self.ports:
            raise _refused(name, "an http or https address of the public web, without user and port", "another")
        addresses = await self.resolve(parsed.host, port)
        if not addresses or not all(map(self.is_allowed, addresses)):
            raise _refused(name, "an address of the public web", "another")
        headers = {"Host": parsed.netloc.decode("ascii"), "Accept": "*/*", "Accept-Encoding": "identity"}
        pinned = parsed.copy_with(host=addresses[0], fragment=None)
        return client.build_request(
            "GET", pinned, headers=headers, extensions={"sni_hostname": parsed.host, "timeout": _timeouts()}
        )

    async def _save(self, name: str, response: httpx.Response, path: Path) -> None:
        if response.status_code != httpx.codes.OK:
            raise _refused(name, "an address that returns the file", f"status {response.status_code}")
        nbytes = 0
        with self.disk.writing(), path.open("xb") as file:
            async for piece in response.aiter_raw(WRITE_BYTES):
                nbytes += len(piece)
                if nbytes > self.max_bytes:
                    raise ProblemError(413, name=name, expected=f"at most {self.max_bytes / MB:g} MB", got="more")
                self.disk.check()
                await run_in_threadpool(file.write, piece)
        if nbytes == 0:
            raise _refused(name, "an address that returns a media file", "an empty one")


def _timeouts() -> dict[str, float]:
    return dict.fromkeys(("connect", "read", "write", "pool"), TIMEOUT_S)


def _refused(name: str, expected: str, got: str, advice: str = "") -> ProblemError:
    return ProblemError(422, name=name, expected=expected, got=got, advice=advice)
