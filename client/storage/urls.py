"""Files that URLs name: s3://BUCKET/KEY, or https:// and http:// of the public web. Knows nothing of jobs.

Keys of S3 are taken as they stand, without %20 and the like; bucket and key hold no secrets, as those come from the
environment. Messages name a web address without its query, which may grant access.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote, urlsplit

from client.errors import LipSyncError, UsageError
from client.storage.disk import DiskGuard
from client.storage.errors import FileMissing, FileTooLarge, StorageRefused, StorageUnavailable
from client.storage.names import shown_name
from client.storage.opening import open_storage
from client.storage.part import writing_whole
from client.storage.storage import Storage
from client.system import MB
from lipsync_core.extras import install_advice

if TYPE_CHECKING:
    from client.storage.url_guard import UrlGuard

EXTRA = "urls"  # of pyproject.toml
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
S3_URL = re.compile(r"s3://(?P<bucket>[A-Za-z0-9][A-Za-z0-9._-]*)/(?P<key>.+)", re.DOTALL)
NO_PARTS = ("", ".", "..")  # what a key may not have between slashes
MAX_NAME_BYTES = 200  # of a copy's name; hidden files beside it have longer ones
MAX_SHOWN = 300  # characters of a web address in messages
DIGEST_BYTES = 8
FETCH_S = 3600.0  # timeout of a whole file from the web
PATIENCE_S, RETRY_EVERY_S = 60.0, 2.0  # how long a storage may be gone while a job fetches or stores
T = TypeVar("T")


def is_url(text: str) -> bool:
    """Return whether a text is a URL of any kind, and no path."""
    return URL.match(text) is not None


def is_s3(url: str) -> bool:
    """Return whether a URL names a file in S3."""
    return S3_URL.fullmatch(url) is not None


def shown_url(url: str) -> str:
    """Return a URL for messages and reports: in one line, without user, password, query and fragment."""
    shown = url
    if not is_s3(url):
        try:
            parts = urlsplit(url)
        except ValueError:
            return f"{url.partition(':')[0]}://"
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"[:MAX_SHOWN]
    return "".join(letter if letter.isprintable() else "?" for letter in shown)


def recorded_url(url: str) -> str:
    """Return a URL for records: as `shown_url`, and with a hash of what that leaves out."""
    shown = shown_url(url)
    return shown if shown == url else f"{shown}?{url_digest(url)}"


def url_digest(url: str) -> str:
    """Return a hash of a URL, in hexadecimal."""
    return hashlib.blake2b(url.encode(errors="backslashreplace"), digest_size=DIGEST_BYTES).hexdigest()


def copy_name(url: str) -> str:
    """Return the name of a local copy: the last part of the URL's path, where a file may be called so."""
    match = S3_URL.fullmatch(url)
    last = match["key"] if match else unquote(urlsplit(url).path)
    name = shown_name(last).lstrip(".") or "file"
    if len(os.fsencode(name)) <= MAX_NAME_BYTES:
        return name
    stem, suffix = os.path.splitext(name)
    return f"{stem[: MAX_NAME_BYTES // 8]}{suffix[: MAX_NAME_BYTES // 8]}"


def check_input_url(url: str) -> None:
    """Check what can be known of an input's URL without a connection.

    Raises:
        UsageError: it is of another kind, names no file, or a package for it is missing.
        AddressRefused: it is no address of the public web.
    """
    with _named(url):
        if url.startswith("s3://"):
            _s3_file(url)
        elif url.startswith(("https://", "http://")):
            _public_web().parse("", url)
        else:
            raise UsageError(expected="a path, s3://BUCKET/KEY or https://", got="another kind of URL")


def check_output_url(url: str) -> None:
    """Check what can be known of an output's URL without a connection.

    Raises:
        UsageError: it is not in S3, names no file, or a package for it is missing.
    """
    with _named(url):
        if not url.startswith("s3://"):
            raise UsageError(expected="a path or s3://BUCKET/KEY", got="another kind of URL")
        _, key = _s3_file(url)
        if copy_name(url) != key.rpartition("/")[2]:
            raise UsageError(expected="a key whose last part a file may be called", got="another")


def tag_of(url: str) -> str | None:
    """Return what changes with the content of a file in S3; None if there is none.

    Raises:
        StorageUnavailable: the storage did not answer for PATIENCE_S, or refuses.
    """
    with _named(url):
        storage, key = _s3_file(url)
        facts = patiently(lambda: storage.facts(key))
        return None if facts is None else facts.etag


def fetch_url(url: str, path: Path, max_bytes: int, disk: DiskGuard) -> str | None:
    """Copy the file of a URL to a path, whole or not at all; returns its tag in S3, None for the web's.

    Args:
        url: the URL.
        path: the file to create.
        max_bytes: the largest size.
        disk: checked while writing.

    Raises:
        AddressRefused: the web address may not be connected to, or returns no file.
        FileMissing: there is no such file in S3.
        FileTooLarge: it is larger.
        DiskFull: there is no room for it.
        StorageUnavailable: the storage did not answer for PATIENCE_S, or refuses.
    """
    with _named(url):
        if is_s3(url):
            return patiently(lambda: _fetch_from_s3(url, path, max_bytes, disk))
        _fetch_from_web(url, path, max_bytes, disk)
        return None


def check_store(url: str) -> None:
    """Check before the work that the storage of an output answers, knows the keys, and has the bucket.

    Raises:
        StorageUnavailable: it did not answer for PATIENCE_S, or refuses.
    """
    with _named(url):
        storage, _ = _s3_file(url)
        patiently(storage.check)


def store_url(path: Path, url: str) -> str | None:
    """Store a file in S3, whole, in place of what was there; returns its tag.

    Raises:
        StorageUnavailable: the storage did not answer for PATIENCE_S, or refuses.
    """
    with _named(url):
        storage, key = _s3_file(url)
        patiently(lambda: storage.put(path, key))
    return tag_of(url)


def patiently(call: Callable[[], T]) -> T:
    """Call until the storage answers, but not for ever.

    Raises:
        StorageUnavailable: it did not within PATIENCE_S, or refuses, which waiting does not change.
    """
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        try:
            return call()
        except StorageRefused:
            raise
        except StorageUnavailable:
            if time.monotonic() >= give_up_at:
                raise
        time.sleep(RETRY_EVERY_S)


def _fetch_from_s3(url: str, path: Path, max_bytes: int, disk: DiskGuard) -> str:
    storage, key = _s3_file(url)
    facts = storage.facts(key)
    if facts is None:
        raise FileMissing(expected="a stored file", got="none")
    if facts.nbytes > max_bytes:
        raise FileTooLarge(expected=f"at most {max_bytes / MB:g} MB", got="more")
    disk.check(facts.nbytes)
    with disk.writing():
        storage.get(key, path)
    return facts.etag


def _fetch_from_web(url: str, path: Path, max_bytes: int, disk: DiskGuard) -> None:
    guard = _public_web()
    from client.storage.fetch import Fetcher  # noqa: PLC0415  (an extra of its own)

    with writing_whole(path) as part:
        asyncio.run(Fetcher(max_bytes, disk, guard, FETCH_S).fetch("", url, part))


def _public_web() -> UrlGuard:
    try:
        from client.storage import url_guard  # noqa: PLC0415  (an extra of its own)
    except ModuleNotFoundError as error:
        advice = install_advice(EXTRA)
        raise UsageError(expected="the package httpx for web addresses", got="none", advice=advice) from error
    return url_guard.PUBLIC_WEB


def _s3_file(url: str) -> tuple[Storage, str]:
    """Return the storage and the key of a file in S3.

    Raises:
        UsageError: the URL names no file, or the package for S3 is missing.
    """
    match = S3_URL.fullmatch(url)
    if match is None or any(part in NO_PARTS for part in match["key"].split("/")) or not url.isprintable():
        raise UsageError(expected="s3://BUCKET/KEY with the key of a file", got="another form")
    return _bucket(match["bucket"]), match["key"]


@lru_cache
def _bucket(name: str) -> Storage:
    return open_storage(f"s3://{name}")


@contextmanager
def _named(url: str) -> Iterator[None]:
    """Have errors name the URL."""
    try:
        yield
    except LipSyncError as error:
        error.options, error.about = (), shown_url(url)
        raise
