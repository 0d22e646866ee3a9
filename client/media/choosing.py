"""Chooses the video and the sound that are meant in a file with several. Decodes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from av.container import Container, InputContainer
from av.stream import Disposition

from client.errors import MediaError

Kind = Literal["video", "audio"]

PICTURES = (  # and parts of pictures
    Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image | Disposition.dependent
)
FOR_SOME = (  # sounds that are not for everyone
    Disposition.comment
    | Disposition.lyrics
    | Disposition.karaoke
    | Disposition.hearing_impaired
    | Disposition.visual_impaired
    | Disposition.clean_effects
)
THUMBNAIL_SHARE = 1 / 4  # a video with a smaller share of another one's pixels is its preview, whatever its flags


def choose_stream(container: InputContainer, kind: Kind, path: Path) -> Any:
    """Return the stream of a kind that is meant: the default one or else the largest; cover pictures are no video.

    Raises:
        MediaError: there is none that can be decoded.
    """
    streams = streams_of(container, kind)
    if not streams:
        present = ", ".join(sorted({_kind_of(stream) for stream in container.streams})) or "no stream at all"
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
    if kind == "audio":
        return max(usable, key=_rank_of_sound)  # the first of equals
    largest = max(map(_pixels, usable))
    return max(usable, key=lambda stream: _rank_of_video(stream, largest))


def streams_of(container: Container, kind: Kind) -> list[Any]:
    """List the streams of a kind, without cover pictures."""
    return [stream for stream in container.streams if stream.type == kind and not is_cover(stream)]


def replaced_sound(container: Container) -> Any | None:
    """Return the sound that the speech replaces, whether or not it can be decoded; None if there is none."""
    streams = streams_of(container, "audio")
    usable = [stream for stream in streams if stream.codec_context is not None]
    return max(usable, key=_rank_of_sound) if usable else next(iter(streams), None)


def is_cover(stream: Any) -> bool:
    """Return whether a stream is a picture that stands for the file."""
    return bool(stream.disposition & Disposition.attached_pic)


def _rank_of_video(stream: Any, largest: int) -> tuple[bool, bool, bool, int]:
    return (
        not stream.disposition & PICTURES and stream.frames != 1,
        _pixels(stream) >= THUMBNAIL_SHARE * largest,
        bool(stream.disposition & Disposition.default),
        _pixels(stream),
    )


def _rank_of_sound(stream: Any) -> tuple[bool, bool, int]:
    return (
        not stream.disposition & FOR_SOME,
        bool(stream.disposition & Disposition.default),
        stream.codec_context.layout.nb_channels,
    )


def _pixels(stream: Any) -> int:
    return int(stream.codec_context.width * stream.codec_context.height)


def _kind_of(stream: Any) -> str:
    return "a cover picture" if is_cover(stream) else str(stream.type)
