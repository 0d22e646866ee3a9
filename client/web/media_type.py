"""Media types of files by their first bytes, for browsers; only types that cannot run scripts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

HEAD_BYTES = 16
UNKNOWN = "application/octet-stream"
BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"\x1a\x45\xdf\xa3", "video/webm"),
    (b"OggS", "video/ogg"),
)
MP4, QUICKTIME, WEBP = "video/mp4", "video/quicktime", "image/webp"
KINDS = (MP4, QUICKTIME, WEBP, *(kind for _, kind in BEGINNINGS), UNKNOWN)


def media_type(path: Path) -> str:
    """Return the media type of a video or picture; application/octet-stream if browsers cannot show it."""
    with path.open("rb") as file:
        return media_type_of([file.read(HEAD_BYTES)])


def media_type_of(beginning: Iterable[bytes]) -> str:
    """Return the media type of a file by its first bytes, in pieces."""
    head = b"".join(beginning)
    if head[4:8] == b"ftyp":
        return QUICKTIME if head[8:10] == b"qt" else MP4
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    return next((kind for known, kind in BEGINNINGS if head.startswith(known)), UNKNOWN)
