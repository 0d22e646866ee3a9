"""Refuses pictures too large to work with before they are decoded, and reports their size."""

from __future__ import annotations

import re
from pathlib import Path

from av.video.stream import VideoStream

from client.errors import MediaError
from client.media.ffmpeg_log import ERROR, captured_log
from client.media.opening import MAX_PIXELS, open_media

# How FFmpeg's log states the size that it refused; the streams of such files have no size. "Invalid" are sizes that no
# memory could hold, from about 16,300 x 16,300 on.
REFUSED_SIZE = re.compile(r"Picture size ([1-9]\d*)x([1-9]\d*) (?:exceeds|is invalid)")


def check_stated_size(path: Path, stream: VideoStream) -> None:
    """Check the size of a video's pictures as its header states it.

    Raises:
        MediaError: it exceeds MAX_PIXELS.
    """
    check_size(path, stream.codec_context.width, stream.codec_context.height)


def check_size(path: Path, width: int, height: int) -> None:
    """Check a size in pixels.

    Raises:
        MediaError: it exceeds MAX_PIXELS.
    """
    if width * height > MAX_PIXELS:
        raise _too_large(path, width, height)


def check_undecodable(path: Path) -> None:
    """Check whether a file has no decodable frame because its pictures are too large.

    FFmpeg's decoders tell that apart from damage only in the log.

    Raises:
        MediaError: its pictures exceed MAX_PIXELS.
    """
    with captured_log(ERROR) as lines, open_media(path):
        pass  # decodes the first frame where it has to find out the size
    for _, _, line in lines:
        size = REFUSED_SIZE.match(line)
        if size:
            raise _too_large(path, int(size[1]), int(size[2]))


def _too_large(path: Path, width: int, height: int) -> MediaError:
    return MediaError(
        about=path,
        expected=f"pictures of at most {MAX_PIXELS >> 20} megapixels, such as 8192x8192",
        got=f"{width}x{height}",
        advice="Scale it down first",
    )
