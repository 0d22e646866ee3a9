"""Arrays by name as bytes for a file: compressed, and checked by hash."""

from __future__ import annotations

import hashlib
import io
import threading
import zlib
from collections.abc import Mapping

import numpy as np

DIGEST_BYTES = 32
COMPRESSION = 1  # zlib's fastest: most arrays hold few changed pixels
_ONE_HEADER_AT_A_TIME = threading.Lock()


def pack_arrays(key: str, arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return arrays by name as the content of a file.

    Args:
        key: what the arrays are; a file that was renamed to another key counts as damaged.
        arrays: no objects.
    """
    buffer = io.BytesIO()
    np.savez(buffer, **dict(arrays))
    packed = zlib.compress(buffer.getbuffer(), COMPRESSION)
    return _digest(key, packed) + packed


def unpack_arrays(key: str, stored: bytes) -> dict[str, np.ndarray] | None:
    """Return the arrays that `pack_arrays` packed under this key; None if the bytes are damaged."""
    digest, packed = stored[:DIGEST_BYTES], stored[DIGEST_BYTES:]
    if _digest(key, packed) != digest:
        return None
    # numpy parses headers with ast, at which CPython 3.11 fails now and then in several threads at once (SystemError)
    with _ONE_HEADER_AT_A_TIME, np.load(io.BytesIO(zlib.decompress(packed)), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _digest(key: str, packed: bytes) -> bytes:
    return hashlib.blake2b(key.encode() + packed, digest_size=DIGEST_BYTES).digest()
