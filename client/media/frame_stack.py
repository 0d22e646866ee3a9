"""A stack of frames in a temporary file, so that playing a video backward takes no memory."""

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

STACK_BYTES = 200_000_000  # of temporary disk: 64 frames of 1080x1920; more would save little decoding
MIN_FRAMES, MAX_FRAMES = 4, 256  # whatever their size
MAX_FRAMES_IN_MEMORY = 8  # where no temporary file can be created


class FrameStack:
    """A stack of source frames on disk; a context manager that removes the file.

    Args:
        frame_bytes: size of one decoded frame.
        max_frames: most frames that will be on the stack at once.

    Attributes:
        capacity: how many frames may be on the stack at once.
    """

    def __init__(self, frame_bytes: int, max_frames: int) -> None:
        """Reserve the room, on disk if possible."""
        self.capacity = max(1, min(max_frames, max(MIN_FRAMES, min(STACK_BYTES // frame_bytes, MAX_FRAMES))))
        self._frames: list[SourceFrame] = []
        self._ends = [0]
        self._size = (0, 0)
        self._file = _reserve(self.capacity * frame_bytes)
        if self._file is None:
            self.capacity = min(self.capacity, MAX_FRAMES_IN_MEMORY)

    def __enter__(self) -> FrameStack:
        """Return the stack itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop all frames and remove the file."""
        self._frames.clear()
        if self._file is not None:
            self._file.close()

    def __len__(self) -> int:
        return len(self._frames)

    def push(self, frame: SourceFrame) -> None:
        """Put a frame on top."""
        if self._file is None:
            self._frames.append(frame)
            return
        self._file.seek(self._ends[-1])
        picture = frame.picture
        for plane in range(PLANES):
            self._file.write(np.ascontiguousarray(plane_array(picture.frame, plane, picture.native)).data)
        self._ends.append(self._file.tell())
        self._size = (picture.frame.width, picture.frame.height)
        without_samples = Picture(av.VideoFrame(0, 0, picture.native.name), picture.tags, picture.orientation)
        self._frames.append(replace(frame, picture=without_samples))

    def pop(self) -> SourceFrame:
        """Take the top frame off."""
        frame = self._frames.pop()
        if self._file is None:
            return frame
        self._ends.pop()
        self._file.seek(self._ends[-1])
        picture = frame.picture
        restored = av.VideoFrame(*self._size, picture.native.name)
        for plane in range(PLANES):
            target = plane_array(restored, plane, picture.native)
            stored = np.frombuffer(self._file.read(target.size * target.itemsize), target.dtype)
            target[:] = stored.reshape(target.shape)
        return replace(frame, picture=Picture(restored, picture.tags, picture.orientation))


def _reserve(size: int) -> IO[bytes] | None:
    try:
        file = tempfile.TemporaryFile(prefix="lipsync-")  # noqa: SIM115  # closed by __exit__
    except OSError:
        return None
    try:
        if sys.platform == "linux":
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError:
        file.close()
        return None
    return file
