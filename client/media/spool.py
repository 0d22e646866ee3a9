"""Keeps audio samples in a temporary file, so that long audio takes disk space instead of memory."""

from __future__ import annotations

import tempfile
import threading
import weakref
from contextlib import suppress
from typing import IO, Any

import numpy as np


class SampleSpool:
    """Samples of one or more channels in a temporary file, appended first and then read anywhere.

    The file has no name where the system allows that, and is removed by `close`, when the object is collected, and
    when the process ends in any way. Safe to use from several threads.

    Args:
        dtype: type of one sample.
        channels: samples per moment.

    Raises:
        OSError: no temporary file can be created.
    """

    def __init__(self, dtype: np.dtype[Any], channels: int = 1) -> None:
        """Create the file."""
        self._dtype = dtype
        self._channels = channels
        self._row_bytes = dtype.itemsize * channels
        self._length = 0
        self._lock = threading.Lock()
        file = tempfile.TemporaryFile(prefix="lipsync-")  # noqa: SIM115  # closed by the finalizer
        self._file = file
        self._finalizer = weakref.finalize(self, _close, file)

    def __len__(self) -> int:
        """Number of moments stored."""
        return self._length

    def append(self, samples: np.ndarray) -> None:
        """Store samples [S, channels] behind those already there.

        Raises:
            OSError: the disk is full.
        """
        with self._lock:
            self._file.seek(self._length * self._row_bytes)
            self._file.write(np.ascontiguousarray(samples, self._dtype).data)
            self._length += len(samples)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return the samples start..stop-1, [stop - start, channels]; fewer where the spool ends before."""
        stop = min(stop, self._length)
        with self._lock:
            self._file.seek(start * self._row_bytes)
            data = self._file.read(max(0, stop - start) * self._row_bytes)
        return np.frombuffer(data, self._dtype).reshape(-1, self._channels)

    def close(self) -> None:
        """Remove the file; safe to call again."""
        self._finalizer()


def _close(file: IO[bytes]) -> None:
    with suppress(OSError):  # a full disk: what was buffered is not needed any more
        file.close()
