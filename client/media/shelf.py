"""Puts pictures aside in a temporary file and gives them back last first, so that playing backwards takes no memory."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import replace
from types import TracebackType
from typing import IO

import av
import numpy as np

from client.media.picture import PLANES, Picture
from client.media.pixels import plane_array
from client.media.source import SourceFrame

SHELF_BYTES = 200_000_000  # of temporary disk: 64 pictures of 1080x1920; more would save little decoding
FEWEST, MOST = 4, 256  # pictures, whatever their size
FEWEST_IN_MEMORY = 8  # where no temporary file can be had


class PictureShelf:
    """A stack of source frames; use it as a context.

    Args:
        frame_bytes: size of one picture.
        wanted: most pictures that will be put aside at once.

    Attributes:
        capacity: how many pictures may be put aside at once.
    """

    def __init__(self, frame_bytes: int, wanted: int) -> None:
        """Reserve the room, on disk if possible."""
        self.capacity = max(1, min(wanted, max(FEWEST, min(SHELF_BYTES // frame_bytes, MOST))))
        self._frames: list[SourceFrame] = []
        self._ends = [0]
        self._size = (0, 0)
        self._file = _reserve(self.capacity * frame_bytes)
        if self._file is None:
            self.capacity = min(self.capacity, FEWEST_IN_MEMORY)

    def __enter__(self) -> PictureShelf:
        """Return the shelf itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop everything."""
        self._frames.clear()
        if self._file is not None:
            self._file.close()

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, frame: SourceFrame) -> None:
        """Put a frame aside."""
        if self._file is None:
            self._frames.append(frame)
            return
        self._file.seek(self._ends[-1])
        picture = frame.picture
        for plane in range(PLANES):
            self._file.write(np.ascontiguousarray(plane_array(picture.frame, plane, picture.native)).data)
        self._ends.append(self._file.tell())
        empty = Picture(av.VideoFrame(0, 0, picture.native.name), picture.tags, picture.orientation)
        self._size = (picture.frame.width, picture.frame.height)
        self._frames.append(replace(frame, picture=empty))

    def pop(self) -> SourceFrame:
        """Give back the frame that was put aside last."""
        frame = self._frames.pop()
        if self._file is None:
            return frame
        self._ends.pop()
        self._file.seek(self._ends[-1])
        empty = frame.picture
        samples = av.VideoFrame(*self._size, empty.native.name)
        for plane in range(PLANES):
            target = plane_array(samples, plane, empty.native)
            stored = np.frombuffer(self._file.read(target.size * target.itemsize), target.dtype)
            target[:] = stored.reshape(target.shape)
        return replace(frame, picture=Picture(samples, empty.tags, empty.orientation))


def _reserve(size: int) -> IO[bytes] | None:
    try:
        file = tempfile.TemporaryFile(prefix="lipsync-")  # noqa: SIM115  # the shelf closes it
    except OSError:
        return None
    try:
        if sys.platform == "linux":
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError:
        file.close()
        return None
    return file
