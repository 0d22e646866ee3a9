"""What a file says about itself: tags, chapters, and what is said about its streams. Opens no stream."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from av.container import InputContainer, OutputContainer

from client.media.containers import Container
from client.media.opening import open_media

if TYPE_CHECKING:
    from av.container.core import Chapter

# Written by muxers about the old file itself, and not by people or cameras.
ABOUT_THE_FILE = frozenset(
    (
        *("major_brand", "minor_version", "compatible_brands", "encoder", "duration", "handler_name", "vendor_id"),
        *("bps", "number_of_frames", "number_of_bytes", "_statistics_tags", "_statistics_writing_app"),
        *(
            "_statistics_writing_date_utc",
            "alpha_mode",
            "stereo_mode",
            "service_name",
            "service_provider",
            "variant_bitrate",
        ),
    )
)
QUICKTIME_PREFIX = "com."  # of keys that mp4 and mov files hold only in QuickTime's own list
TIMECODE = "timecode"
CHAPTER_UNITS = Fraction(1, 1000)  # seconds; chapters of all containers are at least this exact
PROOF_READ = 1 << 20  # bytes at the front of a file; a C2PA manifest begins there


@dataclass(frozen=True)
class FileTags:
    """What a file says about itself.

    Attributes:
        about: key -> text, about the whole file: title, artist, creation time, place, device.
        video: key -> text, about the video: language, title, timecode.
        sound_language: language of its own sound; empty if that is not stated.
        chapters: its chapters, in seconds from the output's start.
        left_out: what no container can take over.
    """

    about: Mapping[str, str] = field(default_factory=dict)
    video: Mapping[str, str] = field(default_factory=dict)
    sound_language: str = ""
    chapters: tuple[Chapter, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def needs_quicktime_keys(self) -> bool:
        """Whether some keys fit only into QuickTime's own list."""
        return any(key.lower().startswith(QUICKTIME_PREFIX) for key in self.about)

    def without_timecode(self) -> FileTags:
        """Return the same without a timecode, for a span that starts later."""
        video = {key: text for key, text in self.video.items() if key.lower() != TIMECODE}
        about = {key: text for key, text in self.about.items() if key.lower() != TIMECODE}
        lost = ("timecode",) if len(video) + len(about) < len(self.video) + len(self.about) else ()
        return replace(self, about=about, video=video, left_out=(*self.left_out, *lost))

    def write(self, output: OutputContainer, video_stream: Any, container: Container) -> None:
        """Set the tags of an output and of its video, before its header is written."""
        output.metadata.update(self.about)
        video_stream.metadata.update(self.video)
        if "language" in self.video:
            video_stream.metadata["language"] = container.languages.get(self.video["language"], self.video["language"])

    def until(self, end_s: Fraction) -> FileTags:
        """Return the same with the chapters of an output that ends at this time."""
        end = math.ceil(end_s / CHAPTER_UNITS)
        shown = (chapter for chapter in self.chapters if chapter["start"] < end)
        return replace(self, chapters=tuple({**chapter, "end": min(chapter["end"], end)} for chapter in shown))

    def write_chapters(self, output: OutputContainer, container: Container) -> None:
        """Set the chapters of an output, before it is closed."""
        if container.keeps_chapters and self.chapters:
            output.set_chapters(list(self.chapters))

    def missing_in(self, path: Path, container: Container) -> Iterator[str]:
        """Yield the names of what a finished output lacks."""
        yield from self.left_out
        with open_media(path) as written:
            known = {_plain(key) for tags in (written.metadata, *(s.metadata for s in written.streams)) for key in tags}
            yield from sorted(_name(key) for key in {**self.about, **self.video} if _plain(key) not in known)
            if self.chapters and not (container.keeps_chapters and written.chapters()):
                yield f"{len(self.chapters)} chapters"


def read_tags(container: InputContainer, video: Any, sound: Any | None, origin_s: float, path: Path) -> FileTags:
    """Read what a file says about itself.

    Args:
        container: the open file.
        video: its video stream.
        sound: its sound; None if it has none.
        origin_s: time in the file, in seconds, at which the output starts.
        path: the file.
    """
    return FileTags(
        about=_said(container.metadata.items()),
        video=_said(video.metadata.items()),
        sound_language="" if sound is None else _language(sound),
        chapters=tuple(_chapters(container.chapters(), Fraction(origin_s).limit_denominator(1_000_000))),
        left_out=("a C2PA manifest",) if _has_c2pa(path) else (),
    )


def _said(tags: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Leave out what muxers wrote, and texts that the demuxer repeats for a language (location-eng)."""
    all_tags = dict(tags)
    repeated = {f"{key}-eng" for key in all_tags}
    return {
        key: text
        for key, text in all_tags.items()
        if text and _plain(key) not in ABOUT_THE_FILE and key not in repeated and (key, text) != ("language", "und")
    }


def _language(stream: Any) -> str:
    language = str(stream.metadata.get("language", ""))
    return "" if language == "und" else language


def _name(key: str) -> str:
    return "the language of its picture" if key == "language" else key.lower()


def _plain(key: str) -> str:
    """Normalise a key: Matroska writes capitals, and its statistics end in a language."""
    return key.lower().removesuffix("-eng")


def _chapters(chapters: Iterable[Chapter], origin_s: Fraction) -> Iterator[Chapter]:
    for chapter in chapters:
        ticks = chapter["time_base"] or CHAPTER_UNITS
        start, end = (round((chapter[edge] * ticks - origin_s) / CHAPTER_UNITS) for edge in ("start", "end"))
        if end > 0:
            yield {**chapter, "start": max(0, start), "end": end, "time_base": CHAPTER_UNITS}


def _has_c2pa(path: Path) -> bool:
    with closing(path.open("rb")) as file:
        front = file.read(PROOF_READ)
    return b"jumb" in front and b"c2pa" in front
