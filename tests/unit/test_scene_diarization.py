from __future__ import annotations

import json
from pathlib import Path

import pytest

from client.errors import UsageError
from client.scene.diarization import parse_rttm, read_diarization
from client.scene.limits import MAX_SEGMENTS
from client.scene.scene import TimeSpan

RTTM = """\
;; two people
SPKR-INFO talk 1 <NA> <NA> <NA> unknown SPEAKER_01 <NA> <NA>
SPEAKER talk 1 0.5 2.25 <NA> <NA> SPEAKER_01 <NA> <NA>

SPEAKER talk 1 2.50 1.00 <NA> <NA> SPEAKER_00 <NA>
SPEAKER talk 1 2.00 1.50 <NA> <NA> SPEAKER_01 0.98 <NA>
SPEAKER talk 1 9.00 0.00 <NA> <NA> SPEAKER_02 <NA> <NA>
LEXEME talk 1 0.5 0.2 hello lex SPEAKER_01 0.9 <NA>
"""
LINE = "SPEAKER talk 1 0.5 2.25 <NA> <NA> ann <NA> <NA>"


def test_rttm_says_when_speakers_speak() -> None:
    """Other lines say nothing of that; overlapping turns of a speaker are joined, empty ones left out."""
    turns = parse_rttm(RTTM, "talk.rttm")
    assert list(turns) == ["SPEAKER_01", "SPEAKER_00"]
    assert turns == {"SPEAKER_01": (TimeSpan(0.5, 3.5),), "SPEAKER_00": (TimeSpan(2.5, 3.5),)}


def test_json_says_the_same(tmp_path: Path) -> None:
    """The file's content tells which of both it is."""
    path = tmp_path / "talk.txt"
    path.write_text(RTTM)
    assert len(read_diarization(path)) == 2
    path.write_text(json.dumps([{"speaker": "ann", "start": 1, "end": 2}, {"speaker": "ann", "start": 2, "end": 2.5}]))
    assert read_diarization(path) == {"ann": (TimeSpan(1, 2.5),)}


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("", "talk.rttm: expected 1 to 20000 lines of type SPEAKER with a duration, got 0"),
        (
            f"{LINE}\nhello\n",
            "talk.rttm, line 2: expected a line of RTTM (SPEAKER file channel onset duration <NA> <NA> name",
        ),
        (f"{LINE} more\n", "talk.rttm, line 1: expected a line of RTTM"),
        ("SPEAKER talk 1 0.5\n", "talk.rttm, line 1: expected a line of RTTM"),
        (LINE.replace("0.5", "<NA>"), 'talk.rttm, line 1: expected onset and duration from 0 to 1000000 s, got "<NA>"'),
        (LINE.replace("2.25", "-1"), 'talk.rttm, line 1: expected onset and duration from 0 to 1000000 s, got "-1"'),
        (LINE.replace("2.25", "nan"), "talk.rttm, line 1: expected onset and duration"),
        (LINE.replace("ann", "a" * 101), "talk.rttm, line 1: expected a name of 1 to 100 characters"),
        (
            f"{LINE}\n{LINE.replace('talk', 'other')}",
            'line 2: expected turns of one recording, got those of "other" and "ta',
        ),
        (
            f"{LINE}\n" * (MAX_SEGMENTS + 1),
            "talk.rttm: expected 1 to 20000 lines of type SPEAKER with a duration, got 20001",
        ),
        ('{"turns": []}', "diarization: expected a list of 1 to 20000 turns {speaker, start, end}, or an RTTM or JSON"),
        (
            '[{"speaker": "a", "start": 1, "stop": 2}]',
            "diarization[0].stop: expected one of speaker, start, end, got an unkn",
        ),
        ('[{"speaker": "a", "start": 3, "end": 2}]', "diarization[0].end: expected a time after start (3 s), got 2"),
        ("[1,", "talk.rttm: expected JSON, got a mistake in line 1, column 4"),
    ],
)
def test_bad_turns_fail_in_one_line(tmp_path: Path, content: str, line: str) -> None:
    """With the line of RTTM or the place in JSON."""
    path = tmp_path / "talk.rttm"
    path.write_text(content)
    with pytest.raises(UsageError) as caught:
        read_diarization(path)
    assert line in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
