from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from client.batch import finished_jobs, is_done, read_jobs
from client.cli.run import build_parser, job_options, run_command
from client.errors import OutputError, UsageError
from client.job_options import JobOptions, job_from_json
from client.option import OptionValues
from client.options import MODEL, read_each
from client.pipelines.latentsync import GUIDANCE
from client.pipelines.silence_options import IN_SILENCE
from client.resume.job_folder import facts_of, wants_folder
from client.scene.scene import Scene, Segment, Speaker, TimeSpan, Voice
from client.tracking.face_boxes import FaceBoxes
from client.tracking.faces import FaceChoice

FILES = ["--video", "v.mp4", "--output", "o.mp4"]
BOX = {"bbox": [1, 2, 3, 4], "speaker_id": 7, "is_speaking": True}
ANN = {"name": "ann", "voice": "ann.wav", "face": "left"}
BOB = {"name": "bob", "voice": "bob.wav", "face": "right"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one file of each kind that says who speaks, and voices."""
    (tmp_path / "scene.json").write_text(json.dumps({"speakers": [ANN, BOB]}))
    (tmp_path / "talk.rttm").write_text("SPEAKER talk 1 0.5 2 <NA> <NA> ann <NA> <NA>\n")
    (tmp_path / "boxes.json").write_text(json.dumps({"frames": [{"speakers": [BOX]}]}))
    for name in ("v.mp4", "ann.wav", "bob.wav"):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def job(*arguments: object) -> JobOptions:
    """Return the job of a command line."""
    return job_options(build_parser().parse_args([*FILES, *map(str, arguments)]))


def chosen(**given: object) -> OptionValues:
    return read_each(given)


def test_the_command_line_takes_a_script(folder: Path) -> None:
    """In place of the audio; its files are beside it."""
    found = job("--script", folder / "scene.json", "--crf", "20")
    assert found.audio is None
    assert found.scene == found.script
    assert found.scene.files == (folder / "ann.wav", folder / "bob.wav")


def test_the_command_line_takes_turns_of_an_audio(folder: Path) -> None:
    """Each speaker of the diarization is found in the video; the channel is that of the audio."""
    found = job("--audio", "talk.wav", "--diarization", folder / "talk.rttm", "--voice-channel", "right")
    segments = (Segment(TimeSpan(0.5, 2.5)),)
    assert found.scene == Scene((Speaker("ann", Voice(Path("talk.wav"), 1), FaceChoice("auto"), segments),))


def test_the_command_line_takes_boxes_beside_an_audio(folder: Path) -> None:
    """As NVIDIA's service takes them."""
    (speaker,) = job("--audio", "talk.wav", "--speaker-boxes", folder / "boxes.json").scene.speakers
    assert (speaker.name, speaker.voice, speaker.segments) == ("7", Voice(Path("talk.wav")), ())
    assert isinstance(speaker.face, FaceBoxes)
    np.testing.assert_array_equal(speaker.face.boxes[0], [1, 2, 4, 6])


def test_one_speech_is_a_scene_of_one_speaker() -> None:
    """Its voice may be one channel."""
    (speaker,) = job("--audio", "talk.wav", "--voice-channel", "left", "--face", "auto").scene.speakers
    assert (speaker.voice, speaker.face) == (Voice(Path("talk.wav"), 0), FaceChoice("auto"))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["--script", "{}/scene.json", "--audio", "a"],
            "expected audio or script, got both. The script names the voices",
        ),
        (
            ["--script", "{}/scene.json", "--diarization", "d"],
            "expected audio beside diarization, got script. Name the",
        ),
        (
            ["--script", "{}/scene.json", "--face", "largest"],
            "face: expected no value beside script, got one. Name the",
        ),
        (["--script", "{}/scene.json", "--voice-channel", "all"], "expected no voice_channel beside script, got both"),
        (
            ["--audio", "a", "--diarization", "{}/talk.rttm", "--face", "auto"],
            "face: expected no value beside diarization",
        ),
        (
            ["--audio", "a", "--diarization", "d", "--speaker-boxes", "b"],
            "expected diarization or speaker_boxes, got both",
        ),
        (
            ["--script", "{}/scene.json", "--model", "wav2lip", "--face-box", "1,2,3,4"],
            "face_box: expected no value beside script",
        ),
        (["--audio", "a", "--speaker-boxes", "{}/talk.rttm"], "talk.rttm: expected JSON, got a mistake in line 1"),
    ],
)
def test_files_that_do_not_go_together_fail(folder: Path, arguments: list[str], line: str) -> None:
    """In one line, before anything is opened."""
    with pytest.raises(UsageError) as caught:
        job(*(argument.format(folder) for argument in arguments))
    assert line in str(caught.value)


def test_prepared_clips_fail_with_a_script(folder: Path) -> None:
    """They hold the analysis of one face."""
    arguments = ["--prepared", "ann.prepared", "--script", str(folder / "scene.json"), "--output", "o.mp4"]
    with pytest.raises(
        UsageError, match="expected video beside script, got prepared. Prepared clips are made for one face"
    ):
        job_options(build_parser().parse_args(arguments))


def test_turns_without_an_audio_fail(capsys: pytest.CaptureFixture[str]) -> None:
    """They say nothing of what is said."""
    with pytest.raises(SystemExit):
        run_command([*FILES, "--diarization", "d.rttm"], build_parser())
    assert capsys.readouterr().err == "lipsync: the following arguments are required: --audio. See lipsync --help\n"


def test_jobs_of_a_script_reach_another_process(folder: Path) -> None:
    """With all that the script says."""
    ann = {**ANN, "segments": [{"start": 1, "end": 2, "options": {"strength": 1.2}}], "options": {"in_silence": "keep"}}
    (folder / "scene.json").write_text(json.dumps({"speakers": [ann, BOB], "unchanged": [[3, None]]}))
    sent = job("--script", folder / "scene.json", "--sync-only", "0-9")
    got = job_from_json(json.loads(json.dumps(sent.as_json())))
    assert got.scene == sent.scene
    assert (got.values, got.job_id, got.audio) == (sent.values, sent.job_id, None)


def test_segments_choose_options() -> None:
    """Theirs win over the speaker's, and these over the job's; another pipeline does without what it does not know."""
    job_values = chosen(model="latentsync", guidance=3, in_silence="model")
    segment = Segment(TimeSpan(0, 1), options=chosen(guidance=1.2))
    other = Segment(TimeSpan(1), options=chosen(model="wav2lip"))
    ann = Speaker("ann", Voice(Path("a")), FaceChoice(), (segment, other), chosen(guidance=2, in_silence="keep"))
    found = JobOptions(Path("v"), None, Path("o"), job_values, script=Scene((ann,)))
    first, second = found.values_of(ann, segment), found.values_of(ann, other)
    assert (first[MODEL], first[GUIDANCE], first[IN_SILENCE]) == ("latentsync", 1.2, "keep")
    assert (second[MODEL], second.has(GUIDANCE), second[IN_SILENCE]) == ("wav2lip", False, "keep")
    assert found.values_of(Speaker("bob", Voice(Path("b")))) == job_values


def test_models_of_all_segments_are_needed() -> None:
    """Each once; narrators need none, and neither does the job's own pipeline where nobody uses it."""
    segments = (
        Segment(TimeSpan(0, 1), options=chosen(model="wav2lip")),
        Segment(TimeSpan(1), options=chosen(strength=1.2)),
    )
    ann = Speaker("ann", Voice(Path("a")), FaceChoice(), segments)
    narrator = Speaker("eve", Voice(Path("e")), None, options=chosen(model="musetalk"))
    found = JobOptions(Path("v"), None, Path("o"), script=Scene((ann, narrator)))
    assert found.needed_models == ("faces", "wav2lip", "voice_activity", "mouth_motion")
    assert [pipeline.name for pipeline in found.pipelines] == ["wav2lip", "mouth-motion"]
    assert not wants_folder(found)
    late = Speaker("bob", Voice(Path("b")), options=chosen(model="latentsync", in_silence="model"))
    alone = JobOptions(Path("v"), None, Path("o"), script=Scene((late,)))
    assert alone.needed_models == ("faces", "latentsync", "whisper_features")
    assert wants_folder(alone)


@pytest.mark.parametrize(
    ("job_values", "speaker", "segment", "line"),
    [
        (
            {},
            {},
            {"guidance": 2},
            "speakers[0].segments[0].options.guidance: expected model latentsync, got model mouth-motion. Leave it",
        ),
        ({}, {"blend": "box"}, {}, "speakers[0].options.blend: expected model wav2lip, got model mouth-motion"),
        (
            {},
            {"guidance": 2},
            {"model": "latentsync", "pads": "1,2,3,4"},
            "speakers[0].segments[0].options.pads: expected",
        ),
        (
            {"model": "wav2lip", "detector": "s3fd"},
            {},
            {"model": "latentsync"},
            "detector: expected model wav2lip, got model latentsync",
        ),
    ],
)
def test_options_that_do_not_go_together_fail(
    job_values: dict[str, object], speaker: dict[str, object], segment: dict[str, object], line: str
) -> None:
    """Where the script chose them, or the job where it did; faces are found once, so that a detector is for all."""
    segments = (Segment(TimeSpan(0), options=read_each(segment)),)
    ann = Speaker("ann", Voice(Path("a")), FaceChoice(), segments, read_each(speaker))
    with pytest.raises(UsageError) as caught:
        JobOptions(Path("v"), None, Path("o"), read_each(job_values), script=Scene((ann,)))
    assert line in str(caught.value)


def test_batches_take_scripts(folder: Path) -> None:
    """With what belongs to them; what is wrong with a line is told as everywhere."""
    files = {"video": "v.mp4", "output": "{}.mp4"}
    audio = str(folder / "ann.wav")
    lines: list[dict[str, object]] = [
        {"script": str(folder / "scene.json")},
        {"audio": audio, "diarization": str(folder / "talk.rttm")},
        {"audio": audio, "speaker-boxes": str(folder / "boxes.json"), "crf": 30},
        {"script": str(folder / "scene.json"), "audio": audio},
        {"script": str(folder / "none.json")},
        {"script": {"speakers": []}},
        {},
    ]
    path = folder / "jobs.jsonl"
    path.write_text("\n".join(json.dumps({**files, "output": f"{i}.mp4", **line}) for i, line in enumerate(lines)))
    *good, both, missing, inline, neither = read_jobs(path, {})
    names = [[speaker.name for speaker in job.options.scene.speakers] for job in good if job.options is not None]
    assert names == [["ann", "bob"], ["ann"], ["7"]]
    assert str(both.problem) == "line 4: expected audio or script, got both. The script names the voices"
    assert "none.json, line 5: expected a readable file, got No such file" in str(missing.problem)
    assert str(inline.problem) == "line 6: expected video, script, output, got no script"
    assert str(neither.problem) == "line 7: expected video, audio, output, got no audio"


def test_a_job_of_a_batch_is_done_until_a_voice_or_its_script_changes(folder: Path) -> None:
    """The files that the script names count too."""
    path = folder / "jobs.jsonl"
    files = {"video": str(folder / "v.mp4"), "output": str(folder / "o.mp4"), "script": str(folder / "scene.json")}
    path.write_text(json.dumps(files))

    def stamps() -> dict[str, object]:
        (job,) = read_jobs(path, {})
        return dict(job.stamps())

    before = stamps()
    (job,) = read_jobs(path, {})
    report = folder / "jobs.report.jsonl"
    report.write_text(json.dumps({"status": "done", "job": files, "files": before, "options": {}}))
    assert is_done(job, finished_jobs(report, {}))
    (folder / "bob.wav").write_bytes(b"other words")
    assert {key for key, stamp in stamps().items() if stamp != before[key]} == {f"voice {folder / 'bob.wav'}"}
    assert not is_done(job, finished_jobs(report, {}))
    (folder / "scene.json").write_text(json.dumps({"speakers": [ANN, {**BOB, "face": "none"}]}))
    assert {"scene", "script"} <= {key for key, stamp in stamps().items() if stamp != before[key]}


def test_a_changed_segment_restarts_a_work_folder(folder: Path) -> None:
    """The facts of a job name the speaker whose part, or whose voice, is another."""

    class Triton:
        def identity(self, model: str) -> str:
            return model

    def facts(*segments: dict[str, object]) -> dict[str, str]:
        bob = {**BOB, "segments": segments} if segments else BOB
        (folder / "scene.json").write_text(json.dumps({"speakers": [ANN, bob]}))
        found = job_options(build_parser().parse_args(
            ["--video", str(folder / "v.mp4"), "--output", "o.mp4", "--script", str(folder / "scene.json")]
        ))  # fmt: skip
        return facts_of(found, Triton())  # type: ignore[arg-type]

    def differing(one: dict[str, str], other: dict[str, str]) -> list[str]:
        return [name for name in one if one[name] != other.get(name)]

    before = facts()
    assert differing(before, facts({"start": 0, "end": 3})) == ["speaker bob"]
    (folder / "ann.wav").write_bytes(b"other words")
    assert differing(before, facts()) == ["the voice of ann"]


@pytest.mark.parametrize(
    ("option", "name"), [("--script", "scene.json"), ("--diarization", "talk.rttm"), ("--speaker-boxes", "boxes.json")]
)
def test_job_fails_whose_output_would_replace_the_file_that_says_who_speaks(
    folder: Path, option: str, name: str
) -> None:
    """The file stays as it is."""
    audio = [] if option == "--script" else ["--audio", folder / "ann.wav"]
    with pytest.raises(OutputError, match="expected a new file, got one of the inputs"):
        job("--video", folder / "v.mp4", *audio, option, folder / name, "--output", folder / name)
