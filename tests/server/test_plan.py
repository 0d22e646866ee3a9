from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from client.active.speakers import ActiveSpeakers
from client.cli.commands import choose_command
from client.errors import OutputError, UsageError
from client.media import VideoSource
from client.options import read_each
from client.scene.contact_sheet import MOST_FRAMES, chosen_frames, contact_sheet
from client.scene.plan import LEAVE, SYNC, Turn, boxes_of, make_plan
from client.scene.scene import Scene, Segment, Speaker, TimeSpan, Voice
from client.tracking.faces import FaceChoice
from lipsync_core.serving.server import EmbeddedServer
from perf.speakers.clips import read_clip
from perf.speakers.scenes import BESIDE, compose, write_scene
from tests.server.clips import write_wave
from tests.server.test_active_speakers import analyse

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def dialogue(media_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people side by side who speak in turn."""
    if not (media_dir / "grid").is_dir():
        pytest.skip(f"no grid/ in {media_dir}")
    people = [
        [read_clip(path) for path in sorted((media_dir / "grid" / name).glob("*.mpg"))[:1]] for name in ("s26", "s30")
    ]
    scene = compose(BESIDE, people, 2, np.random.default_rng(3))
    return write_scene(scene, tmp_path_factory.mktemp("plan") / "dialogue.mkv")


@pytest.fixture(scope="module")
def active(server: EmbeddedServer, dialogue: Path) -> ActiveSpeakers:
    return analyse(server, VideoSource(dialogue), [[TimeSpan(0.0)]], FaceChoice("left"))


def run_plan(server: EmbeddedServer, *arguments: object) -> int:
    command, rest = choose_command(["plan", "--url", server.url, "--quiet", *map(str, arguments)])
    return command.run(rest)


def test_plan_prints_a_timeline_and_writes_script_and_sheet(
    server: EmbeddedServer, dialogue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The new voice goes from one person to the other one; the script says so by boxes; the sheet is a picture."""
    script, sheet = tmp_path / "scene.json", tmp_path / "sheet.png"
    given = ["--video", dialogue, "--audio", dialogue, "--face", "auto", "--output-script", script]
    assert run_plan(server, *given, "--contact-sheet", sheet, "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    synced = [entry for entry in plan["timeline"] if entry["action"] == SYNC]
    assert [entry["person"] for entry in synced][:1] != [entry["person"] for entry in synced][-1:]
    assert all(entry["confidence"] is None or 0.5 < entry["confidence"] <= 1 for entry in synced)
    assert plan["expected_s"] > 0
    (speaker,) = json.loads(script.read_text())["speakers"]
    boxes = [segment["face"] for segment in speaker["segments"] if "face" in segment]
    assert boxes[0][0] < 360 < boxes[-1][0]
    picture = cv2.imdecode(np.frombuffer(sheet.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[1] > 320
    assert not (tmp_path / "plan.mp4").exists()


def test_plan_tells_why_pictures_are_left(active: ActiveSpeakers, dialogue: Path) -> None:
    """Narrators, spans to leave alone and voices longer than the video have entries of their own."""
    voice = Voice(dialogue)
    scene = Scene(
        (
            Speaker("ann", voice, FaceChoice("left"), (Segment(TimeSpan(0.0, 2.0)),)),
            Speaker("Zoë", voice, FaceChoice("auto"), (Segment(TimeSpan(0.0, 100.0)),)),
            Speaker("narrator", voice, None, (Segment(TimeSpan(1.0, 2.0)),)),
        ),
        (TimeSpan(1.0, 1.5),),
    )
    faces = (active.others[0], boxes_of(active.faces[0], active), None)
    turns = [
        [Turn(segment.span, speaker.face, boxes) for segment in speaker.segments]
        for speaker, boxes in zip(scene.speakers, faces, strict=True)
    ]
    plan = make_plan(scene, turns, active, None)
    whys = {(entry.speaker, entry.action, entry.why) for entry in plan.entries}
    assert ("ann", LEAVE, "in a span to leave alone") in whys
    assert ("ann", SYNC, "the face left") in whys
    assert ("narrator", LEAVE, "heard, without a face") in whys
    assert ("Zoë", SYNC, "the video has ended, and is shown again") in whys
    assert plan.script["unchanged"] == [[1.0, 1.5]]
    assert plan.script["speakers"][0]["face"][0] < 360
    assert plan.script["speakers"][2]["face"] is None
    assert "expected time: unknown for this model" in plan.summary()
    assert "who speaks was found by the motion of the lips" in plan.summary().splitlines()
    assert plan.as_dict()["speaking"] == "lips"
    assert len(chosen_frames(plan)) <= MOST_FRAMES
    assert contact_sheet(plan, VideoSource(dialogue), ("ann", "Zoë", "narrator")).startswith(b"\x89PNG")


def test_plan_fails_where_a_file_cannot_be_written(server: EmbeddedServer, dialogue: Path, tmp_path: Path) -> None:
    """A folder that does not exist is named."""
    silent = write_wave(tmp_path / "silent.wav", np.zeros(16_000, np.float32))
    with pytest.raises(OutputError, match=r"scene\.json: expected an existing folder"):
        run_plan(server, "--video", dialogue, "--audio", silent, "--output-script", tmp_path / "gone" / "scene.json")


@pytest.mark.parametrize("option", ["--output-script", "--contact-sheet"])
def test_plan_fails_rather_than_replace_its_inputs(
    server: EmbeddedServer, dialogue: Path, tmp_path: Path, option: str
) -> None:
    """Neither the video nor the script is overwritten."""
    script = tmp_path / "scene.json"
    script.write_text(json.dumps({"speakers": [{"name": "ann", "voice": str(dialogue)}]}))
    for path in (dialogue, script):
        before = path.read_bytes()
        with pytest.raises(OutputError, match="expected a new file, got one of the inputs"):
            run_plan(server, "--video", dialogue, "--script", script, option, path)
        assert path.read_bytes() == before


def test_plan_fails_for_places_and_times_outside_the_video(
    server: EmbeddedServer, dialogue: Path, tmp_path: Path
) -> None:
    """What a job would refuse, a plan refuses."""
    script = tmp_path / "scene.json"
    speaker = {"name": "ann", "voice": str(dialogue), "face": [9000, 10]}
    script.write_text(json.dumps({"speakers": [speaker]}))
    with pytest.raises(UsageError, match="expected a point in the picture"):
        run_plan(server, "--video", dialogue, "--script", script)
    with pytest.raises(UsageError, match="expected times before the end"):
        run_plan(server, "--video", dialogue, "--audio", dialogue, "--sync-only", "900-")


def test_plan_keeps_the_options_of_speakers_and_segments(active: ActiveSpeakers, dialogue: Path) -> None:
    """The written script says them as the script did from which it was planned."""
    strong, weak = read_each({"strength": 1.4}), read_each({"strength": 0.6})
    segments = (Segment(TimeSpan(0.0, 1.0)), Segment(TimeSpan(1.0, 2.0), options=weak))
    for face, boxes in (("left", active.others[0]), ("auto", boxes_of(active.faces[0], active))):
        speaker = Speaker("ann", Voice(dialogue), FaceChoice(face), segments, strong)  # type: ignore[arg-type]
        turns = [Turn(segment.span, speaker.face, boxes, segment.options) for segment in segments]
        (written,) = make_plan(Scene((speaker,)), [turns], active, None).script["speakers"]
        assert written["options"] == {"strength": 1.4}
        late = [segment for segment in written["segments"] if segment["start"] >= 1]
        assert late
        assert all(segment["options"] == {"strength": 0.6} for segment in late)
