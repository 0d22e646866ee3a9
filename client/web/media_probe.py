"""Measures media: `python -m client.web.media_probe FILE...` prints lengths and codecs as JSON, a line for each file.

It is a process of its own, so that a file that was made to use up memory or time ends this process and nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer
from pydantic import BaseModel

from client.errors import MediaError
from client.media.opening import open_media
from client.web.problems import ProblemError

MAX_MEMORY_BYTES = 2 << 30  # address space
TIMEOUT_S = 20.0
MAX_PROBES = 2  # running at the same time
_probes = asyncio.Semaphore(MAX_PROBES)


class MediaFacts(BaseModel):
    """What is known of a file; nothing of one that cannot be read, whose job will say why.

    Attributes:
        length_s: length in seconds; None for still pictures.
        codec: the picture's codec, by FFmpeg's name; empty if there is no picture.
    """

    length_s: float | None = None
    codec: str = ""


@dataclass(frozen=True)
class Span:
    """The part of a video that was chosen, in seconds; to the end if `end_s` is None."""

    start_s: float
    end_s: float | None


def main() -> int:
    """Print the facts of each file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    for file in options.files:
        print(read_facts(file).model_dump_json(), flush=True)
    return 0


def read_facts(path: Path) -> MediaFacts:
    """Return the facts of one file."""
    try:
        with open_media(path) as container:
            codec = container.streams.video[0].codec_context.name if container.streams.video else ""
            return MediaFacts(length_s=_length_s(container), codec=codec)
    except (MediaError, av.FFmpegError):
        return MediaFacts()


def _length_s(container: InputContainer) -> float | None:
    """Return the stated length, or that of the packets if none is stated."""
    if container.duration is not None:
        return float(container.duration / av.time_base)
    ends = [
        float((packet.pts + (packet.duration or 0)) * packet.time_base)
        for packet in container.demux()
        if packet.pts is not None and packet.time_base is not None
    ]
    return max(ends, default=None)


async def probe(files: Sequence[Path]) -> list[MediaFacts]:
    """Run this module on files; those that take too long are unknown."""
    command = [sys.executable, "-m", "client.web.media_probe", *map(str, files)]
    async with _probes:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            async with asyncio.timeout(TIMEOUT_S):
                said, _ = await process.communicate()
        except TimeoutError:
            said = b""
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    facts = [MediaFacts.model_validate_json(line) for line in said.splitlines()]
    return (facts + [MediaFacts()] * len(files))[: len(files)]


def check_lengths(video: MediaFacts, audio: MediaFacts, span: Span, max_s: float) -> None:
    """Check that a job does not take too long.

    Raises:
        ProblemError: 422, the speech, or the chosen part of the video, is longer than the limit.
    """
    end_s = video.length_s if span.end_s is None else min(span.end_s, video.length_s or span.end_s)
    video_s = 0.0 if video.length_s is None or end_s is None else end_s - span.start_s
    for name, length_s, advice in (
        ("audio", audio.length_s or 0.0, "Send it in parts"),
        ("video", video_s, "Choose a part of it with start and end"),
    ):
        if length_s > max_s:
            what = "speech" if name == "audio" else "video"
            raise ProblemError(
                422,
                name=name,
                expected=f"at most {max_s:g} s",
                got=f"{length_s:.0f} s",
                advice=advice,
                title=f"The {what} is too long",
                people=f"The {what} lasts {in_words(length_s)}; this service takes {in_words(max_s)}. {advice}.",
            )


def in_words(seconds: float) -> str:
    """Return a length for people, such as "2 h 5 min"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return " ".join(filter(None, [f"{hours} h" if hours else "", f"{minutes} min" if minutes else ""]))


if __name__ == "__main__":
    sys.exit(main())
