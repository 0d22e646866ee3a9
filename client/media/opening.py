"""Opens the user's media so that no file can refer to another file or the network. Decodes nothing."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
from av.codec.hwaccel import HWAccel
from av.container import InputContainer

from client.errors import MediaError
from client.shortage import raise_if_short

# Demuxers that read a single file. Playlists (hls, dash, concat, imf), file patterns (image2), devices, network
# descriptions (sdp, rtsp) and text formats are left out.
CONTAINERS = (
    "aiff apng asf avi caf dv flv gif ivf jpegxl_anim matroska mov mpeg mpegts mxf nut ogg w64 wav webp yuv4mpegpipe"
)
IMAGES = "bmp gem j2k jpeg jpegxl pam pbm pcx pgm png ppm qoi sgi sunrast tiff webp"
STREAMS = "aac ac3 amr amrnb amrwb ape au dts eac3 flac mp3 tta voc wv cavsvideo h264 hevc m4v mjpeg mpegvideo obu vc1"
FORMATS = (*CONTAINERS.split(), *IMAGES.split(), *STREAMS.split())
FORMAT_WHITELIST = ",".join([*CONTAINERS.split(), *(f"{image}_pipe" for image in IMAGES.split()), *STREAMS.split()])

MAX_PIXELS = 8192 * 8192  # per picture; a job holds about a dozen of them, uncompressed
DECODER_OPTIONS = {"max_pixels": str(MAX_PIXELS)}  # refuses larger pictures before any memory is taken for them
STANDARD_INPUT = "-"  # as other programs call it
FILE_FIRST = "Save what comes through the pipe to a file first; it is read more than once"
WEBP_ANIMATION = 0x02  # flag in the first byte of the extended header
READ_BUFFER = 1 << 16  # bytes per read from Python
# Files with metadata in an unknown encoding are accepted; from PyAV 19 on, unreadable characters are always replaced.
METADATA: dict[str, Any] = {} if int(av.__version__.partition(".")[0]) >= 19 else {"metadata_errors": "replace"}
CLOCK_MAY_JUMP = 0x0200  # AVFMT_TS_DISCONT
JUMP_AHEAD_S = 10  # where clocks may jump, timestamps that lie further ahead begin a new count
MAX_READ_ERRORS = 100  # in a row, before the rest of a file is abandoned


class _UnnamedFile(io.BufferedReader):
    """A file that hides its name, so that only its content decides how it is read (a name can be a file pattern)."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "rb"))

    @property
    def name(self) -> str:
        return "media"


@contextmanager
def open_media(
    path: Path, *, options: dict[str, str] | None = None, accelerator: HWAccel | None = None
) -> Iterator[InputContainer]:
    """Open one media file for reading, and close it at the end.

    Args:
        path: the file.
        options: more demuxer options.
        accelerator: opens a decoder in a graphics card for its video.

    Raises:
        MediaError: the file is missing, empty, not a regular file, not media, or refers to other files.
    """
    check_readable(path)
    safe = {"format_whitelist": FORMAT_WHITELIST, "protocol_whitelist": "", **DECODER_OPTIONS, **(options or {})}
    with _UnnamedFile(path) as file:
        try:
            container = av.open(
                file,
                "r",
                options=safe,
                buffer_size=READ_BUFFER,
                io_open=_refuse_other_files,
                hwaccel=accelerator,
                **METADATA,
            )
        except _OtherFile as error:
            raise MediaError(
                about=path,
                expected="one self-contained file",
                got=f"one that refers to {error}",
                advice="Convert it to one mp4 first",
            ) from error
        except (av.FFmpegError, OSError, ValueError) as error:
            raise_if_short(error)
            raise animated_webp(path) or MediaError(
                about=path,
                expected="a video, picture or audio file",
                got="something else or a damaged file",
                advice="Check that it plays, or convert it to mp4 or wav",
            ) from error
        with container:
            yield container


def animated_webp(path: Path) -> MediaError | None:
    """Return the error of an animated WebP, or None for other files; source: WebP's container format.

    FFmpeg's libavformat 62 opens it and skips its frames; version 63 has a demuxer of its own for it.
    """
    with path.open("rb") as file:
        head = file.read(21)
    if len(head) < 21 or head[:4] + head[8:16] != b"RIFFWEBPVP8X" or not head[20] & WEBP_ANIMATION:
        return None
    return MediaError(
        about=path, expected="a still picture or a video", got="an animated WebP", advice="Convert it to mp4 first"
    )


def check_readable(path: Path) -> None:
    """Check a path before FFmpeg sees it.

    Raises:
        MediaError: it does not exist, or is a folder, a device, an empty or an unreadable file.
    """
    try:
        if not path.exists():
            advice = FILE_FIRST if path.name == STANDARD_INPUT else "Check the path"
            raise MediaError(about=path, expected="a media file", got="nothing under that name", advice=advice)
        if not path.is_file():
            advice = FILE_FIRST if path.is_fifo() else "Name a file"
            raise MediaError(about=path, expected="a media file", got=_kind(path), advice=advice)
        if path.stat().st_size == 0:
            raise MediaError(
                about=path, expected="a media file", got="an empty file", advice="Copy or download it again"
            )
        path.open("rb").close()
    except OSError as error:
        raise MediaError(
            about=path, expected="a readable file", got=error.strerror, advice="Check its permissions"
        ) from error


def clock_may_jump(container: InputContainer) -> bool:
    """Return whether a file's timestamps need not continue, as in a joined or edited MPEG stream."""
    return bool(container.format.flags & CLOCK_MAY_JUMP)


def read_packets(container: InputContainer, stream: Any, note_error: Callable[[], None]) -> Iterator[Any]:
    """Yield a stream's packets from the current position on; demuxer errors are noted and skipped."""
    failures = 0
    while failures < MAX_READ_ERRORS:
        try:
            for packet in container.demux(stream):
                failures = 0
                yield packet
            return
        except av.FFmpegError as error:
            raise_if_short(error)
            note_error()
            failures += 1


class _OtherFile(Exception):
    """Raised when a demuxer asks for a second file."""


def _refuse_other_files(url: str, flags: int, options: dict[str, str]) -> Any:  # noqa: ARG001  # called by PyAV
    raise _OtherFile(url)


def _kind(path: Path) -> str:
    if path.is_dir():
        return "a folder"
    return "a pipe" if path.is_fifo() else "a device"
