from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from client.errors import NoFaceError
from client.job_options import JobOptions
from client.option import flag
from client.resume.work_folder import default_work_dir
from lipsync_core.serving.server import EmbeddedServer
from tests.server.clips import SPEECH, empty_frame, head_frame, swaying_head, write_video
from tests.server.resuming import interrupt, run
from tests.waiting import wait_until

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of a head that sways a little."""
    return write_video(tmp_path_factory.mktemp("clips") / "head.mp4", swaying_head(50))


@pytest.mark.long
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm"])
def test_interrupted_job_goes_on_to_the_same_file(
    server: EmbeddedServer, clip: Path, tmp_path: Path, suffix: str
) -> None:
    """The file is bit for bit that of an undisturbed run, most answers come from the folder, and it is removed."""
    whole = JobOptions.read(
        clip, SPEECH, tmp_path / f"whole.{suffix}", {"if_audio_longer": "cut", "preset": "ultrafast"}
    )
    asked = run(server, whole).requests
    broken = replace(whole, output=tmp_path / f"broken.{suffix}").with_options({"resume": True})
    assert "run the same command" in interrupt(server, broken)
    assert default_work_dir(broken.output).is_dir()
    assert not broken.output.exists()
    report = run(server, broken.with_options({"resume": None}))
    assert report.requests == asked
    assert report.requests_reused >= asked // 2
    assert broken.output.read_bytes() == whole.output.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"broken.{suffix}", f"whole.{suffix}"]


@pytest.mark.long
def test_changed_option_restarts_the_job_and_says_so(server: EmbeddedServer, clip: Path, tmp_path: Path) -> None:
    """Another start changes the answers; another crf does not. A look at the clip asks for some answers first."""
    options = JobOptions.read(clip, SPEECH, tmp_path / "out.mp4", {"if_audio_longer": "cut", "resume": True})
    interrupt(server, options)
    interrupt(server, options.with_options({"crf": 30}))
    changed = options.with_options({"start": 0.4})
    asked_twice = run(server, replace(changed, output=tmp_path / "fresh.mp4")).requests_reused
    report = run(server, changed)
    assert report.requests_reused == asked_twice
    assert any("restarted: --start changed since" in warning for warning in report.as_dict(flag)["warnings"])
    interrupt(server, options)
    assert run(server, options.with_options({"crf": 30})).requests_reused > asked_twice


@pytest.mark.long
def test_another_rule_for_silence_restarts_the_job(server: EmbeddedServer, clip: Path, tmp_path: Path) -> None:
    """What mouths do while nobody speaks decides what servers are asked."""
    options = JobOptions.read(clip, SPEECH, tmp_path / "out.mp4", {"if_audio_longer": "cut", "resume": True})
    interrupt(server, options)
    report = run(server, options.with_options({"in_silence": "keep"}))
    assert any("restarted: --in-silence changed since" in warning for warning in report.as_dict(flag)["warnings"])


@pytest.mark.long
def test_changed_input_restarts_the_job_and_says_so(server: EmbeddedServer, clip: Path, tmp_path: Path) -> None:
    """The same file name with other content is another video."""
    video = tmp_path / "video.mp4"
    video.write_bytes(clip.read_bytes())
    options = JobOptions.read(video, SPEECH, tmp_path / "out.mp4", {"if_audio_longer": "cut", "resume": True})
    interrupt(server, options)
    write_video(video, [head_frame()] * 10)
    asked_twice = run(server, replace(options, output=tmp_path / "fresh.mp4")).requests_reused
    report = run(server, options)
    assert report.requests_reused == asked_twice
    assert any("restarted: video changed since" in warning for warning in report.warnings)


@pytest.mark.long
def test_fast_pipelines_keep_nothing_by_default(server: EmbeddedServer, clip: Path, tmp_path: Path) -> None:
    """Nothing is kept unless asked for; a run without resume ignores and then removes what an earlier one kept."""
    options = JobOptions.read(clip, SPEECH, tmp_path / "out.mp4", {"if_audio_longer": "cut"})
    interrupt(server, options)
    assert list(tmp_path.iterdir()) == []
    interrupt(server, options.with_options({"resume": True}))
    report = run(server, options.with_options({"resume": False}))
    assert report.requests_reused == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


@pytest.mark.long
def test_hopeless_job_keeps_nothing(server: EmbeddedServer, tmp_path: Path) -> None:
    """If no frame has a face, the next run would find none either."""
    video = write_video(tmp_path / "empty.mp4", [empty_frame()] * 12)
    with pytest.raises(NoFaceError):
        run(server, JobOptions.read(video, SPEECH, tmp_path / "out.mp4", {"if_audio_longer": "cut", "resume": True}))
    assert [path.name for path in tmp_path.iterdir()] == ["empty.mp4"]


def test_killed_command_goes_on_to_the_same_file(
    server: EmbeddedServer, clip: Path, lipsync_command: list[str], tmp_path: Path
) -> None:
    """After kill -9 the same command gives the file of an undisturbed run, and reuses what was finished."""
    work = tmp_path / "kept"
    whole, broken = tmp_path / "whole.mp4", tmp_path / "broken.mp4"
    run(server, JobOptions.read(clip, SPEECH, whole, {"crf": 20}))
    files = ["--video", str(clip), "--audio", str(SPEECH), "--output", str(broken), "--crf", "20"]
    command = [*lipsync_command, *files, "--url", server.url, "--json", "--work-dir", str(work)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: process.poll() is not None or (work.is_dir() and len(list(work.iterdir())) >= 20))
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not broken.exists()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["requests_reused"] >= 15
    assert broken.read_bytes() == whole.read_bytes()
    assert not work.exists()
