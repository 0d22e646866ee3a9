"""Downloads one file over HTTP and continues where an earlier try ended. Knows nothing of what the file holds."""

from __future__ import annotations

import errno
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException, HTTPResponse
from io import FileIO
from pathlib import Path
from shutil import disk_usage
from typing import IO, Literal
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener, getproxies, proxy_bypass

from lipsync_core.locks import lock_file

CHUNK = 1 << 20  # bytes
PARTIAL_CONTENT, RANGE_NOT_SATISFIABLE = 206, 416
PASSING = (408, 425, 429, 500, 502, 503, 504)  # statuses that may change by themselves
# What storage behind a redirection answers once the address has expired; the next try gets a new address.
EXPIRED = (400, 401, 403, 404, 410)
SIZE_HEADER = "X-Linked-Size"  # of the hub's redirections: size of the file, in bytes
HUB_ERROR_HEADER = "X-Error-Code"  # of a hub's own refusals, also where a mirror redirects to it
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)

Watch = Callable[[int, int | None], None]  # takes the bytes so far, and those of the whole file if known
Kind = Literal["refused", "expired", "unreachable", "broken", "page", "space", "busy"]


@dataclass(frozen=True)
class Patience:
    """How long a download goes on trying.

    Attributes:
        stall_s: Longest time without a byte, in seconds.
        tries: Tries in a row without a new byte after which it fails.
        pause_s: Time before the next try, in seconds; doubled with each one in a row.
        longest_pause_s: Longest time to wait if the server asks for a time, in seconds.
    """

    stall_s: float = 30.0
    tries: int = 5
    pause_s: float = 1.0
    longest_pause_s: float = 60.0


class TransferError(Exception):
    """A download failed.

    Attributes:
        kind: What failed: the server refused, a host that it redirected to refused, there is no connection, the
            connection broke, a web page came instead, the disk is full, or another process downloads the same file.
        got: What came instead of the file, in words.
        status: HTTP status of a refusal, or None.
    """

    def __init__(self, kind: Kind, got: str, status: int | None = None) -> None:
        """Describe the failure."""
        super().__init__(got)
        self.kind, self.got, self.status = kind, got, status


def download(url: str, path: Path, *, token: str | None, watch: Watch, patience: Patience) -> None:
    """Download a file, and append to what is already there of it.

    Args:
        url: Address of the file, http or https. Redirections are followed.
        path: Unfinished file, created or continued. It stays after a failure, for the next run.
        token: Access token for the first host, or None; hosts that it redirects to do not get it.
        watch: Called as bytes arrive.
        patience: How long to go on trying.

    Raises:
        TransferError: The file could not be downloaded whole.
        OSError: The unfinished file cannot be written.
    """
    with path.open("ab", buffering=0) as file:  # unbuffered: closing a file on a full disk must not fail again
        _lock(file)
        failures, first = 0, file.tell()
        while True:
            before = file.tell()
            try:
                return _receive(url, file, token, watch, patience.stall_s)
            except _Passing as error:
                failures = failures + 1 if file.tell() <= before else 1
                no_network = error.failure.kind == "unreachable" and file.tell() <= first
                if no_network or failures >= patience.tries or error.pause_s > patience.longest_pause_s:
                    raise error.failure from error
                time.sleep(error.pause_s or patience.pause_s * 2 ** (failures - 1))


class _Redirections(HTTPRedirectHandler):
    """Follows redirections: remembers where they lead, and sends the token on within the same host."""

    def __init__(self, url: str) -> None:
        """Start at an address."""
        self.first = self.url = url
        self.size: int | None = None

    @property
    def left_host(self) -> bool:
        """Whether another host answers than the first one."""
        return urlsplit(self.url).netloc != urlsplit(self.first).netloc

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> Request | None:
        """Note the next address, and the size of the file if the hub tells it."""
        request = super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]
        size = headers.get(SIZE_HEADER, "")
        self.size = int(size) if size.isdecimal() else self.size
        if request is not None:
            self.url = request.full_url
            token = req.unredirected_hdrs.get("Authorization")
            if token and urlsplit(req.full_url)[:2] == urlsplit(self.url)[:2]:  # a renamed repository
                request.add_unredirected_header("Authorization", token)
        return request


class _Passing(Exception):
    """A failure that may pass: it is worth another try, after a pause if the server asked for one."""

    def __init__(self, failure: TransferError, pause_s: float = 0.0) -> None:
        super().__init__(failure.got)
        self.failure, self.pause_s = failure, pause_s


def _lock(file: FileIO) -> None:
    """Keep other processes from writing to the same file, where the system and the disk can."""
    try:
        lock_file(file.fileno())
    except BlockingIOError as error:
        raise TransferError("busy", f"another process that writes to {file.name}") from error
    except OSError:
        return


def _receive(url: str, file: FileIO, token: str | None, watch: Watch, stall_s: float) -> None:
    """Request what is missing and append it, once.

    Raises:
        _Passing: The connection broke, or the server was busy.
        TransferError: The server refused, sent a web page, or the disk is full.
    """
    start = file.tell()
    request = Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    way = _Redirections(url)
    try:
        with build_opener(way).open(request, timeout=stall_s) as response:  # urlopen keeps the first proxies
            total = _place(response, file)
            total = way.size if total is None else total
            _check_space(file, total)
            watch(file.tell(), total)
            while chunk := response.read1(CHUNK):  # what has arrived, so that a stall loses nothing
                _write(file, chunk)
                watch(file.tell(), total)
    except HTTPError as error:
        with error:  # it holds the connection
            if error.code == RANGE_NOT_SATISFIABLE and _is_whole(file, error.headers):
                return
            raise _refusal(error, way) from error
    except URLError as error:
        raise _Passing(TransferError("unreachable", _no_connection(way.url, error.reason))) from error
    except TimeoutError as error:
        raise _Passing(TransferError("broken", f"no byte in {stall_s:g} s{_behind(way)}")) from error
    except (ConnectionError, ssl.SSLError, HTTPException) as error:
        raise _Passing(TransferError("broken", f"a broken connection{_behind(way)} ({_one_line(error)})")) from error
    if total is not None and file.tell() != total:
        ended = f"a connection{_behind(way)} that ended after {file.tell():,} of {total:,} bytes"
        raise _Passing(TransferError("broken", ended))


def _place(response: HTTPResponse, file: FileIO) -> int | None:
    """Return the size of the whole file, if known; what an answer from the start replaces is removed."""
    if response.headers.get_content_type() == "text/html":
        raise TransferError("page", "a web page")
    content_range = response.headers.get("Content-Range", "")
    if response.status == PARTIAL_CONTENT and content_range.startswith(f"bytes {file.tell()}-"):
        return _total(content_range)
    if file.tell():
        _empty(file)
    if response.status == PARTIAL_CONTENT:
        raise _Passing(TransferError("broken", f"another part of the file than asked for, {content_range}"))
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _is_whole(file: FileIO, headers: Message) -> bool:
    """Check whether there was nothing left to send; an unfinished file that is too long is emptied."""
    if _total(headers.get("Content-Range", "")) == file.tell():
        return True
    _empty(file)
    return False


def _refusal(error: HTTPError, way: _Redirections) -> Exception:
    expired = way.left_host and error.code in EXPIRED and HUB_ERROR_HEADER not in error.headers
    got = f"{error.code} {_one_line(error.reason)}".strip() + _behind(way)
    failure = TransferError("expired" if expired else "refused", got, error.code)
    if error.code == RANGE_NOT_SATISFIABLE:
        return _Passing(failure)
    if not expired and error.code not in PASSING:
        return failure
    asked = error.headers.get("Retry-After", "")
    return _Passing(failure, float(asked) if asked.isdecimal() else 0.0)


def _total(content_range: str) -> int | None:
    total = content_range.rpartition("/")[2]
    return int(total) if total.isdecimal() else None


def _empty(file: FileIO) -> None:
    file.truncate(0)
    file.seek(0)


def _check_space(file: FileIO, total: int | None) -> None:
    folder = Path(str(file.name)).parent
    missing, free = (total or 0) - file.tell(), disk_usage(folder).free
    if missing > free:
        raise TransferError("space", f"{free:,} free bytes in {folder} for {missing:,}")


def _write(file: FileIO, chunk: bytes) -> None:
    rest = memoryview(chunk)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        if error.errno in NO_SPACE:
            raise TransferError("space", f"no free bytes in {Path(str(file.name)).parent}") from error
        raise


def _behind(way: _Redirections) -> str:
    """Name the host that a redirection led to, without the signature in its address; empty if none did."""
    return f" from {urlsplit(way.url).netloc}" if way.left_host else ""


def _no_connection(url: str, reason: object) -> str:
    proxy = _proxy_of(url)
    through = f" through the proxy {proxy}" if proxy else ""
    return f"no connection to {urlsplit(url).netloc}{through} ({_one_line(reason)})"


def _proxy_of(url: str) -> str | None:
    """Name the proxy that requests to an address go through, without its password, or None."""
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if not proxy or proxy_bypass(parts.netloc):
        return None
    return urlsplit(proxy).netloc.rpartition("@")[2] or proxy


def _one_line(reason: object) -> str:
    text = getattr(reason, "strerror", None) or str(reason).strip() or type(reason).__name__
    return str(text).splitlines()[0]
