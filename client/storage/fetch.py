"""Downloads media from public web addresses only: every address and every redirect is checked by the guard."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import httpx

from client.storage.disk import DiskGuard
from client.storage.errors import FileTooLarge
from client.storage.names import shown_name
from client.storage.url_guard import PUBLIC_WEB, UrlGuard, new_client, refused
from client.system import MB

MAX_REDIRECTS = 5
TIMEOUT_S = 30.0  # timeout of each step
TOTAL_TIMEOUT_S = 300.0
REDIRECTS = (301, 302, 303, 307, 308)
WRITE_BYTES = 1 << 20
ANY_FILE = {"Accept": "*/*", "Accept-Encoding": "identity"}


@dataclass(frozen=True)
class Fetcher:
    """How media are downloaded.

    Attributes:
        max_bytes: size limit of one file.
        disk: checked while writing.
        guard: checks every address.
        total_s: timeout of a whole download, in seconds.
    """

    max_bytes: int
    disk: DiskGuard
    guard: UrlGuard = PUBLIC_WEB
    total_s: float = TOTAL_TIMEOUT_S

    async def fetch(self, name: str, url: str, path: Path) -> str:
        """Download a web address to a file; returns the address's file name, for display.

        Args:
            name: the option or field that names it, for messages; may be empty.
            url: the address.
            path: the file to create.

        Raises:
            AddressRefused: the address may not be connected to, or returns no file.
            FileTooLarge: it returns too much.
            DiskFull: there is no room for it.
        """
        try:
            async with asyncio.timeout(self.total_s), new_client(TIMEOUT_S) as client:
                for _ in range(MAX_REDIRECTS + 1):
                    target = await self.guard.check(name, url)
                    request = target.request(client, "GET", timeout_s=TIMEOUT_S, headers=ANY_FILE)
                    response = await client.send(request, stream=True)
                    try:
                        if response.status_code not in REDIRECTS:
                            await self._save(name, response, path)
                            return shown_name(httpx.URL(url).path) or name
                        url = urljoin(url, response.headers.get("location", ""))
                    finally:
                        await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            raise refused(name, "an address that answers", "no answer", "Check it") from error
        raise refused(name, f"at most {MAX_REDIRECTS} redirects", "more")

    async def _save(self, name: str, response: httpx.Response, path: Path) -> None:
        if response.status_code != httpx.codes.OK:
            raise refused(name, "an address that returns the file", f"status {response.status_code}")
        nbytes = 0
        with self.disk.writing(), path.open("xb") as file:
            async for piece in response.aiter_raw(WRITE_BYTES):
                nbytes += len(piece)
                if nbytes > self.max_bytes:
                    raise FileTooLarge(option=name or (), expected=f"at most {self.max_bytes / MB:g} MB", got="more")
                self.disk.check()
                await asyncio.to_thread(file.write, piece)
        if nbytes == 0:
            raise refused(name, "an address that returns a media file", "an empty one")
