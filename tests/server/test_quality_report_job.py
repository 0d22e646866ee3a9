"""The check of results in whole jobs on a real server: by job, command line, batch and service."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from client.errors import ServerUnavailable
from client.job import Job
from client.job_options import JobOptions
from client.provenance.certificates import make_credentials
from client.provenance.findings import examine
from client.quality.fixing import run_corrected
from client.quality.job import LipsOffError
from client.quality.report import QualityReport
from client.report import Report
from client.servers.calls import InferRequest
from client.servers.connection import TritonConnection
from lipsync_core.serving.server import EmbeddedServer
from tests.conftest import ROOT
from tests.server.clips import SPEECH, swaying_head, write_video
from tests.server.jobs import job_runner
from tests.web_service import WebProcess, wait_for_state

pytestmark = pytest.mark.server
FRAMES = 100
LATE_S = 0.16  # of the lips
CUT = {"if_audio_longer": "cut"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "head.mp4", swaying_head(FRAMES))


@pytest.fixture(scope="module")
def checked(server: EmbeddedServer, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Path]:
    """A job with the usual options."""
    output = tmp_path_factory.mktemp("checked") / "out.mp4"
    return job_runner(server, **CUT)(clip, SPEECH, output), output


def test_quick_check_comes_with_each_job(checked: tuple[Report, Path]) -> None:
    """It looks at no more than 50 frames, and says what it found."""
    report, _ = checked
    found = report.quality
    assert found is not None
    assert found.failure is None
    assert (found.check, found.outside_samples) == ("quick", 0)
    assert 40 <= found.frames <= 50
    (speaker,) = found.speakers
    assert speaker.follows.verdict == "good"
    assert found.edge.verdict == found.flicker.verdict == "good"
    assert found.audio_offset_s is None
    (span,) = found.spans
    assert span.start_s < 0.5 < span.end_s
    assert span.follows.verdict == "good"
    assert "quality: the mouth follows the speech (" in report.summary()


def test_result_without_a_check_is_the_same(
    server: EmbeddedServer, clip: Path, checked: tuple[Report, Path], tmp_path: Path
) -> None:
    """To the byte."""
    report = job_runner(server, **CUT)(clip, SPEECH, tmp_path / "out.mp4", check="off")
    assert report.quality is None
    assert (tmp_path / "out.mp4").read_bytes() == checked[1].read_bytes()


@pytest.fixture
def alignment(tmp_path: Path) -> Path:
    """Phones that need closed lips twice a second, whatever is said."""
    path = tmp_path / "phones.txt"
    path.write_text("".join(f"{i / 2} {i / 2 + 0.4} AA1\n{i / 2 + 0.4} {i / 2 + 0.5} M\n" for i in range(8)))
    return path


def test_full_check_reports_closures_where_an_alignment_is_given(
    server: EmbeddedServer, clip: Path, checked: tuple[Report, Path], alignment: Path, tmp_path: Path
) -> None:
    """It looks at every frame, and the result is the same to the byte."""
    run = job_runner(server, **CUT)
    report = run(clip, SPEECH, tmp_path / "out.mp4", check="full", alignment=str(alignment))
    assert (tmp_path / "out.mp4").read_bytes() == checked[1].read_bytes()
    assert report.quality is not None
    assert report.quality.failure is None
    assert (report.quality.check, report.quality.frames) == ("full", FRAMES)
    (speaker,) = report.quality.speakers
    assert speaker.closures is not None
    assert speaker.closures.verdict != "unknown"
    assert f"; {speaker.closures.text}" in report.summary()
    assert checked[0].quality is not None
    assert checked[0].quality.speakers[0].closures is None


class SlowForChecks(TritonConnection):
    """A server that takes a second more for the pictures of a check."""

    def infer(self, request: InferRequest) -> Any:
        if request.model == "faces" and request.inputs["frames"].shape[1:3] == (320, 320):
            time.sleep(1)
        return super().infer(request)


def test_time_of_the_check_is_a_part_of_the_jobs(server: EmbeddedServer, clip: Path, tmp_path: Path) -> None:
    """Measured around the job: what it reports leaves out less than the check took."""
    options = JobOptions.read(clip, SPEECH, tmp_path / "out.mp4", CUT)
    with Job(options) as job, SlowForChecks(server.url) as connection:
        started = time.perf_counter()
        report = job.run(connection)
        taken_s = time.perf_counter() - started
    assert report.quality is not None
    assert report.quality.failure is None
    assert report.quality.seconds > 3
    unreported_s = taken_s - report.seconds  # to one hundredth of a second, as the report rounds
    assert -0.01 < unreported_s < report.quality.seconds


class DeafAfterwards(TritonConnection):
    """A server whose face model refuses the pictures of a check."""

    def infer(self, request: InferRequest) -> Any:
        if request.model == "faces" and request.inputs["frames"].shape[1:3] == (320, 320):
            raise ServerUnavailable("gone")
        return super().infer(request)


def test_check_that_fails_costs_no_result(server: EmbeddedServer, clip: Path, tmp_path: Path) -> None:
    report = job_runner(server, DeafAfterwards, **CUT)(clip, SPEECH, tmp_path / "out.mp4")
    assert report.quality is not None
    assert "gone" in (report.quality.failure or "")
    assert (tmp_path / "out.mp4").exists()


def run_late(server: EmbeddedServer, options: JobOptions, ahead_s: float = 0.0) -> Report:
    """Run a job whose pipeline draws lips late."""
    with Job(options, ahead_s) as job, TritonConnection(server.url) as connection:
        job._lanes.voices = [voice.ahead(-LATE_S) for voice in job._lanes.voices]
        return job.run(connection)


def test_late_lips_are_told(server: EmbeddedServer, clip: Path, tmp_path: Path) -> None:
    """The report says how late they are, and the result is complete."""
    report = run_late(server, JobOptions.read(clip, SPEECH, tmp_path / "out.mp4", {**CUT, "check": "full"}))
    assert report.quality is not None
    assert report.quality.audio_offset_s == pytest.approx(LATE_S, abs=0.04)
    assert "later than the speech" in report.summary()
    assert (tmp_path / "out.mp4").exists()


@pytest.mark.long
def test_late_lips_are_corrected(server: EmbeddedServer, clip: Path, tmp_path: Path) -> None:
    """Nothing is published at first; the second run is moved by what was found, and its lips are in time."""
    options = JobOptions.read(clip, SPEECH, tmp_path / "out.mp4", {**CUT, "fix_offset": True})
    with pytest.raises(LipsOffError) as found:
        run_late(server, options)
    assert list(tmp_path.iterdir()) == []
    assert found.value.seconds > found.value.quality.seconds > 0
    offset_s = found.value.quality.audio_offset_s
    assert offset_s is not None
    report = run_late(server, options, offset_s)
    assert report.quality is not None
    assert report.quality.fixed_offset_s == pytest.approx(LATE_S, abs=0.04)
    assert report.quality.audio_offset_s is None


def test_runner_runs_again_with_what_was_found(clip: Path, tmp_path: Path) -> None:
    jobs: list[Job] = []

    def run(job: Job) -> Report:
        jobs.append(job)
        if len(jobs) == 1:
            raise LipsOffError(QualityReport("full", audio_offset_s=LATE_S))
        return Report("out.mp4", "id", "mouth-motion", "shm", 256, 256, 25.0)

    run_corrected(JobOptions.read(clip, SPEECH, tmp_path / "out.mp4", {"fix_offset": True}), run)
    assert [job._check._ahead_s for job in jobs] == [0.0, LATE_S]
    assert list(tmp_path.iterdir()) == []


def test_batch_reports_quality(
    server: EmbeddedServer, clip: Path, alignment: Path, tmp_path: Path, lipsync_command: list[str]
) -> None:
    line = {"video": str(clip), "audio": str(SPEECH), "output": str(tmp_path / "a.mp4"), **CUT, "check": "quick"}
    line["alignment"] = alignment.name
    (tmp_path / "jobs.jsonl").write_text(json.dumps(line))
    ended = subprocess.run(
        [*lipsync_command, "batch", "--batch", "jobs.jsonl", "--url", server.url],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    quality = json.loads((tmp_path / "jobs.report.jsonl").read_text())["report"]["quality"]
    assert quality["speakers"][0]["follows"]["verdict"] == "good"
    assert quality["speakers"][0]["closures"]["text"].startswith("the lips close in ")


@pytest.mark.long
def test_service_signs_marks_and_checks(server: EmbeddedServer, clip: Path, tmp_path: Path) -> None:
    """Settings of the service hold for all its jobs; each says who signed it, and how good it is."""
    pytest.importorskip("c2pa")
    files = make_credentials(tmp_path / "credentials", "Test Studio")
    signing = ("--sign-cert", str(files.certificate), "--sign-key", str(files.key), "--mark")
    with WebProcess(tmp_path / "web", "--url", server.url, *signing) as web, web.client() as client:
        job = send(client, clip)
        report = wait_for_state(client, job, "finished")["report"]
        (tmp_path / "result.mp4").write_bytes(client.get(f"/jobs/{job}/result").content)
    assert report["provenance"]["signed_by"] == "Test Studio"
    assert report["provenance"]["is_marked"]
    assert report["provenance"]["signed_at"]
    assert report["quality"]["speakers"][0]["follows"]["verdict"] == "good"
    assert report["quality"]["failure"] is None
    assert examine(tmp_path / "result.mp4").exit_code == 0


def send(client: httpx.Client, clip: Path) -> str:
    with clip.open("rb") as video, SPEECH.open("rb") as audio:
        files = {"video": ("head.mp4", video), "audio": ("speech.flac", audio)}
        answer = client.post("/jobs", files=files, data=CUT)
    assert answer.status_code in (201, 202), answer.text
    return str(answer.json()["id"])
