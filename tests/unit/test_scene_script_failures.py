from __future__ import annotations

import json
from pathlib import Path

import pytest

from client.errors import UsageError
from client.scene.limits import MAX_SCRIPT_BYTES, MAX_SEGMENTS
from client.scene.script import parse_script, read_script
from tests.scene_scripts import ANN, BOB, TURNS, refusal


@pytest.mark.parametrize(
    ("document", "line"),
    [
        (
            [],
            "scene.json: expected an object with speakers, or with a voice and a diarization or speaker_boxes, got []",
        ),
        (
            {},
            "scene.json: expected an object with speakers, or with a voice and a diarization or speaker_boxes, got an",
        ),
        ({"voice": "a"}, "scene.json: expected an object with speakers, or with a voice and a diarization or sp"),
        ({"speakers": []}, "speakers: expected a list of 1 to 100 speakers, got []"),
        ({"speakers": [ANN] * 101}, "speakers: expected a list of 1 to 100 speakers, got [{"),
        ({"speakers": [ANN, 3]}, "speakers[1]: expected a speaker {name, voice, face, segments, options}, got 3"),
        ({"speakers": [{"voice": "a"}]}, "speakers[0].name: expected a name of 1 to 100 characters, got nothing"),
        (
            {"speakers": [{"name": "ann"}]},
            "speakers[0].voice: expected a file, or a voice of all speakers, got nothing",
        ),
        ({"speakers": [{**ANN, "name": " "}]}, "speakers[0].name: expected a name of 1 to 100 characters that can be"),
        ({"speakers": [{**ANN, "name": "a\nb"}]}, 'that can be printed, got "a\\nb"'),
        ({"speakers": [{**ANN, "name": "\ud800"}]}, 'that can be printed, got "\\ud800"'),
        ({"speakers": [ANN, ANN]}, 'speakers[1].name: expected a name of its own, got "ann", the name of speakers[0]'),
        (
            {"speakers": [{**ANN, "vioce": "x"}]},
            "speakers[0].vioce: expected one of name, voice, face, segments, options, got an unknown key. Did you mea",
        ),
        ({"speakers": [{"nam": "ann", "voice": "a"}]}, "speakers[0].nam: expected one of name, voice"),
        ({"speakers": [{**ANN, "two\nlines": 1}]}, 'speakers[0]["two\\nlines"]: expected one of'),
        (
            {"speakers": [{**ANN, "voice": ""}]},
            "speakers[0].voice: expected a file, or {file, channel, start, end, off",
        ),
        (
            {"speakers": [{**ANN, "voice": "a\0b"}]},
            "speakers[0].voice: expected a path that a file can have, got NUL or",
        ),
        ({"speakers": [{**ANN, "voice": {}}]}, "speakers[0].voice.file: expected a file, got nothing"),
        (
            {"speakers": [{**ANN, "voice": {"file": "a", "channel": "middle"}}]},
            'speakers[0].voice.channel: expected all, left, right, or a channel\'s number from 0 to 63, got "middle"',
        ),
        (
            {"speakers": [{**ANN, "voice": {"file": "a", "start": 3, "end": 3}}]},
            "speakers[0].voice.end: expected a time after start (3 s), got 3",
        ),
        (
            {"speakers": [{**ANN, "face": "up"}]},
            "speakers[0].face: expected auto, largest, left, right, none, an index",
        ),
        (
            {"speakers": [{**ANN, "face": True}]},
            "speakers[0].face: expected auto, largest, left, right, none, an index",
        ),
        ({"speakers": [{**ANN, "face": -1}]}, "speakers[0].face: expected auto, largest, left, right, none, an index"),
        ({"speakers": [{**ANN, "face": [1, 2, 3]}]}, "speakers[0].face: expected auto, largest"),
        ({"speakers": [{**ANN, "face": [1, "2"]}]}, 'speakers[0].face[1]: expected a number of pixels, got "2"'),
        (
            {"speakers": [{**ANN, "face": [5, 2, 5, 9]}]},
            "speakers[0].face: expected a box [x1, y1, x2, y2] with x1 below x2 and y1 below y2, got [5.0, 2.0, 5.0,",
        ),
        ({"speakers": [{**ANN, "face": "5,2,4,9"}]}, "speakers[0].face: expected a box X1,Y1,X2,Y2 with X1 below X2"),
        ({"speakers": [{**ANN, "segments": []}]}, "speakers[0].segments: expected a list of 1 to 20000 segments in or"),
        (
            {"speakers": [ANN, {**BOB, "segments": [{"start": 0, "end": 1}, {"start": 4, "end": 2}]}]},
            "speakers[1].segments[1].end: expected a time after start (4 s), got 2",
        ),
        (
            {"speakers": [{**ANN, "segments": [{"start": 0, "end": 2}, {"start": 1.5, "end": 4}]}]},
            "speakers[0].segments[1].start: expected a time from 2 s on, when segments[0] ends, got 1.5. Segments of a",
        ),
        (
            {"speakers": [{**ANN, "segments": [{"start": 0}, {"start": 1.5}]}]},
            "speakers[0].segments[0].end: expected a time, as only the last segment may last to the end of the video,",
        ),
        (
            {"speakers": [{**ANN, "segments": [{"start": -1}]}]},
            "speakers[0].segments[0].start: expected a time from 0 to 1000000 s, got -1",
        ),
        (
            {"speakers": [{**ANN, "segments": [{"start": 1, "face": None}]}]},
            "speakers[0].segments[0].face: expected a face, got null. Give this segment to a speaker of its own",
        ),
        (
            {"speakers": [{**ANN, "options": {"crf": 2}}]},
            "speakers[0].options.crf: expected one of model, in_silence, strength",
        ),
        (
            {"speakers": [{**ANN, "options": {"face_box": "1,2,3,4"}}]},
            "speakers[0].options.face_box: expected one of model",
        ),
        (
            {"speakers": [{**ANN, "segments": [{"start": 0, "options": {"strength": 9}}]}]},
            "speakers[0].segments[0].options.strength: expected 0.5 to 1.5, got 9",
        ),
        (
            {"speakers": [{**ANN, "options": {"pads": "1,2,3"}}]},
            "speakers[0].options.pads: expected four numbers from -9999 to 9999",
        ),
        ({"speakers": [ANN], "unchanged": [[1]]}, "unchanged[0]: expected a span [start, end] in seconds; null is the"),
        ({"speakers": [ANN], "unchanged": [[1, 1]]}, "unchanged[0][1]: expected a time after start (1 s), got 1"),
        (
            {"speakers": [ANN], "unchanged": [[None, 1]]},
            "unchanged[0][0]: expected a time from 0 to 1000000 s, got null",
        ),
        (
            {"speakers": [ANN], "unchanged": [[0, 10**400]]},
            "unchanged[0][1]: expected a time from 0 to 1000000 s, got 100",
        ),
        (
            {"speakers": [{**ANN, "face": None}, {**BOB, "face": "none"}]},
            "speakers: expected somebody with a face, got narrators alone",
        ),
        (
            {"speakers": [ANN, {**BOB, "face": "left"}]},
            "speakers[1]: expected a face that no other speaker has at the time, got left, that of speakers[0] from"
            " 0 s on. Name another face, or segments one after the other",
        ),
        ({"speakers": [ANN, {**BOB, "face": 0}]}, "speakers[1]: expected a face that no other speaker has at the time"),
        (
            {
                "speakers": [
                    {**ANN, "segments": [{"start": 0, "end": 4}]},
                    {**BOB, "segments": [{"start": 3, "face": "left"}]},
                ]
            },
            "speakers[1].segments[0]: expected a face that no other speaker has at the time, got left, that of"
            " speakers[0].segments[0] from 3 s to 4 s",
        ),
        (
            {"speakers": [{**ANN, "face": [9, 9], "segments": [{"start": 5}]}, {**BOB, "face": "9,9"}]},
            "speakers[1]: expected a face that no other speaker has at the time, got 9,9, that of speakers[0].segment",
        ),
    ],
)
def test_bad_scripts_fail_in_one_line(document: object, line: str) -> None:
    """The place is named, then the rule, then what was found, shortened."""
    assert line in refusal(document)
    assert len(refusal(document)) < 400


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "scene.json: expected JSON, got a mistake in line 1, column 1 (expecting value)"),
        (b'{"speakers":\n [1,, 2]}', "scene.json: expected JSON, got a mistake in line 2, column 5"),
        (b'{"a": "\xe4"}', "scene.json: expected UTF-8 text, got byte 0xe4 in line 1. Save the file as UTF-8"),
        (b'{"a": NaN}', "scene.json: expected strict JSON, got NaN"),
        (b'{"a": -Infinity}', "scene.json: expected strict JSON, got -Infinity"),
        (b'{"a": 1e999}', 'scene.json: expected strict JSON, got the number "1e999"'),
        (b'{"a": 1, "b": 2, "b": 3}', 'scene.json: expected strict JSON, got the key "b" twice in one object'),
        (b"[" * 100_000, "scene.json: expected lists and objects at most 16 deep, got deeper ones"),
        (b'{"a":' * 100_000, "scene.json: expected lists and objects at most 16 deep, got deeper ones"),
        (b'"' + b'\\"' * 1_000_000, "scene.json: expected JSON, got a mistake in line 1, column 1"),
        (b'{"a": ' + b"9" * 5000 + b"}", "scene.json: expected JSON, got a number of thousands of digits"),
        (b" " * (MAX_SCRIPT_BYTES + 1), "scene.json: expected at most 10000000 bytes, got 10000001"),
    ],
)
def test_what_is_no_json_fails_in_one_line(content: bytes, line: str) -> None:
    """NaN, repeated keys and deep nesting too; Python's parser takes some of these."""
    assert line in refusal(content)


def test_reading_fails_without_a_file(tmp_path: Path) -> None:
    """As with media, the path is named."""
    with pytest.raises(UsageError, match=r"none\.json: expected a readable file, got No such file"):
        read_script(tmp_path / "none.json")
    with pytest.raises(UsageError, match="expected a readable file, got Is a directory"):
        read_script(tmp_path)


def test_names_of_files_that_the_caller_refuses_fail_with_their_place() -> None:
    """The web service knows uploaded parts alone, and paths are none of them."""

    def uploaded(name: str) -> Path:
        if name != "ann":
            raise UsageError(expected="an uploaded part", got=name)
        return Path("/jobs/1/ann")

    script = {"speakers": [{**ANN, "voice": "ann"}, {**BOB, "voice": {"file": "../../etc/passwd"}}]}
    with pytest.raises(UsageError) as caught:
        parse_script(json.dumps(script).encode(), "scene", uploaded)
    assert str(caught.value) == "speakers[1].voice.file: expected an uploaded part, got ../../etc/passwd"
    script["speakers"].pop()
    assert parse_script(json.dumps(script).encode(), "scene", uploaded).files == (Path("/jobs/1/ann"),)


def test_too_many_segments_fail() -> None:
    """The limit is for all speakers together."""
    many = [{"start": i, "end": i + 1} for i in range(MAX_SEGMENTS)]
    line = refusal({"speakers": [{**ANN, "segments": many}, {**BOB, "segments": [{"start": 0}]}]})
    assert line == "speakers: expected at most 20000 segments of all speakers together, got 20001"


@pytest.mark.parametrize(
    ("script", "line"),
    [
        (
            {"diarization": TURNS},
            'voice: expected the voice of "ann" and all other speakers of diarization, got nothing',
        ),
        (
            {"voice": "a", "diarization": TURNS, "speakers": [{"name": "An"}]},
            'speakers[0].name: expected a speaker of diarization ("ann", "eve"), got "An". Others need a voice or seg',
        ),
        (
            {"voice": "a", "diarization": TURNS, "speakers": [{"name": "ann", "segments": [{"start": 0}]}]},
            'speakers[0].segments: expected no segments beside diarization, which says so of "ann", got both',
        ),
        (
            {"voice": "a", "diarization": [{"speaker": "a", "start": 1}]},
            "diarization[0].end: expected a time from 0 to 1",
        ),
        (
            {"voice": "a", "diarization": [{"speaker": "a", "start": 1, "end": 1}]},
            "diarization[0].end: expected a time after start (1 s), got 1",
        ),
        (
            {"voice": {"file": "a", "start": 60}, "diarization": TURNS},
            "speakers: expected 1 to 100 speakers, got nobody who",
        ),
        (
            {"voice": {"file": "a", "start": 60}, "diarization": TURNS, "speakers": [{"name": "ann"}]},
            "speakers[0].name: expected a speaker of diarization who speaks in the used part of the voice",
        ),
        (
            {"voice": "a", "diarization": TURNS, "speaker_boxes": "b"},
            "diarization: expected no diarization beside speaker_b",
        ),
    ],
)
def test_bad_turns_in_a_script_fail_in_one_line(script: object, line: str) -> None:
    """Also those that contradict what the speakers say of themselves."""
    assert line in refusal(script)
