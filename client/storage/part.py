"""Writes files under another name first, so that nothing half-done has the final one."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def writing_whole(path: Path) -> Iterator[Path]:
    """Provide a path to write to, which becomes `path` at the end of the context; after an error nothing is left."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
