from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from client.options import MODEL
from client.pipelines.latentsync import GUIDANCE
from client.pipelines.wav2lip import PADS
from client.scene.scene import Scene, Segment, Speaker, TimeSpan, Voice
from client.scene.script import parse_script
from client.tracking.faces import FaceChoice
from lipsync_core.wav2lip.boxes import Pads
from tests.scene_scripts import ANN, BOB, TURNS, WHOLE, scene_of


def test_the_least_script_names_voices_and_faces() -> None:
    """Files are beside the script; without segments speakers speak from 0 s on."""
    assert scene_of({"speakers": [ANN, BOB]}) == Scene(
        (
            Speaker("ann", Voice(Path("/film/ann.wav")), FaceChoice("left")),
            Speaker("bob", Voice(Path("/film/bob.wav")), FaceChoice("right")),
        )
    )


def test_every_key_is_read() -> None:
    """Each lands in its field; spans that are left alone are joined."""
    scene = scene_of(WHOLE)
    ann, bob, eve, narrator = scene.speakers
    assert ann.segments[0] == Segment(TimeSpan(0, 4))
    assert ann.segments[1].face == FaceChoice("index", index=2)
    assert ann.segments[1].options[GUIDANCE] == 2.5
    assert ann.segments[2] == Segment(TimeSpan(9), FaceChoice("box", box=(10, 20.5, 110, 140)))
    assert ann.options[MODEL] == "latentsync"
    assert (bob.voice, bob.face) == (Voice(Path("/far/bob.wav"), 3), FaceChoice("point", point=(640, 210)))
    assert eve.voice == narrator.voice == Voice(Path("/film/both.wav"), 1, 1, 61.5, -0.5)
    assert eve.face == FaceChoice("box", box=(10, 20, 110, 140))
    assert eve.options[PADS] == Pads(0, 1, 2, 3)
    assert narrator.face is None
    assert scene.unchanged == (TimeSpan(20, 31.5), TimeSpan(60))


@pytest.mark.parametrize(
    ("face", "choice"),
    [
        ("auto", FaceChoice("auto")),
        ("largest", FaceChoice()),
        (0, FaceChoice("index", index=0)),
        (2.0, FaceChoice("index", index=2)),
        ("1", FaceChoice("index", index=1)),
        ("3,4", FaceChoice("point", point=(3, 4))),
        ([3, 4.5], FaceChoice("point", point=(3, 4.5))),
    ],
)
def test_faces_are_written_in_several_ways(face: object, choice: FaceChoice) -> None:
    """As texts, as on the command line, or as numbers."""
    assert scene_of({"speakers": [{**ANN, "face": face}]}).speakers[0].face == choice


def test_a_missing_face_is_the_largest_or_found_by_speech() -> None:
    """The largest for the only speaker; with several it is whoever speaks in the source."""
    ann, bob = {"name": "ann", "voice": "a"}, {"name": "bob", "voice": "b"}
    assert scene_of({"speakers": [ann]}).speakers[0].face == FaceChoice("largest")
    assert [speaker.face.rule for speaker in scene_of({"speakers": [ann, bob]}).speakers] == ["auto", "auto"]  # type: ignore[union-attr]
    assert scene_of({"speakers": [ann, {**bob, "face": "none"}]}).speakers[1].face is None


def test_a_byte_order_mark_is_skipped() -> None:
    """Some editors write one."""
    content = b"\xef\xbb\xbf" + json.dumps({"speakers": [ANN]}).encode()
    assert parse_script(content, "scene.json", Path).speakers[0].voice.path == Path("ann.wav")


def test_ten_thousand_segments_are_read_fast() -> None:
    """With faces and options of their own; the checks do not grow with the square of their number."""
    segments = [{"start": i, "end": i + 1, "face": i % 7, "options": {"strength": 1}} for i in range(5000)]
    others = [{"start": i, "end": i + 1, "face": i % 7 + 7} for i in range(5000)]
    content = json.dumps({"speakers": [{**ANN, "segments": segments}, {**BOB, "segments": others}]}).encode()
    started = time.process_time()
    scene = parse_script(content, "scene.json", Path)
    assert time.process_time() - started < 5  # about 0.7 s on a free core
    assert sum(len(speaker.segments) for speaker in scene.speakers) == 10_000


def test_a_face_may_pass_from_speaker_to_speaker() -> None:
    """One after the other; `auto` is found anew at each time, and narrators have none."""
    first, second = [{"start": 0, "end": 4}, {"start": 6}], [{"start": 4, "end": 6}]
    scene_of({"speakers": [{**ANN, "segments": first}, {**BOB, "face": "left", "segments": second}]})
    scene_of(
        {"speakers": [{**ANN, "face": "auto"}, {**BOB, "face": "auto"}, {"name": "eve", "voice": "e", "face": None}]}
    )


def test_turns_of_a_script_are_those_of_its_voice() -> None:
    """Listed speakers keep their faces, others get those who speak in the source; overlaps of one are joined."""
    script = {"voice": "talk.wav", "speakers": [{"name": "ann", "face": "left"}], "diarization": TURNS}
    ann, eve = scene_of(script).speakers
    assert (ann.face, eve.face) == (FaceChoice("left"), FaceChoice("auto"))
    assert [segment.span for segment in ann.segments] == [TimeSpan(0, 3)]
    assert [segment.span for segment in eve.segments] == [TimeSpan(2, 5)]
    assert {ann.voice, eve.voice} == {Voice(Path("/film/talk.wav"))}


def test_turns_move_with_the_part_of_the_voice() -> None:
    """They are times of the file; a part of it that starts later in the result takes its turns along."""
    voice = {"file": "talk.wav", "start": 1, "end": 4, "offset": 10}
    ann, eve = scene_of({"voice": voice, "diarization": TURNS}).speakers
    assert [segment.span for segment in ann.segments] == [TimeSpan(10, 12)]
    assert [segment.span for segment in eve.segments] == [TimeSpan(11, 13)]
    (only,) = scene_of({"voice": {**voice, "start": 3, "offset": -0.5}, "diarization": TURNS}).speakers
    assert (only.name, [segment.span for segment in only.segments]) == ("eve", [TimeSpan(0, 0.5)])
