"""docs/speakers.md: its examples are read, and what it says twice is the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from client.scene import limits
from client.scene.diarization import parse_rttm
from client.scene.schema import scene_schema
from client.scene.script import read_script
from client.scene.speaker_boxes import parse_speaker_boxes
from tests.conftest import ROOT
from tests.scene_scripts import refusal

PAGE = (ROOT / "docs" / "speakers.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(json|rttm)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
KEY = re.compile(r"`([a-z_]+)`")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files that the examples name."""
    for kind, text in BLOCK.findall(PAGE):
        if kind == "rttm":
            (tmp_path / "talk.rttm").write_text(text)
        elif "frames" in json.loads(text):
            (tmp_path / "boxes.json").write_text(text)
    return tmp_path


def test_examples_are_read(folder: Path) -> None:
    """Each script is a scene, and the other files are what they are said to be."""
    scenes = []
    for kind, text in BLOCK.findall(PAGE):
        if kind == "rttm":
            assert len(parse_rttm(text, "talk.rttm")) == 2
        elif "frames" in json.loads(text):
            assert list(parse_speaker_boxes(json.loads(text), "boxes.json")) == ["0"]
        else:
            (folder / "scene.json").write_text(text)
            scenes.append(read_script(folder / "scene.json"))
    assert [len(scene.speakers) for scene in scenes] == [2, 3, 2, 2, 1]


def test_every_key_is_explained() -> None:
    """In a row of a table, where it is the first cell."""
    rows = {key for row in re.findall(r"^\| ([^|]+) \|", PAGE, re.MULTILINE) for key in KEY.findall(row)}
    objects = [scene_schema(), *scene_schema()["$defs"].values()]
    keys = {key for rule in objects for key in rule.get("properties", ())} - {"$schema", "speaker"}
    assert keys - set(scene_schema()["$defs"]["options"]["properties"]) <= rows


def test_limits_are_those_of_the_code() -> None:
    """Where the page names them."""
    said = PAGE.rpartition("## Limits")[2]
    for number in (limits.MAX_SEGMENTS, limits.MAX_SPEAKERS, limits.MAX_BOX_FRAMES):
        assert f"{number:,}" in said
    for size in (limits.MAX_SCRIPT_BYTES, limits.MAX_BOXES_BYTES):
        assert f"{size // 1_000_000} MB" in said


def test_the_message_is_the_clients() -> None:
    """The page shows one."""
    segments = [{"start": i, "end": i + 1} for i in range(3)]
    speakers = [
        {"name": "a", "voice": "a"},
        {"name": "b", "voice": "b", "segments": [*segments, {"start": 4, "end": 2}]},
    ]
    assert f"lipsync: {refusal({'speakers': speakers})}\n" in PAGE
