"""Fetching media from the web: public addresses only, checked at every step."""

from __future__ import annotations

import asyncio
import http.server
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from client.storage import AddressRefused, DiskFull, FileTooLarge
from client.storage.disk import DiskGuard
from client.storage.fetch import Fetcher
from client.storage.url_guard import UrlGuard, is_public
from tests.limits import small_files

LOOPBACK = "127.0.0.1"


class Site(http.server.BaseHTTPRequestHandler):
    """A site with a file, redirects and endless content."""

    hosts: list[str]

    def do_GET(self) -> None:
        self.hosts.append(self.headers["Host"])
        port = self.server.server_address[1]
        moves = {
            "/moved": f"http://other.example:{port}/file.mp4",
            "/inside": f"http://inside.example:{port}/file.mp4",
            "/literal": f"http://169.254.169.254:{port}/latest",
            "/file-scheme": "file:///etc/passwd",
            "/round": "/round",
        }
        if self.path in moves:
            self.send_response(302)
            self.send_header("Location", moves[self.path])
            self.end_headers()
        elif self.path == "/missing":
            self.send_error(404)
        else:
            self.send_response(200)
            self.end_headers()
            self.wfile.write({"/empty": b"", "/large": bytes(5000), "/huge": bytes(50_000)}.get(self.path, b"media"))

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture
def site() -> Iterator[http.server.ThreadingHTTPServer]:
    """The site, on loopback."""
    Site.hosts = []
    with http.server.ThreadingHTTPServer((LOOPBACK, 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def some_guard(port: int) -> UrlGuard:
    """A guard for which all names but inside.example are public and lead to the test's site."""

    async def resolve(host: str, port: int) -> list[str]:
        return {"inside.example": ["10.0.0.1"], "both.example": [LOOPBACK, "10.0.0.1"]}.get(
            host, [host if host[0].isdigit() else LOOPBACK]
        )

    return UrlGuard(resolve, lambda address: address == LOOPBACK, (port,))


def fetcher(folder: Path, port: int) -> Fetcher:
    return Fetcher(1000, DiskGuard(folder, 0), some_guard(port))


def fetch(site: http.server.ThreadingHTTPServer, folder: Path, path: str, host: str = "public.example") -> str:
    port = site.server_address[1]
    return asyncio.run(fetcher(folder, port).fetch("video_url", f"http://{host}:{port}{path}", folder / "video"))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1",
        "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2001:db8::1", "localhost", "",
    ],
)  # fmt: skip
def test_inner_address_is_not_public(address: str) -> None:
    """Loopback, private, link-local, shared, multicast and documentation addresses are inner ones, however wrapped."""
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "1.1.1.1", "2606:2800:220:1::1", "64:ff9b::101:101"])
def test_outer_address_is_public(address: str) -> None:
    """Addresses of the public internet are public."""
    assert is_public(address)


def test_file_is_fetched_through_redirects(site: http.server.ThreadingHTTPServer, tmp_path: Path) -> None:
    """A redirect to another public name is followed; each server is asked under its own name."""
    assert fetch(site, tmp_path, "/moved") == "file.mp4"
    assert (tmp_path / "video").read_bytes() == b"media"
    assert [host.partition(":")[0] for host in Site.hosts] == ["public.example", "other.example"]


@pytest.mark.parametrize(
    ("path", "host", "message"),
    [
        ("/file.mp4", "inside.example", "public web"),
        ("/file.mp4", "both.example", "public web"),
        ("/inside", "public.example", "public web"),
        ("/literal", "public.example", "public web"),
        ("/file-scheme", "public.example", "http or https"),
        ("/round", "public.example", "at most 5 redirects"),
        ("/missing", "public.example", "status 404"),
        ("/empty", "public.example", "empty"),
        ("/large", "public.example", "at most 0.001 MB"),
    ],
)
def test_address_that_leads_elsewhere_fails(
    site: http.server.ThreadingHTTPServer, tmp_path: Path, path: str, host: str, message: str
) -> None:
    """Inner addresses are refused directly, among several, and behind redirects; so is what is no good file."""
    with pytest.raises((AddressRefused, FileTooLarge), match=message):
        fetch(site, tmp_path, path, host)
    assert "10.0.0.1" not in Site.hosts


def test_disk_that_refuses_fails_as_full(site: http.server.ThreadingHTTPServer, tmp_path: Path) -> None:
    """The address is not to blame where the file cannot be written."""
    roomy = replace(fetcher(tmp_path, site.server_address[1]), max_bytes=100_000)
    with small_files(), pytest.raises(DiskFull):
        asyncio.run(roomy.fetch("video_url", f"http://public.example:{site.server_address[1]}/huge", tmp_path / "file"))


@pytest.mark.parametrize(
    "address",
    ["192.0.0.9", "192.88.99.1", "168.63.129.16", "fec0::1", "3fff::1", "5f00::1", "64:ff9b:1::1", "::ffff:192.0.0.9"],
)
def test_reserved_address_is_not_public(address: str) -> None:
    """Addresses with a purpose of their own are refused, also those that Python calls global."""
    assert not is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "ftp://example.org/x", "gopher://example.org/", "http://user:secret@example.org/x",
        "http://example.org:22/x", "http://", "//example.org/x", "no address", "http://[::1", "http://" + "a" * 3000,
    ],
)  # fmt: skip
def test_other_kinds_of_address_fail(tmp_path: Path, url: str) -> None:
    """Only plain http and https addresses on the web's own ports are taken."""
    with pytest.raises(AddressRefused, match="video_url"):
        asyncio.run(Fetcher(1000, DiskGuard(tmp_path, 0)).fetch("video_url", url, tmp_path / "video"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "127.1"])
def test_own_machine_fails_in_every_spelling(tmp_path: Path, host: str) -> None:
    """This machine's own services cannot be reached, whatever spelling the system's resolver knows."""
    with pytest.raises(AddressRefused, match="video_url: expected an address"):
        asyncio.run(Fetcher(1000, DiskGuard(tmp_path, 0)).fetch("video_url", f"http://{host}/x", tmp_path / "video"))
