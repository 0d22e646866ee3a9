"""Reads the entries of a checked script: voices, faces, segments and spans."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from client.errors import UsageError
from client.option import OptionValues
from client.options import read_each
from client.scene.documents import seconds, shown
from client.scene.files import FindFile
from client.scene.options import VOICE_CHANNELS
from client.scene.scene import FaceOfSpeaker, Segment, TimeSpan, Voice
from client.scene.schema import NO_FACE
from client.scene.spans import joined
from client.tracking.face_boxes import FaceBoxes
from client.tracking.faces import FaceChoice, parse_face_choice

Entry = Mapping[str, Any]


def read_voice(entry: str | Entry, place: str, find_file: FindFile) -> Voice:
    """Read a voice: a file, or a part or channel of one.

    Raises:
        UsageError: the part ends before it starts, or the file cannot be named.
    """
    fields: Entry = {"file": entry} if isinstance(entry, str) else entry
    start_s, end_s = float(fields.get("start", 0.0)), fields.get("end")
    if end_s is not None:
        check_end(start_s, end_s, f"{place}.end")
    path = find(fields["file"], place if isinstance(entry, str) else f"{place}.file", find_file)
    channel = fields.get("channel", "all")
    return Voice(
        path,
        VOICE_CHANNELS[channel] if isinstance(channel, str) else int(channel),
        start_s,
        None if end_s is None else float(end_s),
        float(fields.get("offset", 0.0)),
    )


def read_face(value: Any, place: str) -> FaceOfSpeaker:
    """Read a face: text, an index, a point, a box, the boxes of `written`, or nothing for a narrator.

    Raises:
        UsageError: a box has no area.
    """
    if value is None or value == NO_FACE:
        return None
    if isinstance(value, Mapping):
        return FaceBoxes({int(frame): np.array(box, np.float32) for frame, *box in value["boxes"]})
    if isinstance(value, (int, float)):
        return FaceChoice("index", index=int(value))
    if isinstance(value, list):
        return _read_place(tuple(map(float, value)), place)
    try:
        return parse_face_choice(value)
    except ValueError:
        expected = "a box X1,Y1,X2,Y2 with X1 below X2 and Y1 below Y2"
        raise UsageError(about=place, expected=expected, got=shown(value)) from None


def read_segments(entries: Sequence[Entry], place: str) -> tuple[Segment, ...]:
    """Read segments, which are in order; the last may lack its end.

    Raises:
        UsageError: they overlap or are out of order, or one ends before it starts.
    """
    segments = tuple(_read_segment(entry, f"{place}[{i}]") for i, entry in enumerate(entries))
    for i, (segment, later) in enumerate(itertools.pairwise(segments)):
        if math.isinf(segment.span.end_s):
            expected = "a time, as only the last segment may last to the end of the video"
            raise UsageError(about=f"{place}[{i}].end", expected=expected, got="nothing")
        if later.span.start_s < segment.span.end_s:
            expected = f"a time from {seconds(segment.span.end_s)} on, when segments[{i}] ends"
            advice = "Segments of a speaker are in order and do not overlap"
            got = f"{later.span.start_s:.10g}"
            raise UsageError(about=f"{place}[{i + 1}].start", expected=expected, got=got, advice=advice)
    return segments


def read_options(entry: Entry, place: str) -> OptionValues:
    """Read options by their names.

    Raises:
        UsageError: a value cannot be used.
    """
    try:
        return read_each(entry)
    except UsageError as error:
        (name,) = error.options
        raise UsageError(about=f"{place}.{name}", expected=error.expected, got=shown(entry[name])) from None


def read_spans(entries: Sequence[Sequence[float | None]], place: str) -> tuple[TimeSpan, ...]:
    """Read spans [start, end] in any order; overlapping ones are joined.

    Raises:
        UsageError: one ends before it starts.
    """
    return joined([_read_span(start, end, f"{place}[{i}][1]") for i, (start, end) in enumerate(entries)])


def find(name: str, place: str, find_file: FindFile) -> Any:
    """Return the file that a script names; errors name the place.

    Raises:
        UsageError: there cannot be such a file.
    """
    try:
        return find_file(name)
    except UsageError as error:
        error.about = ": ".join(filter(None, [place, error.about]))
        raise


def check_end(start_s: float, end_s: float, place: str) -> None:
    """Check that a span has a length.

    Raises:
        UsageError: it has none.
    """
    if end_s <= start_s:
        got = f"{end_s:.10g}"
        raise UsageError(about=place, expected=f"a time after start ({seconds(start_s)})", got=got)


def _read_place(numbers: tuple[float, ...], place: str) -> FaceChoice:
    if len(numbers) == 2:
        return FaceChoice("point", point=(numbers[0], numbers[1]))
    x1, y1, x2, y2 = numbers
    if x1 >= x2 or y1 >= y2:
        expected = "a box [x1, y1, x2, y2] with x1 below x2 and y1 below y2"
        raise UsageError(about=place, expected=expected, got=shown([x1, y1, x2, y2]))
    return FaceChoice("box", box=(x1, y1, x2, y2))


def _read_segment(entry: Entry, place: str) -> Segment:
    face = read_face(entry["face"], f"{place}.face") if "face" in entry else None
    if "face" in entry and face is None:
        advice = "Give this segment to a speaker of its own, with the same voice and no face"
        raise UsageError(about=f"{place}.face", expected="a face", got=shown(entry["face"]), advice=advice)
    span = _read_span(entry["start"], entry.get("end"), f"{place}.end")
    return Segment(span, face, read_options(entry.get("options", {}), f"{place}.options"))


def _read_span(start_s: float | None, end_s: float | None, place: str) -> TimeSpan:
    assert start_s is not None
    if end_s is None:
        return TimeSpan(float(start_s))
    check_end(start_s, end_s, place)
    return TimeSpan(float(start_s), float(end_s))
