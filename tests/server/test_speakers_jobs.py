"""Whole jobs with several speakers: whose mouth is changed when, and which pixels are nobody's."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from client.job import Job
from client.job_files import JobFiles, job_of
from client.report import Report
from client.servers.connection import TritonConnection
from lipsync_core.serving.server import EmbeddedServer
from tests.server.clips import SIDE, SPEECH, empty_frame, read_planes
from tests.server.jobs import job_runner
from tests.server.resuming import interrupt, run
from tests.server.scenes import crossing, person, shots, side_by_side, write_scene

pytestmark = pytest.mark.server
RunScene = Callable[..., Report]
FPS = 25
LOSSLESS = {"lossless": True, "if_audio_longer": "cut"}


def scene_runner(server: EmbeddedServer, folder: Path) -> RunScene:
    """Make a function that runs a script, or files beside an audio, and writes folder/out.mkv."""

    def run(
        video: Path,
        script: Mapping[str, object] | None = None,
        files: Mapping[str, Path] | None = None,
        **options: object,
    ) -> Report:
        named = dict(files or {})
        if script is not None:
            named["script"] = folder / "scene.json"
            named["script"].write_text(json.dumps(script))
        job_options = job_of(JobFiles(folder / "out.mkv", video, **named), {**LOSSLESS, **options})
        with Job(job_options) as job, TritonConnection(server.url) as connection:
            return job.run(connection)

    return run


@pytest.fixture
def run_scene(server: EmbeddedServer, tmp_path: Path) -> RunScene:
    """Run scenes through the shared server."""
    return scene_runner(server, tmp_path)


@pytest.fixture(scope="module")
def row(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of three people beside each other."""
    return write_scene(tmp_path_factory.mktemp("scenes") / "row.mp4", side_by_side(["ann", "bob", "cat"], 50))


def changes(video: Path, output: Path, first: int = 0, end: int = SIDE) -> np.ndarray:
    """Return whether any luma sample differs between some columns, bool [F]."""
    pairs = zip(read_planes(video), read_planes(output), strict=True)
    return np.array([(a[:SIDE, first:end] != b[:SIDE, first:end]).any() for a, b in pairs])


def changed_places(video: Path, output: Path, people: int) -> np.ndarray:
    """Return whose part of the picture is changed, bool [people, F]."""
    return np.stack([changes(video, output, SIDE * place, SIDE * (place + 1)) for place in range(people)])


def test_speakers_say_two_voices_at_once(run_scene: RunScene, row: Path, tmp_path: Path) -> None:
    """Both faces are changed in all frames, and no sample of the third person or of their own foreheads is."""
    voice = str(SPEECH)
    later = {"file": voice, "start": 0.5}
    report = run_scene(
        row,
        {"speakers": [{"name": "ann", "voice": voice, "face": "left"}, {"name": "bob", "voice": later, "face": 1}]},
    )
    assert changed_places(row, tmp_path / "out.mkv", 3).all(axis=1).tolist() == [True, True, False]
    assert not changed_places(row, tmp_path / "out.mkv", 3)[2].any()
    for before, after in zip(read_planes(row), read_planes(tmp_path / "out.mkv"), strict=True):
        np.testing.assert_array_equal(before[: SIDE // 3], after[: SIDE // 3])
    assert [(speaker.name, speaker.frames_synced, speaker.unchanged) for speaker in report.speakers] == [
        ("ann", 50, {}),
        ("bob", 50, {}),
    ]
    assert report.sound


@pytest.mark.long
def test_speakers_of_a_diarization_take_turns(run_scene: RunScene, row: Path, tmp_path: Path) -> None:
    """Spans of one recording go to two faces; outside its spans a face keeps every sample."""
    turns = "SPEAKER talk 1 0.00 1.00 <NA> <NA> a <NA> <NA>\nSPEAKER talk 1 1.00 1.00 <NA> <NA> b <NA> <NA>\n"
    (tmp_path / "talk.rttm").write_text(turns)
    speakers = [{"name": "a", "face": "right"}, {"name": "b", "face": 1}]
    report = run_scene(row, {"voice": str(SPEECH), "diarization": "talk.rttm", "speakers": speakers})
    changed = changed_places(row, tmp_path / "out.mkv", 3)
    assert not changed[0].any()
    assert not changed[1][:25].any()
    assert changed[1][28:47].all()
    assert changed[2][3:22].all()
    assert not changed[2][25:].any()
    assert report.speakers[0].unchanged["not_speaking"].frames >= 25
    assert report.sound == []  # one recording is copied as it is


@pytest.mark.long
def test_speakers_by_boxes_leave_bypassed_frames_alone(run_scene: RunScene, row: Path, tmp_path: Path) -> None:
    """NVIDIA's speaker data: faces by box, who speaks by frame, and frames that are bypassed."""
    boxes = {0: [80, 70, 100, 100], 1: [338, 70, 100, 100]}
    frames = []
    for i in range(50):
        speakers = [
            {"bbox": box, "speaker_id": number, "is_speaking": (i < 30) == (number == 1)}
            for number, box in boxes.items()
        ]
        frames.append({"speakers": speakers, "bypass": 10 <= i < 20})
    (tmp_path / "boxes.json").write_text(json.dumps({"frames": frames}))
    report = run_scene(row, files={"audio": SPEECH, "speaker_boxes": tmp_path / "boxes.json"})
    changed = changed_places(row, tmp_path / "out.mkv", 3)
    assert np.flatnonzero(changed[0]).tolist() == list(range(30, 50))
    assert np.flatnonzero(changed[1]).tolist() == [*range(10), *range(20, 30)]
    assert not changed[2].any()
    assert {speaker.name: speaker.frames_synced for speaker in report.speakers} == {"0": 20, "1": 20}


@pytest.mark.long
def test_speakers_who_cross_keep_their_voices(run_scene: RunScene, tmp_path: Path) -> None:
    """Ann is changed on her way from left to right, bob, behind her, on his way from right to left while he speaks."""
    video = write_scene(tmp_path / "crossing.mp4", crossing(130))
    speakers = [
        {"name": "ann", "voice": str(SPEECH), "face": "left"},
        {"name": "bob", "voice": str(SPEECH), "face": "right", "segments": [{"start": 0, "end": 0.16}, {"start": 4.4}]},
    ]
    report = run_scene(video, {"speakers": speakers}, if_audio_longer="cut", in_silence="model")
    before, after = changes(video, tmp_path / "out.mkv", 0, 256), changes(video, tmp_path / "out.mkv", 512, 768)
    assert before[:10].all()
    assert not before[100:109].any()  # bob is there now, in silence
    assert before[114:].all()
    assert not after[5:30].any()
    assert after[120:128].all()
    assert report.speakers[0].frames_synced > 120


@pytest.mark.long
def test_speakers_in_shot_and_reverse_shot(run_scene: RunScene, tmp_path: Path) -> None:
    """Each person is changed in the own shots while speaking, and left alone while the other one speaks."""
    video = write_scene(tmp_path / "shots.mp4", shots(["ann", "bob", "ann", "bob"], 25))
    spans = {"ann": [(0, 1), (2, 2.5)], "bob": [(1, 2), (3, 4)]}
    speakers = [
        {
            "name": name,
            "voice": str(SPEECH),
            "face": "largest",
            "segments": [{"start": start, "end": end} for start, end in own],
        }
        for name, own in spans.items()
    ]
    report = run_scene(video, {"speakers": speakers}, in_silence="model")
    changed = changes(video, tmp_path / "out.mkv")
    spoken = [range(2, 23), range(27, 48), range(52, 60), range(77, 98)]
    assert all(changed[list(frames)].all() for frames in spoken)
    assert not changed[63:75].any()
    assert {speaker.name: speaker.frames_synced > 30 for speaker in report.speakers} == {"ann": True, "bob": True}


@pytest.mark.long
def test_speakers_and_a_narrator_without_a_face(run_scene: RunScene, row: Path, tmp_path: Path) -> None:
    """Three people speak in turn; the narrator is heard alone, and nobody's mouth follows."""
    turns = {"ann": ("left", 0, 0.5), "bob": (1, 0.5, 1), "cat": ("right", 1, 1.5)}
    speakers: list[dict[str, object]] = [
        {"name": name, "voice": str(SPEECH), "face": face, "segments": [{"start": start, "end": end}]}
        for name, (face, start, end) in turns.items()
    ]
    narrator = {"name": "narrator", "voice": str(SPEECH), "face": None, "segments": [{"start": 1.5}]}
    report = run_scene(row, {"speakers": [*speakers, narrator]}, in_silence="model")
    changed = changed_places(row, tmp_path / "out.mkv", 3)
    for place in range(3):
        first, end = 12 * place + (place > 0), 12 * place + 13
        assert changed[place][first + 4 : end - 4].all()
        assert not changed[place][: max(first - 1, 0)].any()
        assert not changed[place][end + 1 :].any()
    assert not changed[:, 38:].any()
    assert report.speakers[3].frames_synced == 0
    assert set(report.speakers[3].unchanged) == {"no_face"}


@pytest.mark.long
def test_speakers_alone_give_the_bytes_of_a_job_without_a_script(
    run_scene: RunScene, server: EmbeddedServer, row: Path, tmp_path: Path
) -> None:
    """A script of one speaker is another way to write the simple job."""
    run_scene(row, {"speakers": [{"name": "ann", "voice": str(SPEECH)}]})
    job_runner(server)(row, SPEECH, tmp_path / "simple.mkv", **LOSSLESS)
    assert (tmp_path / "out.mkv").read_bytes() == (tmp_path / "simple.mkv").read_bytes()


@pytest.mark.long
def test_speakers_keep_parts_of_a_video(run_scene: RunScene, row: Path, tmp_path: Path) -> None:
    """Outside --sync-only every sample of the picture stays, in frames with a face and without."""
    report = run_scene(row, files={"audio": SPEECH, "diarization": _turns(tmp_path)}, sync_only="0.4-1.2")
    changed = changed_places(row, tmp_path / "out.mkv", 3).any(axis=0)
    assert not changed[:10].any()
    assert changed[14:26].all()
    assert not changed[30:].any()
    assert report.unchanged["left_alone"].frames == 30


def _turns(folder: Path) -> Path:
    path = folder / "one.rttm"
    path.write_text("SPEAKER talk 1 0.00 9.00 <NA> <NA> a <NA> <NA>\n")
    return path


@pytest.mark.long
def test_speakers_whose_face_is_missing_are_reported(run_scene: RunScene, tmp_path: Path) -> None:
    """Frames are counted for each speaker by reason; the others go on."""
    frames = [np.concatenate([person("ann"), person("bob") if i < 12 else empty_frame()], axis=1) for i in range(25)]
    video = write_scene(tmp_path / "leaving.mp4", frames)
    speakers = [
        {"name": "ann", "voice": str(SPEECH), "face": "left"},
        {"name": "bob", "voice": str(SPEECH), "face": "right"},
    ]
    report = run_scene(video, {"speakers": speakers}, in_silence="model")
    assert report.speakers[0].frames_synced == 25
    assert report.speakers[1].frames_synced == 12
    assert report.speakers[1].unchanged["no_face"].frames == 13


@pytest.mark.long
def test_speakers_whom_no_frame_shows_are_warned_of(run_scene: RunScene, row: Path) -> None:
    """A third person among two and a narrator: the job goes on, and names the one who should have a face."""
    speakers = [
        {"name": "ann", "voice": str(SPEECH), "face": "left"},
        {"name": "dan", "voice": str(SPEECH), "face": 5},
        {"name": "narrator", "voice": str(SPEECH), "face": None},
    ]
    report = run_scene(row, {"speakers": speakers}, in_silence="model")
    assert report.warnings == ["dan: nothing was lip-synced, as no frame shows this speaker's face"]


@pytest.mark.long
def test_speakers_go_on_after_an_interruption(server: EmbeddedServer, tmp_path: Path) -> None:
    """A scene that was interrupted behind a cut continues to the file of an undisturbed run."""
    video = write_scene(tmp_path / "shots.mp4", shots(["ann", "bob", "ann"], 16))
    speakers = [
        {
            "name": name,
            "voice": str(SPEECH),
            "face": "largest",
            "segments": [{"start": start, "end": end} for start, end in spans],
        }
        for name, spans in {"ann": [(0, 0.64), (1.28, 1.92)], "bob": [(0.64, 1.28)]}.items()
    ]
    (tmp_path / "scene.json").write_text(json.dumps({"speakers": speakers}))
    files = JobFiles(tmp_path / "whole.mkv", video, script=tmp_path / "scene.json")
    whole = job_of(files, {**LOSSLESS, "in_silence": "model", "resume": True})
    run(server, whole)
    broken = replace(whole, output=tmp_path / "broken.mkv")
    interrupt(server, broken, after=24)
    assert run(server, broken).requests_reused > 0
    assert (tmp_path / "broken.mkv").read_bytes() == (tmp_path / "whole.mkv").read_bytes()
