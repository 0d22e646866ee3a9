"""Alignments of a speech: TextGrid, CTM and plain lines are read alike, and bad files are refused with their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.errors import UsageError
from client.quality.alignment import Phone, parse_alignment, read_alignment

PHONES = [Phone("", 0.0, 0.5), Phone("AH0", 0.5, 0.6), Phone("M", 0.6, 0.75), Phone("", 0.75, 1.25)]


def interval(number: int, phone: Phone) -> str:
    return (
        f"        intervals [{number}]:\n            xmin = {phone.start_s} \n            xmax = {phone.end_s} \n"
        f'            text = "{phone.name}" \n'
    )


def tier(number: int, name: str, phones: list[Phone], kind: str = "IntervalTier") -> str:
    return (
        f'    item [{number}]:\n        class = "{kind}" \n        name = "{name}" \n        xmin = 0 \n'
        f"        xmax = 1.25 \n        intervals: size = {len(phones)} \n"
        + "".join(interval(i, phone) for i, phone in enumerate(phones, 1))
    )


def grid(*tiers: str) -> str:
    """Return a TextGrid as Praat and the Montreal Forced Aligner write it."""
    return (
        'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0 \nxmax = 1.25 \ntiers? <exists> \n'
        f"size = {len(tiers)} \nitem []: \n" + "".join(tiers)
    )


WORDS = [Phone("", 0.0, 0.5), Phone('um "1 2" [3]:', 0.5, 0.75), Phone("", 0.75, 1.25)]
QUOTED = [Phone(word.name.replace('"', '""'), word.start_s, word.end_s) for word in WORDS]
SHORT = """File type = "ooTextFile"
"TextGrid"
0
1.25
<exists>
2
"TextTier"
"marks"
0
1.25
1
0.3
"here"
"IntervalTier"
"ann - phones"
0
1.25
4
0
0.5
""
0.5
0.6
"AH0"
0.6
0.75
"M"
0.75
1.25
""
"""
CTM = ";; made by hand\nann 1 0.00 0.50 sil 0.9\nann 1 0.50 0.10 AH0 0.8\n\nann 1 0.60 0.15 M\nann 1 0.75 0.5 sil\n"
PLAIN = "0 0.5 sil\n0.5\t0.6\tAH0\n0.6 0.75 M\n0.75 1.25 sil\n"


def rounded(phones: list[Phone]) -> list[Phone]:
    return [Phone("" if p.name == "sil" else p.name, round(p.start_s, 3), round(p.end_s, 3)) for p in phones]


@pytest.mark.parametrize(
    "text",
    [
        grid(tier(1, "words", QUOTED), tier(2, "phones", PHONES)),
        grid(tier(1, "ann - phones", PHONES), tier(2, "ann - words", QUOTED)),
        SHORT,
        CTM,
        PLAIN,
    ],
)
def test_formats_are_read_alike(text: str) -> None:
    assert rounded(parse_alignment(text, "a")) == PHONES


def test_praat_writes_ipa_as_utf_16(tmp_path: Path) -> None:
    """A byte order mark tells; UTF-8 has none or its own."""
    text = grid(tier(1, "phones", [Phone("pʰ", 0.0, 0.1)]))
    for encoding in ("utf-16", "utf-8", "utf-8-sig"):
        (tmp_path / "a.TextGrid").write_text(text, encoding=encoding)
        assert read_alignment(tmp_path / "a.TextGrid") == [Phone("pʰ", 0.0, 0.1)]


GOOD = grid(tier(1, "phones", PHONES))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "a: expected phones with their times, got none"),
        ("one two\n", 'a, line 1: expected a TextGrid of Praat, or lines like "start end phone" or "recording channel'),
        ("0 1 a\n1 2\n", 'a, line 2: expected a line like "start end phone", got "1 2"'),
        ("0 1 a\nx 2 b\n", 'a, line 2: expected times from 0 to 1000000 s, got "x"'),
        ("0 1 a\nnan 2 b\n", 'a, line 2: expected times from 0 to 1000000 s, got "nan"'),
        ("0 1 a\n0.5 2 b\n", "a, line 2: expected a phone that starts at 1 s, where the one before ends, or later"),
        ("0 1 a\n3 2 b\n", "a, line 2: expected a phone that starts at 1 s"),
        ("r 1 0 1 a\ns 1 1 1 b\n", "a, line 2: expected phones of one recording and channel"),
        (GOOD.replace("TextGrid", "Pitch"), 'a, line 2: expected "TextGrid", got "Pitch"'),
        (GOOD.replace('"phones"', '"words"'), 'a, line 30: expected a tier "phones" of intervals, got "words"'),
        (GOOD.replace("xmax = 0.6 ", "xmax = six "), "a, line 22: expected the end of an interval, in seconds"),
        (GOOD.replace("size = 4", "size = 5"), "line 30: expected the start of an interval, in seconds, got the end"),
        (GOOD.replace("size = 4", "size = 4.5"), "a, line 14: expected the number of intervals, got 4.5"),
        (GOOD.replace("<exists>", "<absent>"), 'a, line 6: expected <exists>, as there are tiers, got "<absent>"'),
        (GOOD.replace("xmin = 0.6", "xmin = 0.4"), "a, line 24: expected a phone that starts at 0.6 s"),
        (grid(tier(1, "a - phones", PHONES), tier(2, "b - phones", PHONES)), "line 33: expected one tier of phones"),
        (GOOD.replace("IntervalTier", "Tier"), 'a, line 10: expected IntervalTier or TextTier, got "Tier"'),
    ],
)  # fmt: skip
def test_bad_files_fail_with_their_place(text: str, line: str) -> None:
    with pytest.raises(UsageError) as found:
        parse_alignment(text, "a")
    assert line in str(found.value)
    assert "\n" not in str(found.value)


def test_files_that_are_no_text_fail(tmp_path: Path) -> None:
    (tmp_path / "a.ctm").write_bytes(b"0 1 \xff\n")
    with pytest.raises(UsageError, match="a.ctm: expected UTF-8 text"):
        read_alignment(tmp_path / "a.ctm")
    with pytest.raises(UsageError, match="b.ctm: expected a readable file"):
        read_alignment(tmp_path / "b.ctm")


def test_rounded_times_may_overlap_by_a_hundredth() -> None:
    """Start and duration are each rounded in CTM."""
    assert len(parse_alignment("a 1 0.00 0.51 AH\na 1 0.50 0.1 M\n", "a")) == 2
