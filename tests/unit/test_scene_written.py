from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from client.scene.checking import check_document
from client.scene.scene import Scene, Speaker, Voice
from client.scene.written import digest, scene_as_json, scene_from_json, speaker_facts
from client.tracking.face_boxes import FaceBoxes
from tests.scene_scripts import ANN, BOB, WHOLE, scene_of


def test_written_scenes_are_scripts() -> None:
    """Another process reads the same scene again, and people may edit what was written."""
    scene = scene_of(WHOLE)
    written = json.loads(json.dumps(scene_as_json(scene)))
    check_document(written, "written")
    assert scene_from_json(written) == scene
    assert scene_of(written) == scene


def test_boxes_of_frames_are_written() -> None:
    """They have no place in a script, but in what another process is told."""
    boxes = FaceBoxes({3: np.array([1.5, 2, 3, 4.1], np.float32), 9: np.array([0, 0, 5, 5], np.float32)})
    scene = Scene((Speaker("1", Voice(Path("/a")), boxes),))
    (speaker,) = scene_from_json(json.loads(json.dumps(scene_as_json(scene)))).speakers
    assert isinstance(speaker.face, FaceBoxes)
    assert list(speaker.face.boxes) == [3, 9]
    for frame, box in boxes.boxes.items():
        np.testing.assert_array_equal(speaker.face.boxes[frame], box)
        assert speaker.face.boxes[frame].dtype == np.float32


def test_facts_name_the_speaker_that_differs() -> None:
    """Whatever changes in a script shows, but not where the files lie."""
    before = speaker_facts(scene_of({"speakers": [ANN, BOB], "unchanged": [[1, 2]]}))

    def changed(document: object) -> set[str]:
        now = speaker_facts(scene_of(document))
        return {name for name in {*before, *now} if before.get(name) != now.get(name)}

    bob = {**BOB, "segments": [{"start": 0}]}
    assert changed({"speakers": [{**ANN, "voice": "moved/ann.wav"}, BOB], "unchanged": [[1, 2]]}) == set()
    assert changed({"speakers": [ANN, bob], "unchanged": [[1, 2]]}) == {"speaker bob"}
    assert changed({"speakers": [BOB, ANN], "unchanged": [[1, 2]]}) == {"the order of the speakers"}
    assert changed({"speakers": [ANN, BOB]}) == {"the unchanged spans"}
    assert len(digest(["x"])) == 32
