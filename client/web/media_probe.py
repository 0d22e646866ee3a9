"""Measures media: `python -m client.web.media_probe FILE...` prints lengths and codecs as JSON, a line for each file.

It is a process of its own, so that a file that was made to use up memory or time ends this process and nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from weakref import WeakKeyDictionary

import av
from av.container import InputContainer
from pydantic import BaseModel

from client.errors import MediaError
from client.media.opening import open_media
from client.web.problem_kinds import TOO_LONG
from client.web.problems import ProblemError

MAX_MEMORY_BYTES = 2 << 30  # address space
TIMEOUT_S = 20.0
READ_S = 8.0  # longest time that is spent on the packets of a file
MAX_PROBES = 2  # running at the same time, of each event loop
_probes: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


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
    """Return the longer of the stated length and that of the packets, as far as they can be read in a while.

    Where none is stated, timestamps say how long the file is. Elsewhere they may jump, so durations are summed up.
    """
    stated_s = None if container.duration is None else float(container.duration / av.time_base)
    until = time.monotonic() + READ_S
    end_s: float | None = None
    sums: defaultdict[int, float] = defaultdict(float)
    with suppress(av.FFmpegError):  # what is damaged further on is no matter of the length
        for packet in takewhile(lambda _: time.monotonic() < until, container.demux()):
            if packet.pts is not None and packet.time_base is not None:
                duration_s = float((packet.duration or 0) * packet.time_base)
                sums[packet.stream.index] += duration_s
                end_s = max(end_s or 0.0, float(packet.pts * packet.time_base) + duration_s)
    return end_s if stated_s is None else max([stated_s, *sums.values()])


async def probe(files: Sequence[Path]) -> list[MediaFacts]:
    """Run this module on files; those that take too long are unknown."""
    command = [sys.executable, "-m", "client.web.media_probe", *map(str, files)]
    async with _probes.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(MAX_PROBES)):
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


def check_lengths(video: MediaFacts, audio: MediaFacts, span: Span, max_s: float, voice: str = "audio") -> None:
    """Check that a job does not take too long.

    Args:
        video: what is known of the video.
        audio: what is known of the speech.
        span: the chosen part of the video.
        max_s: the limit, in seconds.
        voice: what the request calls the speech.

    Raises:
        ProblemError: 422, the speech, or the chosen part of the video, is longer than the limit.
    """
    end_s = video.length_s if span.end_s is None else min(span.end_s, video.length_s or span.end_s)
    video_s = 0.0 if video.length_s is None or end_s is None else end_s - span.start_s
    for name, length_s, advice in (
        (voice, audio.length_s or 0.0, "Send it in parts"),
        ("video", video_s, "Choose a part of it with start and end"),
    ):
        if length_s > max_s:
            what = "speech" if name == voice else "video"
            raise ProblemError(
                TOO_LONG,
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
