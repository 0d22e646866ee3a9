"""Scripts of scenes for tests, and how they are read or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from client.errors import UsageError
from client.scene.files import files_beside
from client.scene.scene import Scene
from client.scene.script import parse_script

ANN = {"name": "ann", "voice": "ann.wav", "face": "left"}
BOB = {"name": "bob", "voice": "bob.wav", "face": "right"}
TURNS = [
    {"speaker": "ann", "start": 0, "end": 2},
    {"speaker": "eve", "start": 2, "end": 5},
    {"speaker": "ann", "start": 1.5, "end": 3},
]
WHOLE: dict[str, Any] = {
    "$schema": "https://example.org/scene.schema.json",
    "voice": {"file": "both.wav", "channel": "right", "start": 1, "end": 61.5, "offset": -0.5},
    "speakers": [
        {
            "name": "ann",
            "voice": "ann.wav",
            "face": "left",
            "segments": [
                {"start": 0, "end": 4},
                {"start": 6.5, "end": 8, "face": 2, "options": {"guidance": 2.5}},
                {"start": 9, "face": [10, 20.5, 110, 140]},
            ],
            "options": {"model": "latentsync", "in_silence": "keep"},
        },
        {"name": "bob", "voice": {"file": "/far/bob.wav", "channel": 3}, "face": [640, 210]},
        {
            "name": "eve",
            "face": "10,20,110,140",
            "segments": [{"start": 2}],
            "options": {"model": "wav2lip", "pads": "0,1,2,3"},
        },
        {"name": "narrator", "face": None},
    ],
    "unchanged": [[20, 30], [28, 31.5], [60, None]],
}


def scene_of(document: object) -> Scene:
    """Read a script that lies in /film."""
    return parse_script(json.dumps(document).encode(), "scene.json", files_beside(Path("/film/scene.json")))


def refusal(document: object) -> str:
    """Return the one line in which a script is refused."""
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(UsageError) as caught:
        parse_script(content, "scene.json", files_beside(Path("/film/scene.json")))
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    return line
