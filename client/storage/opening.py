"""Opens the storage that an address names."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from client.errors import UsageError
from client.storage.folder import FolderStorage
from client.storage.storage import Storage
from lipsync_core.extras import install_advice

S3_SCHEME, FILE_SCHEME = "s3", "file"


def open_storage(address: str) -> Storage:
    """Open the storage at `s3://BUCKET/PREFIX`, or in a folder.

    Raises:
        UsageError: it is neither, or the package for it is missing.
    """
    parts = urlsplit(address)
    if parts.scheme == S3_SCHEME and parts.netloc and "@" not in parts.netloc:
        return _open_s3(address)
    if parts.scheme in ("", FILE_SCHEME) and parts.path and not parts.netloc:
        path = unquote(parts.path) if parts.scheme else address
        return FolderStorage(Path(path).absolute())  # jobs change the current folder
    raise UsageError(
        expected="s3://BUCKET/PREFIX or a folder",
        got=f"an address of the kind {parts.scheme or 'none'!r}",
        advice="Keys of S3 come from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL",
    )


def _open_s3(address: str) -> Storage:
    try:
        from client.storage.s3 import S3Storage  # noqa: PLC0415  (an extra of its own)
    except ModuleNotFoundError as error:
        raise UsageError(expected="the package obstore for S3", got="none", advice=install_advice("s3")) from error
    return S3Storage(address)
