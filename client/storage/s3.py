"""Storage in a bucket of Amazon S3 or a server that is compatible with it, such as MinIO, Ceph or R2.

obstore does the work: a single package that reads and writes in pieces, tries again, and takes endpoint, region and
keys from the usual AWS_* variables, a web identity or the instance's role. s3fs would bring aiobotocore, which is tied
to one version of botocore, and an event loop of its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import obstore
from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from client.storage.errors import FileMissing, StorageRefused, StorageUnavailable
from client.storage.part import writing_whole
from client.storage.storage import CHUNK_BYTES, StoredFacts

ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")  # the first that is set counts
DEFAULT_REGION = "us-east-1"  # compatible servers mostly have no other
CONNECT_S = 5  # timeout of a connection
SILENCE_S = 60  # longest time without a byte of an answer; a part of an upload must be sent within it
WHOLE_S = 7 * 24 * 3600  # timeout of a whole answer, which may take long; obstore's own is 30 s
PART_BYTES, PARTS_AT_ONCE = 5 << 20, 4  # of an upload; S3 takes no smaller parts
ERROR_CODE = re.compile(r"<Code>(\w+)</Code>")  # in a server's answer, such as NoSuchBucket or InvalidAccessKeyId
PASSING_CODES = ("InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown")  # trying again may help
REFUSALS = (PermissionDeniedError, UnauthenticatedError)  # answers to HEAD have no code
RETRY_S = 10  # longest time of attempts within a call; callers that can wait longer try again


class S3Storage:
    """Files of a bucket whose keys begin with a prefix."""

    def __init__(self, url: str, environment: Mapping[str, str] = os.environ) -> None:
        """Use `s3://BUCKET/PREFIX`; nothing is asked of the server yet."""
        endpoint = next((environment[name] for name in ENDPOINT_VARIABLES if environment.get(name)), None)
        has_region = any(environment.get(name) for name in ("AWS_REGION", "AWS_DEFAULT_REGION"))
        self.address = url.rstrip("/")
        self._store = S3Store.from_url(
            url,
            config={
                "disable_bulk_delete": True,  # which some servers lack; jobs have few files
                **({} if endpoint is None else {"endpoint": endpoint}),
                **({} if has_region else {"region": DEFAULT_REGION}),
            },
            client_options={
                "allow_http": endpoint is not None and endpoint.startswith("http://"),
                "connect_timeout": timedelta(seconds=CONNECT_S),
                "read_timeout": timedelta(seconds=SILENCE_S),
                "timeout": timedelta(seconds=WHOLE_S),
            },
            retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=RETRY_S)},
        )

    def put(self, path: Path, key: str) -> None:
        """Store a file whole, in place of what was there."""
        try:
            with _mapped_errors(key):
                obstore.put(self._store, key, path, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE)
        except FileMissing as error:
            if not path.exists():
                raise
            raise StorageRefused("the storage has no such bucket", about=key) from error

    def check(self) -> None:
        """Check that the bucket is there and can be listed.

        Raises:
            StorageUnavailable: it does not answer, there is no such bucket, or the keys are refused.
        """
        with _mapped_errors(""):
            next(iter(obstore.list(self._store, chunk_size=1)), None)

    def get(self, key: str, path: Path) -> None:
        """Write a stored file to a path, whole or not at all.

        Raises:
            FileMissing: there is none.
        """
        with _mapped_errors(key), writing_whole(path) as part, part.open("wb") as file:
            for piece in obstore.get(self._store, key).stream(min_chunk_size=CHUNK_BYTES):
                file.write(piece)

    def facts(self, key: str) -> StoredFacts | None:
        """Return what is known of a file; None if there is none."""
        try:
            with _mapped_errors(key):
                found = obstore.head(self._store, key)
        except FileMissing:
            return None
        tag = (found["e_tag"] or f"{found['size']:x}").strip('"')
        return StoredFacts(found["size"], found["last_modified"].timestamp(), f'"{tag}"')

    def read(self, key: str, start: int, stop: int) -> Generator[bytes]:
        """Yield bytes `start` to `stop`, the latter not included, in pieces; close it to stop early.

        Raises:
            FileMissing: there is no such file.
        """
        if start >= stop:
            return
        with _mapped_errors(key):
            found = obstore.get(self._store, key, options={"range": (start, stop)})
            for piece in found.stream(min_chunk_size=CHUNK_BYTES):
                yield bytes(piece)

    def keys(self, prefix: str) -> list[str]:
        """Return the keys of all files in a folder and below."""
        with _mapped_errors(prefix):
            return sorted(str(found["path"]) for page in obstore.list(self._store, prefix or None) for found in page)

    def remove(self, prefix: str) -> None:
        """Remove a file, or all files in a folder; what is not there is no error."""
        with _mapped_errors(prefix):
            for key in [*self.keys(prefix), prefix]:
                try:
                    obstore.delete(self._store, key)
                except NotFoundError:
                    continue


@contextmanager
def _mapped_errors(key: str) -> Iterator[None]:
    """Turn obstore's errors into those of storage; their own text may name addresses and keys of the service."""
    try:
        yield
    except (NotFoundError, FileNotFoundError) as error:
        raise FileMissing(about=key, expected="a stored file", got="none") from error
    except BaseError as error:
        code = ERROR_CODE.search(str(error))
        reason = f"refuses ({code[1]})" if code else f"does not answer ({type(error).__name__})"
        is_final = code[1] not in PASSING_CODES if code else isinstance(error, REFUSALS)
        kind = StorageRefused if is_final else StorageUnavailable
        raise kind(f"the storage {reason}", about=key) from error
