"""An imitation of Hugging Face on loopback: files by repository and revision, behind a redirection, with any fault."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

CONTENT_PREFIX = "/content/"


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request; the default is nothing.

    Attributes:
        status: Answer with this status instead.
        headers: Further headers.
        body: Send these bytes instead of the file.
        cut: Close the connection after so many bytes.
        stall: Send nothing more after so many bytes, but keep the connection.
        ignores_range: Send the whole file although a part was asked for.
        silent: Keep the connection, and never answer.
        sizeless: Send the body without its length, so that its end is that of the connection.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    cut: int | None = None
    stall: int | None = None
    ignores_range: bool = False
    silent: bool = False
    sizeless: bool = False


@dataclass(frozen=True)
class Seen:
    """One request.

    Attributes:
        method: GET or HEAD.
        path: Path of the address.
        host: Host of the address; behind a proxy, the real one.
        headers: The request's headers.
    """

    method: str
    path: str
    host: str
    headers: dict[str, str]


class ImitationHub:
    """Answers as the hub does; also a proxy, for addresses of any host.

    Attributes:
        files: Path such as owner/name/resolve/revision/file -> content.
        faults: What goes wrong with the next requests of files, in order; then nothing does.
        content_faults: The same behind the redirection, at the host that holds the content.
        seen: Requests so far.
    """

    def __init__(self, server: ThreadingHTTPServer) -> None:
        """Answer for a server."""
        self.files: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.content_faults: list[Fault] = []
        self.seen: list[Seen] = []
        self.stopped = threading.Event()
        self.port: int = server.server_address[1]

    @property
    def url(self) -> str:
        """Address of the hub; files come from the same port under another host's name."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def content_host(self) -> str:
        """Host that the hub redirects to."""
        return f"localhost:{self.port}"

    def add(self, repository: str, revision: str, file: str, content: bytes) -> str:
        """Serve a file, and return its SHA-256."""
        self.files[f"/{repository}/resolve/{revision}/{file}"] = content
        return hashlib.sha256(content).hexdigest()

    def ranges(self) -> list[str | None]:
        """List the ranges that were asked for, by request of a file's content."""
        return [seen.headers.get("Range") for seen in self.seen if seen.path.startswith(CONTENT_PREFIX)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: ImitationHub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        host = parts.netloc or self.headers.get("Host", "")
        self.hub.seen.append(Seen(self.command, parts.path, host, dict(self.headers)))
        is_content = parts.path.startswith(CONTENT_PREFIX)
        faults = self.hub.content_faults if is_content else self.hub.faults
        fault = faults.pop(0) if faults else Fault()
        content = self.hub.files.get(f"/{parts.path.removeprefix(CONTENT_PREFIX)}" if is_content else parts.path)
        if fault.silent:
            self.hub.stopped.wait(10)
            self.close_connection = True
        elif fault.status != 200:
            self._send(fault.status, fault.headers, fault.body or b"refused")
        elif content is None:
            self._send(404, {"X-Error-Code": "EntryNotFound"}, b"Entry not found")
        elif is_content or fault != Fault():
            self._send_file(content, fault)
        else:
            self._redirect(parts.path, content)

    def _redirect(self, path: str, content: bytes) -> None:
        """Send what the hub sends for large files: their hash, and another host's address."""
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        headers = {"X-Linked-Etag": etag, "X-Linked-Size": str(len(content)), "X-Repo-Commit": path.split("/")[4]}
        location = f"http://{self.hub.content_host}{CONTENT_PREFIX}{path[1:]}?Signature=secret"
        self._send(302, headers | {"Location": location}, b"Found")

    def _send_file(self, content: bytes, fault: Fault) -> None:
        content = content if fault.body is None else fault.body
        start = 0 if fault.ignores_range else self._start()
        if start and start >= len(content):
            self._send(416, {"Content-Range": f"bytes */{len(content)}"}, b"")
            return
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "Accept-Ranges": "bytes"} | fault.headers
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._send(206 if start else 200, headers, content[start:], fault)

    def _start(self) -> int:
        return int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])

    def _send(self, status: int, headers: dict[str, str], body: bytes, fault: Fault | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": "application/octet-stream"} | headers).items():
            self.send_header(name, value)
        if fault is None or not fault.sizeless:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        end = len(body)
        if fault is not None:
            end = next((count for count in (fault.cut, fault.stall) if count is not None), end)
        self.wfile.write(body[:end])
        if fault is not None and fault.stall is not None:
            self.hub.stopped.wait(10)
        if end < len(body):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class names it so)
        return


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that left."""


@contextmanager
def run_imitation_hub() -> Iterator[ImitationHub]:
    """Run an imitation of the hub on a free port of 127.0.0.1."""
    handler = type("Handler", (_Handler,), {})
    with _Server(("127.0.0.1", 0), handler) as server:
        hub = handler.hub = ImitationHub(server)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            hub.stopped.set()
            server.shutdown()
            thread.join()


def unused_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
