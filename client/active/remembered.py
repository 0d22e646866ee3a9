"""Faces that were found once, kept in a temporary file for whoever looks at the same frames again."""

from __future__ import annotations

import tempfile
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np

from client.errors import MediaError, OutputError
from client.media import TimelineFrame
from client.prepared.clip import FACES_PER_PART
from client.prepared.known import FacesOfFrame, Part, PartReader, faces_part
from client.stored_arrays import pack_arrays, unpack_arrays
from client.tracking.faces import Face, faces_of_frame
from client.tracking.finder import AnyWindows, FoundFrame


class RememberedFaces(AnyWindows):
    """Gives the faces and thumbnails of a video's frames as they were found; replaces a FaceFinder.

    Memory does not grow with the video: per frame, about 4 KB and 5 KB more per face go to a temporary file. It has no
    name where the system allows that, and is removed with the object and when the process ends in any way.

    Args:
        video: the file, for messages.

    Raises:
        OutputError: no temporary file can be created.
    """

    def __init__(self, video: Path) -> None:
        """Create the file."""
        self._video = video
        try:
            file = tempfile.TemporaryFile(prefix="lipsync-")  # noqa: SIM115  # closed by the finalizer
        except OSError as error:
            raise _no_room(error) from error
        self._file: IO[bytes] = file
        self._close = weakref.finalize(self, _close, file)
        self._places: list[tuple[int, int]] = []  # offset and length of each part
        self._waiting: list[FacesOfFrame] = []
        self._guard = threading.Lock()
        self._parts = PartReader(self._read)
        self.name = video.name
        self.count = 0

    def add(self, faces: list[Face], thumbnail: np.ndarray) -> None:
        """Keep the faces and the thumbnail of the next frame.

        Raises:
            OutputError: the disk is full.
        """
        self._waiting.append((faces, thumbnail))
        self.count += 1
        if len(self._waiting) == FACES_PER_PART:
            self.finish()

    def finish(self) -> None:
        """Keep the last frames; none may be added afterwards, unless a part is full."""
        if self._waiting:
            content = pack_arrays(str(len(self._places)), faces_part(self._waiting))
            with self._guard:
                self._write(content)
            self._waiting = []

    def close(self) -> None:
        """Remove the file; safe to call again."""
        self._close()

    def find(self, window: Sequence[TimelineFrame]) -> list[FoundFrame[TimelineFrame]]:
        """Return each frame with its faces; may be called for several windows at once."""
        return [self._found(frame) for frame in window]

    def each(self) -> Iterator[FacesOfFrame]:
        """Yield the faces and the thumbnail of every frame, in order."""
        for index in range(self.count):
            yield self._at(index)

    def _found(self, frame: TimelineFrame) -> FoundFrame[TimelineFrame]:
        if frame.index >= self.count:
            raise MediaError(
                about=self._video,
                expected=f"the {self.count} frames that were searched for faces",
                got="more of them",
                advice="The file changed while the job ran; run it again",
            )
        return FoundFrame(frame, *self._at(frame.index))

    def _at(self, index: int) -> FacesOfFrame:
        part, row = self._parts[index // FACES_PER_PART], index % FACES_PER_PART
        landmarks = part.get("landmarks")
        rows = None if landmarks is None else landmarks[row]
        return faces_of_frame(part["boxes"][row], part["scores"][row], rows), part["thumbnails"][row]

    def _read(self, number: int) -> Part:
        offset, length = self._places[number]
        with self._guard:
            self._file.seek(offset)
            content = self._file.read(length)
        part = unpack_arrays(str(number), content)
        if part is None:
            raise OutputError("a temporary file was damaged", about=tempfile.gettempdir(), advice="Run the job again")
        return part

    def _write(self, content: bytes) -> None:
        offset = sum(self._places[-1]) if self._places else 0
        try:
            self._file.seek(offset)
            self._file.write(content)
        except OSError as error:
            raise _no_room(error) from error
        self._places.append((offset, len(content)))


def _close(file: IO[bytes]) -> None:
    with suppress(OSError):  # a full disk: what was buffered is not needed any more
        file.close()


def _no_room(error: OSError) -> OutputError:
    return OutputError(
        f"no room for the found faces: {error.strerror or error}",
        about=tempfile.tempdir or "temporary folder",
        advice="Free some space there, or set TMPDIR to another folder",
    )
