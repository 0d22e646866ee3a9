from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.errors import UsageError
from client.scene.scene import Scene, Voice
from client.scene.script import read_script
from client.scene.speaker_boxes import parse_speaker_boxes
from client.tracking.face_boxes import FaceBoxes
from client.tracking.faces import Face


def speaker(number: int, *, speaks: bool, x: float = 10) -> dict[str, Any]:
    return {"bbox": [x, 20, 30, 40.5], "speaker_id": number, "is_speaking": speaks}


DATA: dict[str, Any] = {
    "frames": [
        {"speakers": [speaker(1, speaks=False), speaker(2, speaks=True, x=200)]},
        {"speakers": [speaker(1, speaks=True), speaker(2, speaks=True, x=201)], "bypass": False},
        {"speakers": [speaker(1, speaks=True)], "bypass": True},
        {},
        {"speakers": [speaker(2, speaks=False), speaker(3, speaks=False)]},
        {"speakers": [speaker(1, speaks=True, x=12)]},
    ],
    "fps": 25,
}


def script(folder: Path, **fields: object) -> Scene:
    """Read a script that names the boxes."""
    (folder / "boxes.json").write_text(json.dumps(DATA))
    (folder / "scene.json").write_text(json.dumps({"speaker_boxes": "boxes.json", **fields}))
    return read_script(folder / "scene.json")


def test_frames_with_a_speaking_speaker_are_taken() -> None:
    """By speaker and number of the frame; not those that are bypassed, and nobody who never speaks."""
    found = parse_speaker_boxes(DATA, "boxes.json")
    assert {name: list(face.boxes) for name, face in found.items()} == {"1": [1, 5], "2": [0, 1]}
    np.testing.assert_array_equal(found["2"].boxes[0], np.array([200, 20, 230, 60.5], np.float32))
    face = Face(np.array([12, 22, 44, 60], np.float32), 0.9)
    assert found["1"].pick(1, [face]) is face
    assert found["1"].pick(2, [face]) is None


def test_a_script_gives_the_speakers_voices(tmp_path: Path) -> None:
    """One for all, or each a voice and options of its own by its number."""
    one, two = script(tmp_path, voice="talk.wav").speakers
    assert (one.name, two.name) == ("1", "2")
    assert one.voice == two.voice == Voice(tmp_path / "talk.wav")
    assert isinstance(one.face, FaceBoxes)
    listed = [{"name": "2", "voice": "bob.wav"}, {"name": "1", "voice": "ann.wav", "options": {"strength": 1.2}}]
    first, second = script(tmp_path, speakers=listed).speakers
    assert (first.name, second.name) == ("2", "1")
    assert first.voice == Voice(tmp_path / "bob.wav")
    assert isinstance(second.face, FaceBoxes)
    assert list(second.face.boxes) == [1, 5]


@pytest.mark.parametrize(
    ("speakers", "line"),
    [
        (
            [{"name": "1", "face": "left"}],
            'speakers[0].face: expected no face beside speaker_boxes, which says so of "1"',
        ),
        ([{"name": "3"}], 'speakers[0].name: expected a speaker of speaker_boxes ("1", "2"), got "3"'),
    ],
)
def test_speakers_that_the_boxes_contradict_fail(tmp_path: Path, speakers: list[object], line: str) -> None:
    """Those who never speak have no boxes."""
    with pytest.raises(UsageError) as caught:
        script(tmp_path, voice="talk.wav", speakers=speakers)
    assert line in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ((), [], "boxes.json: expected an object with frames, got []"),
        (("frames",), None, "frames: expected a list of 1 to 1000000 frames, got null"),
        (("frames",), [], "frames: expected a list of 1 to 1000000 frames, got []"),
        (
            ("frames",),
            [{}],
            "frames: expected somebody with is_speaking true in a frame without bypass, got nobody in 1 fr",
        ),
        (("frames", 3), [], "frames[3]: expected an object with speakers, bypass, got []"),
        (("frames", 3, "speakers"), {}, "frames[3].speakers: expected a list of speakers, got {}"),
        (
            ("frames", 3, "bypas"),
            True,
            "frames[3].bypas: expected one of speakers, bypass, got an unknown key. Did you mean by",
        ),
        (("frames", 3, "bypass"), 1, "frames[3].bypass: expected true or false, got 1"),
        (
            ("frames", 1, "speakers", 1),
            7,
            "frames[1].speakers[1]: expected an object with bbox, speaker_id, is_speaking, got",
        ),
        (
            ("frames", 1, "speakers", 1, "is_speaking"),
            "no",
            "frames[1].speakers[1].is_speaking: expected true or false, got",
        ),
        (
            ("frames", 1, "speakers", 1, "speaker_id"),
            1.5,
            "frames[1].speakers[1].speaker_id: expected a whole number of 32",
        ),
        (
            ("frames", 1, "speakers", 1, "speaker_id"),
            True,
            "frames[1].speakers[1].speaker_id: expected a whole number of 3",
        ),
        (
            ("frames", 1, "speakers", 1, "speaker_id"),
            2**31,
            "frames[1].speakers[1].speaker_id: expected a whole number of",
        ),
        (
            ("frames", 1, "speakers", 1, "speaker_id"),
            1,
            "frames[1].speakers[1].speaker_id: expected another number than those of the same frame, got 1",
        ),
        (
            ("frames", 1, "speakers", 0, "bbox"),
            [1, 2, 3],
            "frames[1].speakers[0].bbox: expected [x, y, width, height], four",
        ),
        (
            ("frames", 1, "speakers", 0, "bbox"),
            [1, 2, 3, "4"],
            "frames[1].speakers[0].bbox: expected [x, y, width, height]",
        ),
        (
            ("frames", 1, "speakers", 0, "bbox"),
            [1, 2, 3, 10**400],
            "frames[1].speakers[0].bbox: expected [x, y, width, heig",
        ),
        (
            ("frames", 0, "speakers", 0, "bbox"),
            [1, 2, 0, 4],
            "frames[0].speakers[0].bbox: expected [x, y, width, height] with a width and a height above 0, got [1, 2,",
        ),
    ],
)
def test_bad_boxes_fail_in_one_line(path: tuple[str | int, ...], value: object, line: str) -> None:
    """Everything is checked, also of those who do not speak, and the place is named."""
    document: Any = copy.deepcopy(DATA)
    if path:
        holder = document
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = value
    else:
        document = value
    with pytest.raises(UsageError) as caught:
        parse_speaker_boxes(document, "boxes.json")
    assert line in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_missing_keys_fail() -> None:
    """Their place is named as if they were there."""
    document = copy.deepcopy(DATA)
    del document["frames"][0]["speakers"][1]["speaker_id"]
    with pytest.raises(
        UsageError, match=r"frames\[0\]\.speakers\[1\]\.speaker_id: expected bbox, speaker_id, is_speaking,"
    ):
        parse_speaker_boxes(document, "boxes.json")


def test_an_hour_of_boxes_is_read_fast() -> None:
    """Two people in 90,000 frames."""
    frame = {"speakers": [speaker(1, speaks=True), speaker(2, speaks=False)]}
    started = time.process_time()
    (found,) = parse_speaker_boxes({"frames": [frame] * 90_000}, "boxes.json").values()
    assert time.process_time() - started < 8  # about 0.7 s on a free core
    assert len(found.boxes) == 90_000
