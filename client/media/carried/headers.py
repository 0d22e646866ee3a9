"""Codec headers that hold text for people beside what a decoder needs. Opens no file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

# What players need of a script's head to show its lines; the rest names its title, its authors and their files.
ASS_SETTINGS = frozenset(
    (
        *("scripttype", "playresx", "playresy", "layoutresx", "layoutresy", "wrapstyle", "scaledborderandshadow"),
        *("collisions", "ycbcr matrix", "kerning", "timer", "playdepth"),
    )
)
ASS_SCRIPT_INFO = "[script info]"
ASS_SECTIONS = frozenset((ASS_SCRIPT_INFO, "[v4 styles]", "[v4+ styles]", "[v4++ styles]", "[events]"))
ASS_COMMENTS = (";", "!:")
BOM = "\ufeff"

# A string, which may hold what looks like a comment, or a comment.
CSS_COMMENT = re.compile(rb"""("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|/\*.*?(?:\*/|\Z)""", re.DOTALL)
VOBSUB_TEXT = (b"#", b"alt:")  # comments, and the title of a stream

LACED_SIZES = re.compile(rb"\x02(\xff*[^\xff])(\xff*[^\xff])", re.DOTALL)  # of the first two of three headers
VORBIS_NO_COMMENTS = b"\x03vorbis" + bytes(8) + b"\x01"  # no vendor, no comments; source: the Vorbis I specification


def remove_text(stream: Any) -> None:
    """Remove titles, names and comments from the codec header of a copied stream, before its file's header is written.

    Args:
        stream: the output's stream.
    """
    context = stream.codec_context
    if context is not None and context.extradata:
        context.extradata = without_text(context.codec.canonical_name, context.extradata)


def without_text(codec: str, header: bytes) -> bytes:
    """Return the header of ASS, WebVTT, VobSub or Vorbis without titles, names and comments; others as they are.

    Args:
        codec: FFmpeg's name of the codec.
        header: the codec's "extradata".
    """
    strip = _STRIPPED.get(codec)
    return strip(header) if strip is not None and header else header


def _ass_header(header: bytes) -> bytes:
    return "\r\n".join([*_ass_lines(header.decode(errors="surrogateescape")), ""]).encode(errors="surrogateescape")


def _ass_lines(text: str) -> Iterator[str]:
    section = ""
    for line in text.removeprefix(BOM).splitlines():
        plain = line.strip().lower()
        key = plain.partition(":")[0].strip()
        if plain.startswith("["):
            section = plain
        is_setting = plain == section or key in ASS_SETTINGS
        kept = section in ASS_SECTIONS and (is_setting or section != ASS_SCRIPT_INFO)
        if kept and plain and key != "comment" and not plain.startswith(ASS_COMMENTS):
            yield line


def _webvtt_header(header: bytes) -> bytes:
    first, *blocks = re.split(rb"(?:\r?\n){2,}", header.removeprefix(BOM.encode()).strip())
    kept = [_without_comments(block) for block in blocks if block.startswith((b"STYLE", b"REGION"))]
    return b"\n\n".join([b"WEBVTT" if first.startswith(b"WEBVTT") else b"", *kept])


def _without_comments(block: bytes) -> bytes:
    if not block.startswith(b"STYLE"):
        return block
    plain = CSS_COMMENT.sub(lambda found: found[1] or b"", block)
    return b"\n".join(line for line in plain.splitlines() if line.strip())  # an empty line would end the block


def _vobsub_header(header: bytes) -> bytes:
    return b"".join(line for line in header.splitlines(keepends=True) if not line.lstrip().startswith(VOBSUB_TEXT))


def _vorbis_header(header: bytes) -> bytes:
    found = LACED_SIZES.match(header)
    if found is None:
        return header
    first, second = (0xFF * (len(size) - 1) + size[-1] for size in found.groups())
    begin = found.end()
    identification, setup = header[begin : begin + first], header[begin + first + second :]
    sizes = found[1] + bytes([len(VORBIS_NO_COMMENTS)])
    return b"\x02" + sizes + identification + VORBIS_NO_COMMENTS + setup


_STRIPPED: dict[str, Callable[[bytes], bytes]] = {
    "ass": _ass_header, "ssa": _ass_header, "webvtt": _webvtt_header, "vorbis": _vorbis_header,
    "dvd_subtitle": _vobsub_header,
}  # fmt: skip
