"""Reads when each phone of a speech is said: Praat's TextGrid, CTM, or lines of start, end and phone."""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from client.errors import UsageError
from client.scene.documents import decoded, read_content, shown
from client.scene.limits import MAX_SCRIPT_BYTES

PHONES = re.compile(r"(.* - )?phones?", re.IGNORECASE)  # the tier; the Montreal Forced Aligner names its speaker, too
INTERVALS, POINTS = "IntervalTier", "TextTier"
PRAAT = ("ooTextFile", "TextGrid")  # what a TextGrid begins with
COMMENT = ";;"  # in CTM
PLAIN_FIELDS, CTM_FIELDS = range(3, 4), range(5, 7)  # of a line; CTM may end with a confidence
PLAIN, CTM = '"start end phone"', '"recording channel start duration phone"'
FORMS = {PLAIN_FIELDS: PLAIN, CTM_FIELDS: CTM}
MAX_SECONDS = 1_000_000
ROUNDING_S = 0.011  # by which phones overlap where start and duration are rounded to 10 ms
# Praat reads texts, flags and numbers that stand alone; all else is there for people.
TOKEN = re.compile(r'"([^"]*(?:""[^"]*)*)"|(?<!\S)(<exists>|<absent>|[-+]?[0-9][0-9.eE+-]*)(?!\S)')


@dataclass(frozen=True)
class Phone:
    """A phone and its span in seconds."""

    name: str
    start_s: float
    end_s: float


def read_alignment(path: Path) -> list[Phone]:
    """Read the phones of a speech, in order.

    Raises:
        UsageError: the file cannot be read, breaks a rule of its format, or has no phone.
    """
    content = read_content(path, MAX_SCRIPT_BYTES)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # as Praat writes other letters than ASCII
        text = content.decode("utf-16", "replace")
    else:
        text = decoded(content, path.name)
    return parse_alignment(text, path.name)


def parse_alignment(text: str, name: str) -> list[Phone]:
    """Parse a TextGrid, CTM, or lines of start, end and phone.

    Args:
        text: the file's content.
        name: what messages call the file.

    Raises:
        UsageError: it breaks a rule of its format, or has no phone.
    """
    is_grid = text.lstrip().startswith("File type")
    placed = _phones_of_grid(_Tokens(text, name)) if is_grid else list(_phones_of_lines(text, name))
    if not placed:
        raise UsageError(about=name, expected="phones with their times", got="none")
    for (before, _), (phone, line) in pairwise([(Phone("", 0.0, 0.0), 0), *placed]):
        if not before.end_s - ROUNDING_S <= phone.start_s <= phone.end_s <= MAX_SECONDS:
            raise UsageError(
                about=_place(name, line),
                expected=f"a phone that starts at {before.end_s:g} s, where the one before ends, or later",
                got=f"{phone.start_s:g} to {phone.end_s:g} s",
            )
    return [phone for phone, _ in placed]


class _Tokens:
    """The texts, flags and numbers of a TextGrid, in either of its forms."""

    def __init__(self, text: str, name: str) -> None:
        self._text, self._name = text, name
        self._found = TOKEN.finditer(text)
        self._at = 0  # the character at which the last token starts
        self.line = 1  # in which that is

    def text(self, expected: str) -> str:
        """Return the next token, which is to be a text."""
        match = self._next(expected)
        if match[1] is None:
            raise self.error(expected, match[2] or match[1])
        return match[1].replace('""', '"')

    def number(self, expected: str) -> float:
        """Return the next token, which is to be a finite number."""
        match = self._next(expected)
        try:
            found = float(match[2] or "")
        except ValueError:
            found = math.nan
        if not math.isfinite(found):
            raise self.error(expected, match[2] or match[1])
        return found

    def count(self, expected: str) -> int:
        """Return the next token, which is to be a whole number."""
        found = self.number(expected)
        if found < 0 or found != int(found):
            raise self.error(expected, found)
        return int(found)

    def flag(self, expected: str) -> None:
        """Pass the next token, which is to be <exists>."""
        match = self._next(expected)
        if match[2] != "<exists>":
            raise self.error(expected, match[2] or match[1])

    def error(self, expected: str, got: object) -> UsageError:
        """Return an error at the last token."""
        return UsageError(about=_place(self._name, self.line), expected=expected, got=shown(got))

    def _next(self, expected: str) -> re.Match[str]:
        match = next(self._found, None)
        at = len(self._text.rstrip()) if match is None else match.start()
        self.line += self._text.count("\n", self._at, at)
        self._at = at
        if match is None:
            raise UsageError(about=_place(self._name, self.line), expected=expected, got="the end of the file")
        return match


def _phones_of_grid(tokens: _Tokens) -> list[tuple[Phone, int]]:
    """Return the phones of a TextGrid with their lines."""
    for expected in PRAAT:
        if (got := tokens.text(f'"{expected}"')) != expected:
            raise tokens.error(f'"{expected}"', got)
    for border in ("start", "end"):
        tokens.number(f"the {border} of the file, in seconds")
    tokens.flag("<exists>, as there are tiers")
    names, phones = [], None
    for _ in range(tokens.count("the number of tiers")):
        kind = tokens.text("the class of a tier")
        if kind not in (INTERVALS, POINTS):
            raise tokens.error(f"{INTERVALS} or {POINTS}", kind)
        name = tokens.text("the name of a tier")
        names.append(name)
        is_wanted = kind == INTERVALS and PHONES.fullmatch(name) is not None
        if is_wanted and phones is not None:
            raise tokens.error("one tier of phones, as of one speech", name)
        items = list(_intervals(tokens, 2 if kind == INTERVALS else 1))
        phones = items if is_wanted else phones
    if phones is None:
        raise tokens.error('a tier "phones" of intervals', ", ".join(names))
    return phones


def _intervals(tokens: _Tokens, times: int) -> Iterator[tuple[Phone, int]]:
    """Yield what a tier holds, points or intervals, which have one time or two."""
    for border in ("start", "end"):
        tokens.number(f"the {border} of a tier, in seconds")
    for _ in range(tokens.count("the number of intervals")):
        start_s = tokens.number("the start of an interval, in seconds")
        line = tokens.line
        end_s = tokens.number("the end of an interval, in seconds") if times > 1 else start_s
        yield Phone(tokens.text("the text of an interval"), start_s, end_s), line


def _phones_of_lines(text: str, name: str) -> Iterator[tuple[Phone, int]]:
    """Yield the phones of CTM or of lines of start, end and phone, with their lines."""
    recordings: set[tuple[str, str]] = set()
    kind: range | None = None
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if not fields or fields[0].startswith(COMMENT):
            continue
        about = _place(name, number)
        kind = kind or next((known for known in (PLAIN_FIELDS, CTM_FIELDS) if len(fields) in known), None)
        if kind is None or len(fields) not in kind:
            expected = (
                f"a TextGrid of Praat, or lines like {PLAIN} or {CTM}" if kind is None else f"a line like {FORMS[kind]}"
            )
            raise UsageError(about=about, expected=expected, got=shown(line))
        if kind is PLAIN_FIELDS:
            start_s, end_s = (_time(field, about) for field in fields[:2])
            yield Phone(fields[2], start_s, end_s), number
            continue
        recordings.add((fields[0], fields[1]))
        if len(recordings) > 1:
            raise UsageError(about=about, expected="phones of one recording and channel", got=shown(line))
        start_s, duration_s = (_time(field, about) for field in fields[2:4])
        yield Phone(fields[4], start_s, start_s + duration_s), number


def _time(text: str, about: str) -> float:
    try:
        time_s = float(text)
    except ValueError:
        time_s = math.nan
    if not 0 <= time_s <= MAX_SECONDS:
        raise UsageError(about=about, expected=f"times from 0 to {MAX_SECONDS} s", got=shown(text))
    return time_s


def _place(name: str, line: int) -> str:
    return f"{name}, line {line}"
