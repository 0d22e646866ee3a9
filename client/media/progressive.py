"""Muxes an output's packets a second time, into a fragmented mp4 beside it that can be played while it grows."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple

import av
from av.stream import Stream

from client.errors import OutputError, UsageError, ref
from client.media.codecs import codecs_in
from client.media.containers import choose_container
from client.media.output import OWNER_MAY_WRITE, create_locked, output_error
from lipsync_core.locks import lock_file

Progressive = Literal["off", "if possible", "on"]
OPTION = "progressive"
SUFFIX = ".progressive.mp4"
MP4 = choose_container(Path(SUFFIX))
FRAGMENT_S = 0.5  # the most that a player has to wait for beyond what the encoder holds; each costs some 300 bytes
MICROSECONDS = 1_000_000
REMARK = "An unfinished result of lipsync"  # the file's comment, by which a file that a killed job left is recognised
HEAD_BYTES = 65_536  # of the file, which hold the remark
OPTIONS = {
    # "delay_moov" writes the header with the first fragment: only then are the delays of both encoders known.
    "movflags": "+frag_keyframe+empty_moov+delay_moov+default_base_moof+skip_trailer",
    "frag_duration": str(round(FRAGMENT_S * MICROSECONDS)),
    "max_interleave_delta": str(round(FRAGMENT_S * MICROSECONDS)),  # a sound that has ended holds no pictures back
    "flush_packets": "1",
    "fflags": "+bitexact",
}


class PacketTimes(NamedTuple):
    """The times of a packet, which muxing rounds to what the container stores."""

    pts: int | None
    dts: int | None
    duration: int | None
    time_base: Fraction

    @classmethod
    def of(cls, packet: av.Packet[Any]) -> PacketTimes:
        """Read a packet's times before it is muxed."""
        return cls(packet.pts, packet.dts, packet.duration, Fraction(packet.time_base))

    def restore(self, packet: av.Packet[Any]) -> None:
        """Give a packet these times."""
        packet.time_base = self.time_base
        packet.pts, packet.dts = self.pts, self.dts
        packet.duration = self.duration or 0


def progressive_path(output: Path) -> Path:
    """Return where the progressive file of an output lies."""
    final = output.resolve()
    return final.with_name(f"{final.stem}{SUFFIX}")


def check_held(video_codec: str, audio_codec: str | None = None) -> None:
    """Check that an mp4 holds the streams of an output.

    Args:
        video_codec: the name in `client.media.codecs`.
        audio_codec: FFmpeg's name; None without sound.

    Raises:
        UsageError: it does not.
    """
    videos, sounds = [codec.name for codec in codecs_in(MP4.muxer)], sorted(MP4.audio_codecs)
    if video_codec not in videos:
        raise _not_held("a video codec", videos, video_codec)
    if audio_codec is not None and audio_codec not in sounds:
        raise _not_held("sound", sounds, audio_codec)


def _not_held(what: str, known: Iterable[str], got: str) -> UsageError:
    return UsageError(
        option=OPTION,
        expected=f"{what} that mp4 files hold ({' '.join(known)})",
        got=got,
        advice=f"Leave it out, or choose another {ref('codec')} or file format",
    )


class ProgressiveFile:
    """The progressive file of an output. An error while it is written ends it, and never its job.

    It is locked while the job runs, so that one that a killed job left is recognised and removed.

    Args:
        output: the output.
        streams: the output's streams that it repeats, after the output's header is written; the video comes first.
        tag: the video's codec tag; None for the muxer's own.
        mode: permissions.

    Attributes:
        path: the file.
        warnings: what the user should know about it.

    Raises:
        OutputError: the file cannot be created.
    """

    def __init__(self, output: Path, streams: Iterable[Stream], *, tag: str | None, mode: int) -> None:
        """Create the file and declare its streams."""
        self.path = progressive_path(output)
        self._name = output.with_name(self.path.name)  # as the user knows it
        self.warnings: list[str] = []
        try:
            self._lock = create_locked(self.path)
        except BlockingIOError:
            raise _in_use(self._name, "one that another job writes") from None
        except FileExistsError:
            raise _in_use(self._name, "another file, or one that another job writes") from None
        except OSError as error:
            raise output_error(self._name, error) from error
        self._file: tuple[int, int] | None = _identity(self.path)
        self._container: av.container.OutputContainer | None = None
        try:
            self.path.chmod(mode | OWNER_MAY_WRITE)
            self._open(streams, tag)
        except BaseException as error:
            self.discard()
            if isinstance(error, (av.FFmpegError, OSError, ValueError)):
                raise output_error(self._name, error) from error
            raise

    def mux(self, packet: av.Packet[Any], times: PacketTimes) -> None:
        """Mux a packet that the output has been given; a whole fragment is on disk afterwards, or nothing of it."""
        if self._container is None:
            return
        with self._giving_up():
            times.restore(packet)
            packet.stream = self._streams[packet.stream.index]
            self._container.mux(packet)

    def finish(self) -> None:
        """Write the last fragment."""
        with self._giving_up():
            self._close()

    def discard(self) -> None:
        """Remove the file, unless another one has its name by now; safe to call again."""
        with suppress(av.FFmpegError, OSError, ValueError):
            self._close()
        if self._file is not None:
            with suppress(OSError):
                if _identity(self.path) == self._file:
                    self.path.unlink()
            self._file = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _open(self, streams: Iterable[Stream], tag: str | None) -> None:
        self._container = av.open(str(self.path), "w", format=MP4.muxer, container_options=OPTIONS)
        self._container.metadata["comment"] = REMARK
        self._streams = {stream.index: self._container.add_stream_from_template(stream) for stream in streams}
        if tag is not None:
            next(iter(self._streams.values())).codec_context.codec_tag = tag
        self._container.start_encoding()

    def _close(self) -> None:
        if self._container is not None:
            container, self._container = self._container, None
            container.close()

    @contextmanager
    def _giving_up(self) -> Iterator[None]:
        """Remove the file where it cannot be written; the output may still succeed."""
        try:
            yield
        except (av.FFmpegError, OSError, ValueError) as error:
            self.warnings.append(str(output_error(self._name, error)))
            self.discard()


def remove_abandoned(output: Path, inputs: Iterable[Path] = ()) -> None:
    """Remove the progressive file that a killed job of an output left.

    What is locked, something else or one of the inputs stays.
    """
    path = progressive_path(output)
    with suppress(OSError):
        if not stat.S_ISREG(path.lstat().st_mode) or any(map(path.samefile, inputs)):
            return
        with path.open("r+b") as file:
            lock_file(file.fileno())
            head = file.read(HEAD_BYTES)
            if not head or REMARK.encode() in head:
                path.unlink()


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino


def _in_use(path: Path, got: str) -> OutputError:
    return OutputError(
        about=path, expected="no file of this name", got=got, advice=f"Move it, or leave out {ref(OPTION)}"
    )
