"""Pictures with a closed mouth, each drawn once for all sessions that show the clip. Knows no server."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence

from client.lanes.stage import Chunk, DrawnFrame
from client.media import Picture

DIGEST_BYTES = 16
CONSTANT_BYTES = 65_536  # inputs that are larger belong to the clip, and are the same for all of its frames
HIDDEN = frozenset(["interior_indices"])  # inputs about the mouth's inside, which closed lips hide

Key = tuple[str, int, bytes]


class IdlePictures:
    """The pictures by all that they were drawn from; the last ones are kept, up to a number of bytes."""

    def __init__(self, limit_bytes: int) -> None:
        """Start without a picture."""
        self._limit = limit_bytes
        self._nbytes = 0
        self._guard = threading.Lock()
        self._kept: OrderedDict[Key, DrawnFrame] = OrderedDict()

    def find(self, key: Key) -> DrawnFrame | None:
        """Return a frame as it was drawn; None if it is not kept."""
        with self._guard:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def keep(self, key: Key, drawn: DrawnFrame) -> None:
        """Keep a frame."""
        with self._guard:
            if key in self._kept:
                return
            self._kept[key] = drawn
            self._nbytes += _nbytes(drawn.picture)
            while self._nbytes > self._limit and len(self._kept) > 1:
                _, oldest = self._kept.popitem(last=False)
                self._nbytes -= _nbytes(oldest.picture)


def idle_key(kind: str, frame: DrawnFrame, chunks: Sequence[Chunk]) -> Key:
    """Return what a frame with a closed mouth depends on.

    Args:
        kind: the options that its generators have.
        frame: the frame.
        chunks: what it is asked with, alone.
    """
    content = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for chunk in chunks:
        for part in chunk.parts:
            content.update(repr((part.model, part.region, part.shares.tolist())).encode())
            for name, array in sorted(part.inputs.items()):
                if array.nbytes <= CONSTANT_BYTES and name not in HIDDEN:
                    content.update(repr((name, array.shape, array.dtype.str)).encode())
                    content.update(array.tobytes())
    return kind, frame.shown.index, content.digest()


def _nbytes(picture: Picture) -> int:
    return sum(plane.buffer_size for plane in picture.frame.planes)
