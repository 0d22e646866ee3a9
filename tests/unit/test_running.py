"""Runners of jobs: what goes wrong around a job ends that job, and no batch waits for it in vain."""

from __future__ import annotations

import signal
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from client.job_options import JobOptions
from client.job_process import JobRequest
from client.running import local, process
from client.running.local import LocalRunner
from client.running.process import JobProcess
from client.running.request import SentRequest
from client.servers.access import ServerAccess
from tests.waiting import wait_until


@pytest.fixture
def request_for_job(tmp_path: Path) -> JobRequest:
    return JobRequest(JobOptions(tmp_path, tmp_path, tmp_path), ServerAccess(), tmp_path)


def test_defect_around_a_job_ends_it(request_for_job: JobRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is raised, the job is returned as failed."""

    def defect(*_: object, **__: object) -> JobProcess:
        raise RuntimeError

    monkeypatch.setattr(local, "JobProcess", defect)
    with closing(LocalRunner(1)) as runner:
        runner.submit(request_for_job)
        ended = runner.wait()
    assert (ended.job_id, ended.result.exit_code) == (request_for_job.job.job_id, 1)
    assert str(ended.result.error) == "the job ended unexpectedly: RuntimeError"


def test_process_that_writes_no_text_fails(request_for_job: JobRequest) -> None:
    """Bytes that are no UTF-8, as libraries print them, are shown as far as they can be."""
    code = "import sys; sys.stdin.read(); sys.stderr.buffer.write(b'caf\\xe9 is broken'); sys.exit(3)"
    sent = SentRequest("job", (sys.executable, "-c", code), False, request_for_job.as_json())
    result = JobProcess(sent).result()
    assert (result.exit_code, str(result.error)) == (3, "caf\ufffd is broken")


def sent(code: str) -> SentRequest:
    return SentRequest("job", (sys.executable, "-c", f"import sys; sys.stdin.read(); {code}"), False, "{}")


def test_late_cancellation_does_not_end_the_next_start() -> None:
    """A job that is cancelled just as it ends may be tried again under its name."""
    done = sent('print(\'{"exit_code": 0, "report": null, "error": null}\')')
    with closing(LocalRunner(1)) as runner:
        for _ in range(2):
            runner.submit(done)
            ended = runner.wait()
            assert ended is not None
            assert (ended.job_id, ended.result.exit_code) == ("job", 0)
            runner.cancel("job")
        assert runner.wait(0.0) is None


def test_job_that_does_not_end_when_told_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for it for ever."""
    monkeypatch.setattr(process, "KILL_AFTER_S", 0.1)
    deaf = "import signal, pathlib, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    with closing(LocalRunner(1)) as runner:
        runner.submit(sent(f"{deaf}; pathlib.Path({str(tmp_path / 'begun')!r}).touch(); time.sleep(600)"))
        wait_until((tmp_path / "begun").exists)
        runner.cancel("job")
        ended = runner.wait()
    assert ended is not None
    assert ended.result.exit_code == -signal.SIGKILL


def ray_runner(at_once: int | None = None) -> Any:
    """Make a runner on a cluster of one machine with two cores, without Ray."""
    pytest.importorskip("ray")
    from client.running.ray_cluster import RayNode
    from client.running.ray_place import JobNeeds
    from client.running.ray_runner import RayRunner

    cluster: Any = SimpleNamespace(nodes=lambda: [RayNode(id="a", name="one", cpus=2.0, gpus=0.0)])
    return RayRunner(cluster, JobNeeds(1.0), None, at_once)


def test_jobs_at_once_are_only_lowered() -> None:
    """A cluster is not sent more jobs than it has room for, however many are allowed."""
    assert [ray_runner(at_once).in_flight_limit for at_once in (None, 3, 100)] == [4, 3, 4]


def test_interruption_is_no_end_of_a_job(request_for_job: JobRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while an answer is read ends the batch; an interrupted job over there is one that was ended."""
    runner = ray_runner()
    import ray

    from client.running import ray_runner as module

    class InterruptedThere(KeyboardInterrupt, ray.exceptions.RayError):  # type: ignore[misc]
        """What Ray raises for a task that was interrupted."""

    def get(_: object) -> None:
        raise errors.pop()

    errors = [InterruptedThere(), KeyboardInterrupt()]
    monkeypatch.setattr(module.ray, "get", get)
    runner._running = {number: module._Try(request_for_job, 1) for number in range(2)}
    with pytest.raises(KeyboardInterrupt) as raised:
        runner._ended(0)
    assert not isinstance(raised.value, ray.exceptions.RayError)
    assert str(runner._ended(1).result.error) == "the job was ended"
