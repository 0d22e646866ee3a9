"""A web site for tests of what the service sends and fetches, and a guard that lets it be reached."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from client.storage.url_guard import UrlGuard

LOOPBACK = "127.0.0.1"
PUBLIC = "public.example"


class Receiver(http.server.ThreadingHTTPServer):
    """Answers POST with the next of some statuses, GET with content; keeps what it was sent.

    Attributes:
        statuses: answers to POST, the last one again and again.
        content: path -> what GET returns; other paths are missing.
        taken: headers and body of each POST.
        hold: GET waits for it before the last byte.
    """

    def __init__(self) -> None:
        super().__init__((LOOPBACK, 0), _Handler)
        self.statuses = [200]
        self.content: dict[str, bytes] = {}
        self.taken: list[tuple[dict[str, str], bytes]] = []
        self.asked: list[str] = []
        self.hold = threading.Event()
        self.hold.set()

    def url(self, path: str, host: str = PUBLIC) -> str:
        return f"http://{host}:{self.server_port}{path}"

    def guard(self) -> UrlGuard:
        """A guard for which this site alone is public; inside.example leads to an inner address."""

        async def resolve(host: str, port: int) -> list[str]:
            if host == "unknown.example":
                raise OSError("no such name")
            return [{"inside.example": "10.0.0.1"}.get(host, LOOPBACK)]

        return UrlGuard(resolve, lambda address: address == LOOPBACK, (self.server_port,))


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.taken.append(({name.lower(): value for name, value in self.headers.items()}, body))
        status = self.server.statuses[0] if len(self.server.statuses) == 1 else self.server.statuses.pop(0)
        self.send_response(status)
        if status in (301, 307):
            self.send_header("Location", self.server.url("/moved"))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        content = self.server.content.get(self.path)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(content[:-1])
        self.server.hold.wait(30)
        with suppress(OSError):  # the caller has gone, as some tests want
            self.wfile.write(content[-1:])

    def log_message(self, *arguments: object) -> None: ...


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Run the site on loopback."""
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.hold.set()
            server.shutdown()
            thread.join()
