from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from client.errors import LipSyncError
from client.job_options import JobOptions
from client.job_process import JobRequest, answer
from client.progress import SilentProgress
from client.resume.job_part import JobPart
from client.run import draw_part, run_job
from client.running.runner import ENDED_EARLY, EndedJob
from client.running.splitting import SplittingRunner
from client.servers.access import ServerAccess
from client.servers.calls import InferRequest
from lipsync_core.repository import DEFAULT_REPOSITORY
from tests.imitation_triton import PaintingTriton, imitated_server
from tests.media_clips import leftovers, tone, write_clip, write_sound

FRAMES, CHUNK, RATE = 70, 16, 25
MODEL = "wav2lip"
PLAN, PARTS = JobPart(None, 3), [JobPart(index, 3) for index in range(3)]
HERE = (ServerAccess(), DEFAULT_REPOSITORY, SilentProgress())


class NegatingTriton(PaintingTriton):
    """Answers with the negative of what it is sent, so that no frame's answer is another's."""

    def infer(self, request: InferRequest) -> dict[str, np.ndarray]:
        return {**super().infer(request), "synced_frames": 255 - request.inputs["frames"]}


@pytest.fixture
def job(tmp_path: Path) -> JobOptions:
    """A job of several chunks."""
    video = write_clip(tmp_path / "video.mp4", frames=FRAMES)
    audio = tmp_path / "speech.wav"
    write_sound(audio, tone(FRAMES / RATE))
    options = {"model": MODEL, "face_box": "8,8,40,40", "in_silence": "model", "check": "off", "resume": True}
    return JobOptions.read(video, audio, tmp_path / "out.mp4", options)


def requests_of(part: JobPart | None, job: JobOptions) -> int:
    """Run a job or draw a part of it; returns how many chunks the server was asked for."""
    with imitated_server(NegatingTriton()) as triton:
        if part is None:
            run_job(job, *HERE)
        else:
            draw_part(job, part, *HERE)
    return triton.requests[MODEL]


def whole_file(job: JobOptions) -> bytes:
    """Run a job in one go and return its output, which is then removed."""
    assert requests_of(None, job) == -(-FRAMES // CHUNK)
    content = job.output.read_bytes()
    job.output.unlink()
    return content


def test_job_drawn_in_parts_gives_the_same_file(job: JobOptions, tmp_path: Path) -> None:
    """No part draws what another does, and the last run asks for nothing."""
    expected = whole_file(job)
    assert requests_of(PLAN, job) == 0
    assert [requests_of(part, job) for part in PARTS] == [2, 1, 2]
    assert not job.output.exists()
    assert requests_of(None, job) == 0
    assert job.output.read_bytes() == expected
    assert leftovers(tmp_path) == []


def test_part_that_is_missing_is_drawn_at_the_end(job: JobOptions) -> None:
    """A machine may be lost for good."""
    expected = whole_file(job)
    requests_of(PARTS[1], job)
    assert requests_of(None, job) == 4
    assert job.output.read_bytes() == expected


def test_parts_of_another_job_are_dropped(job: JobOptions, tmp_path: Path) -> None:
    """What was drawn for other speech is of no use."""
    for part in PARTS:
        requests_of(part, job)
    write_sound(tmp_path / "speech.wav", tone(FRAMES / RATE, hertz=200))
    assert requests_of(None, job) == -(-FRAMES // CHUNK)
    assert leftovers(tmp_path) == []


def test_part_travels_as_json(job: JobOptions) -> None:
    """The process of a task gets it, and answers with an empty report."""
    request = JobRequest.from_json(JobRequest(job, ServerAccess(), DEFAULT_REPOSITORY, part=PARTS[2]).as_json())
    assert request.part == PARTS[2]
    with imitated_server(NegatingTriton()) as triton:
        result = answer(request)
    assert (result.exit_code, result.report, triton.requests[MODEL]) == (0, {}, 2)


@pytest.mark.parametrize("count", [1, 3, 7])
def test_shares_are_all_frames_once(count: int) -> None:
    """The last has whatever comes after the estimated end."""
    shares = [JobPart(index, count).frames(100) for index in range(count)]
    assert [share.start for share in shares] == [0, *(share.stop for share in shares[:-1])]
    assert shares[-1].stop > 10**9


class RecordingRunner:
    """Ends jobs when it is told to."""

    in_flight_limit = 4

    def __init__(self) -> None:
        self.submitted: list[JobRequest] = []
        self.cancelled: list[str] = []
        self.failing: set[str] = set()
        self._waiting: list[JobRequest] = []

    def submit(self, request: JobRequest) -> None:
        self.submitted.append(request)
        self._waiting.append(request)

    def wait(self, timeout_s: float | None = None) -> EndedJob:
        from client.job_process import JobResult

        job_id = self._waiting.pop(0).job.job_id
        fails = job_id in self.failing or job_id in self.cancelled
        return EndedJob(job_id, JobResult(int(fails), error=LipSyncError(ENDED_EARLY) if fails else None), 2.0)

    def cancel(self, job_id: str) -> None:
        self.cancelled.append(job_id)

    def close(self) -> None:
        pass


def submitted(runner: RecordingRunner) -> list[int | str | None]:
    return ["whole" if request.part is None else request.part.index for request in runner.submitted]


def test_long_job_is_planned_drawn_and_joined(job: JobOptions) -> None:
    """Its end is one end, with the time of the longest part of each step."""
    runner = RecordingRunner()
    splitting = SplittingRunner(runner, 1.0)
    splitting.submit(JobRequest(job, *HERE[:2]))
    ended = splitting.wait()
    assert submitted(runner) == [None, 0, 1, 2, "whole"]
    assert (ended.job_id, ended.result.exit_code, ended.seconds) == (job.job_id, 0, 6.0)


def test_short_and_unreadable_videos_are_not_split(job: JobOptions, tmp_path: Path) -> None:
    """The job itself says what is wrong with its video."""
    runner = RecordingRunner()
    splitting = SplittingRunner(runner, 3.0)
    splitting.submit(JobRequest(job, *HERE[:2]))
    splitting.submit(JobRequest(JobOptions(tmp_path / "none.mp4", job.audio, job.output), *HERE[:2]))
    splitting.submit(JobRequest(job.with_options({"resume": False}), *HERE[:2]))
    assert submitted(runner) == ["whole"] * 3


def test_job_is_not_split_after_a_failure(job: JobOptions) -> None:
    """The whole job tells what is wrong, or does what is missing."""
    runner = RecordingRunner()
    runner.failing = {f"{job.job_id}-plan"}
    splitting = SplittingRunner(runner, 1.0)
    splitting.submit(JobRequest(job, *HERE[:2]))
    assert splitting.wait().result.exit_code == 0
    assert submitted(runner) == [None, "whole"]


def test_cancelled_job_ends_with_its_parts(job: JobOptions) -> None:
    """No further step begins."""
    runner = RecordingRunner()
    splitting = SplittingRunner(runner, 1.0)
    splitting.submit(JobRequest(job, *HERE[:2]))
    splitting.cancel(job.job_id)
    ended = splitting.wait()
    assert (ended.job_id, str(ended.result.error)) == (job.job_id, ENDED_EARLY)
    assert submitted(runner) == [None]
