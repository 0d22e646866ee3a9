"""Opens the user's media so that no file can refer to another file or the network. Decodes nothing."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import av
from av.container import InputContainer

from client.errors import MediaError

# Demuxers that read a single file. Playlists (hls, dash, concat, imf), file patterns (image2), devices, network
# descriptions (sdp, rtsp) and text formats are left out.
CONTAINERS = (
    "aiff apng asf avi caf dv flv gif ivf jpegxl_anim matroska mov mpeg mpegts mxf nut ogg w64 wav webp yuv4mpegpipe"
)
IMAGES = "bmp gem j2k jpeg jpegxl pam pbm pcx pgm png ppm qoi sgi sunrast tiff webp"
STREAMS = "aac ac3 amr amrnb amrwb ape au dts eac3 flac mp3 tta voc wv cavsvideo h264 hevc m4v mjpeg mpegvideo obu vc1"
FORMAT_WHITELIST = ",".join([*CONTAINERS.split(), *(f"{image}_pipe" for image in IMAGES.split()), *STREAMS.split()])

READ_BUFFER = 1 << 16  # bytes per read from Python
# Files with metadata in an unknown encoding are accepted; from PyAV 19 on, unreadable characters are always replaced.
METADATA: dict[str, Any] = {} if int(av.__version__.partition(".")[0]) >= 19 else {"metadata_errors": "replace"}
MAX_READ_ERRORS = 100  # in a row, before the rest of a file is abandoned


class _UnnamedFile(io.BufferedReader):
    """A file that hides its name, so that only its content decides how it is read (a name can be a file pattern)."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "rb"))

    @property
    def name(self) -> str:
        return "media"


@contextmanager
def open_media(path: Path, *, options: dict[str, str] | None = None) -> Iterator[InputContainer]:
    """Open one media file for reading, and close it at the end.

    Args:
        path: the file.
        options: more demuxer options.

    Raises:
        MediaError: the file is missing, empty, not a regular file, not media, or refers to other files.
    """
    check_readable(path)
    safe = {"format_whitelist": FORMAT_WHITELIST, "protocol_whitelist": "", **(options or {})}
    with _UnnamedFile(path) as file:
        try:
            container = av.open(
                file, "r", options=safe, buffer_size=READ_BUFFER, io_open=_refuse_other_files, **METADATA
            )
        except _OtherFile as error:
            raise MediaError(
                about=path,
                expected="one self-contained file",
                got=f"one that refers to {error}",
                advice="Convert it to one mp4 first",
            ) from error
        except (av.FFmpegError, OSError, ValueError) as error:
            raise MediaError(
                about=path,
                expected="a video, picture or audio file",
                got="something else or a damaged file",
                advice="Check that it plays, or convert it to mp4 or wav",
            ) from error
        with container:
            yield container


def check_readable(path: Path) -> None:
    """Check a path before FFmpeg sees it.

    Raises:
        MediaError: it does not exist, or is a folder, a device, an empty or an unreadable file.
    """
    try:
        if not path.exists():
            raise MediaError(
                about=path, expected="a media file", got="nothing under that name", advice="Check the path"
            )
        if not path.is_file():
            raise MediaError(about=path, expected="a media file", got=_kind(path), advice="Name a file")
        if path.stat().st_size == 0:
            raise MediaError(
                about=path, expected="a media file", got="an empty file", advice="Copy or download it again"
            )
        path.open("rb").close()
    except OSError as error:
        raise MediaError(
            about=path, expected="a readable file", got=error.strerror, advice="Check its permissions"
        ) from error


def first_stream(container: InputContainer, kind: Literal["video", "audio"], path: Path) -> Any:
    """Return the first stream of a kind that can be decoded; cover pictures do not count as video.

    Raises:
        MediaError: there is none.
    """
    streams = [stream for stream in container.streams if stream.type == kind and not _is_cover(stream)]
    if not streams:
        present = ", ".join(sorted({stream.type for stream in container.streams})) or "no stream at all"
        raise MediaError(
            about=path,
            expected=f"a file with {kind}",
            got=f"one with {present}",
            advice=f"Choose one that has {kind}",
        )
    usable = [stream for stream in streams if stream.codec_context is not None]
    if not usable:
        raise MediaError(
            about=path, expected=f"{kind} in a known codec", got="one without a decoder", advice="Convert it first"
        )
    return usable[0]


def read_packets(container: InputContainer, stream: Any, note_error: Callable[[], None]) -> Iterator[Any]:
    """Yield a stream's packets from the current position on; demuxer errors are noted and skipped."""
    failures = 0
    while failures < MAX_READ_ERRORS:
        try:
            for packet in container.demux(stream):
                failures = 0
                yield packet
            return
        except av.FFmpegError:
            note_error()
            failures += 1


class _OtherFile(Exception):
    """A demuxer asked for a second file."""


def _refuse_other_files(url: str, flags: int, options: dict[str, str]) -> Any:  # noqa: ARG001  # called by PyAV
    raise _OtherFile(url)


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _kind(path: Path) -> str:
    return "a folder" if path.is_dir() else "a device or pipe"
