"""Who speaks when in a recording, from RTTM or JSON: a diarization."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from client.errors import UsageError
from client.options import MAX_SECONDS
from client.scene.checking import check_document
from client.scene.documents import decoded, parse_json, read_content, shown
from client.scene.entries import Entry, check_end
from client.scene.limits import MAX_NAME_LENGTH, MAX_SCRIPT_BYTES, MAX_SEGMENTS
from client.scene.scene import TimeSpan
from client.scene.spans import joined

Turns = Mapping[str, tuple[TimeSpan, ...]]  # speaker -> spans, in order and without overlap

DIARIZATION = "diarization"  # the property of a script
SPEAKER_TYPE = "SPEAKER"
OTHER_TYPES = {
    *("SEGMENT", "NOSCORE", "NO_RT_METADATA", "LEXEME", "NON-LEX", "NON-SPEECH"),
    *("FILLER", "EDIT", "SU", "IP", "CB", "A/P", "SPKR-INFO"),
}  # of lines that do not say who speaks
RTTM_FIELDS = range(8, 11)  # older files lack the last ones
COMMENT = ";"


def read_diarization(path: Path) -> Turns:
    """Read an RTTM or JSON file.

    Raises:
        UsageError: it cannot be read or breaks a rule.
    """
    text = decoded(read_content(path, MAX_SCRIPT_BYTES), path.name)
    if text.lstrip()[:1] not in ("[", "{"):
        return parse_rttm(text, path.name)
    entries = parse_json(text, path.name)
    check_document(entries, path.name, DIARIZATION)
    assert isinstance(entries, list)
    return turns_of(entries)


def turns_of(entries: Iterable[Entry]) -> Turns:
    """Return the turns of checked JSON, a list of {speaker, start, end}.

    Raises:
        UsageError: a turn ends before it starts.
    """
    turns = []
    for i, entry in enumerate(entries):
        check_end(entry["start"], entry["end"], f"{DIARIZATION}[{i}].end")
        turns.append((entry["speaker"], TimeSpan(float(entry["start"]), float(entry["end"]))))
    return _by_speaker(turns)


def parse_rttm(text: str, name: str) -> Turns:
    """Parse RTTM: of the lines of other types than SPEAKER, comments and empty lines nothing is used.

    Args:
        text: the file's content.
        name: what messages call the file.

    Raises:
        UsageError: a line breaks a rule, or there is no speaker.
    """
    recordings: set[str] = set()
    turns = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if not fields or fields[0].startswith(COMMENT) or fields[0] in OTHER_TYPES:
            continue
        about = f"{name}, line {number}"
        speaker, span = _read_line(fields, line, about)
        recordings.add(fields[1])
        if len(recordings) > 1:
            raise UsageError(about=about, expected="turns of one recording", got=f"those of {_listed(recordings)}")
        if span.start_s < span.end_s:  # some tools write turns without a length
            turns.append((speaker, span))
    if not 0 < len(turns) <= MAX_SEGMENTS:
        expected = f"1 to {MAX_SEGMENTS} lines of type {SPEAKER_TYPE} with a duration"
        raise UsageError(about=name, expected=expected, got=len(turns))
    return _by_speaker(turns)


def _read_line(fields: list[str], line: str, about: str) -> tuple[str, TimeSpan]:
    if fields[0] != SPEAKER_TYPE or len(fields) not in RTTM_FIELDS:
        expected = f"a line of RTTM ({SPEAKER_TYPE} file channel onset duration <NA> <NA> name <NA> <NA>)"
        raise UsageError(about=about, expected=expected, got=shown(line))
    onset_s, duration_s = (_read_time(text, about) for text in fields[3:5])
    speaker = fields[7]
    if len(speaker) > MAX_NAME_LENGTH:
        raise UsageError(about=about, expected=f"a name of 1 to {MAX_NAME_LENGTH} characters", got=shown(speaker))
    return speaker, TimeSpan(onset_s, onset_s + duration_s)


def _read_time(text: str, about: str) -> float:
    try:
        time_s = float(text)
    except ValueError:
        time_s = math.nan
    if not 0 <= time_s <= MAX_SECONDS:
        raise UsageError(about=about, expected=f"onset and duration from 0 to {MAX_SECONDS} s", got=shown(text))
    return time_s


def _by_speaker(turns: Iterable[tuple[str, TimeSpan]]) -> Turns:
    """Group turns by speaker, in order of appearance in the list; overlapping ones of a speaker are joined."""
    found: dict[str, list[TimeSpan]] = {}
    for speaker, span in turns:
        found.setdefault(speaker, []).append(span)
    return {speaker: joined(spans) for speaker, spans in found.items()}


def _listed(names: Iterable[str]) -> str:
    return " and ".join(map(shown, sorted(names)))
