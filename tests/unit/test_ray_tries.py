from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from client.job_options import JobOptions
from client.job_process import JobRequest, JobResult
from client.running.runner import EndedJob
from client.servers.access import ServerAccess

ray = pytest.importorskip("ray")
from client.running import ray_runner  # noqa: E402  (imports Ray)
from client.running.ray_cluster import RayNode  # noqa: E402
from client.running.ray_node import Answer  # noqa: E402

REQUEST = JobRequest(JobOptions(Path("v.mp4"), Path("a.wav"), Path("o.mp4")), ServerAccess(), Path("models"))
DONE = Answer(JobResult(0, report={}).as_json(), False, "head", 1.0).as_json()
KILLED = Answer(JobResult(-9).as_json(), True, "head", 1.0).as_json()
MACHINE_LOST = ray.exceptions.NodeDiedError("the node is dead")
PROCESS_LOST = ray.exceptions.WorkerCrashedError()
Outcome = str | Exception


class FakeRay:
    """A cluster whose tries end as they are told to: with an answer, or with an error of Ray."""

    exceptions = ray.exceptions

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self._outcomes = iter(outcomes)
        self.started = 0

    def remote(self, _: object) -> FakeRay:
        return self

    def options(self, **_: object) -> _Task:
        return _Task(self)

    def wait(self, refs: list[int], **_: object) -> tuple[list[int], list[int]]:
        return refs[:1], refs[1:]

    def get(self, _: int) -> str:
        outcome = next(self._outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class _Task:
    def __init__(self, fake: FakeRay) -> None:
        self._fake = fake

    def remote(self, *_: object) -> int:
        self._fake.started += 1
        return self._fake.started


class Machines:
    """The cluster as the runner sees it."""

    address = None

    def __init__(self) -> None:
        self.names = ["head", "second"]

    def nodes(self) -> list[RayNode]:
        return [RayNode(name, name, 1.0, 0.0) for name in self.names]

    def has_head(self) -> bool:
        return True


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., EndedJob]:
    """Runs a job whose tries end in turn as given."""

    def run_job(*outcomes: Outcome, machines: Machines | None = None) -> EndedJob:
        monkeypatch.setattr(ray_runner, "ray", FakeRay(outcomes))
        runner = ray_runner.RayRunner(machines or Machines(), ray_runner.JobNeeds(1.0), None)
        runner.submit(REQUEST)
        return runner.wait()

    return run_job


def test_lost_machines_are_no_tries_of_the_job(run: Callable[..., EndedJob]) -> None:
    """It runs again however often it loses one, within reason."""
    ended = run(*[MACHINE_LOST] * 9, DONE)
    assert (ended.result.exit_code, ended.tries) == (0, 10)


def test_job_that_takes_its_machines_down_is_set_aside(run: Callable[..., EndedJob]) -> None:
    """Before it has ended the whole cluster."""
    ended = run(*[MACHINE_LOST] * 10)
    assert "set aside after 10 tries" in str(ended.result.error)


@pytest.mark.parametrize("crash", [PROCESS_LOST, KILLED])
def test_job_that_ends_its_process_is_set_aside(run: Callable[..., EndedJob], crash: Outcome) -> None:
    """Losses of machines in between neither count nor excuse it."""
    ended = run(crash, MACHINE_LOST, crash, MACHINE_LOST, crash)
    assert "set aside after 5 tries" in str(ended.result.error)
    assert ended.result.exit_code > 0


def test_process_that_was_seen_to_end_before_its_machine_is_excused(
    run: Callable[..., EndedJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray may notice the end of a process first, and that of the whole machine seconds later."""
    monkeypatch.setattr(ray_runner, "LOOK_EVERY_S", 0.0)

    class Shrinking(Machines):
        def nodes(self) -> list[RayNode]:
            """Have one machine fewer at each look from the third on."""
            self.looks = getattr(self, "looks", 0) + 1
            return [RayNode(str(number), "", 1.0, 0.0) for number in range(6 - max(0, self.looks - 2))]

    assert run(*[PROCESS_LOST] * 4, DONE, machines=Shrinking()).result.exit_code == 0
    assert run(*[PROCESS_LOST] * 3).result.exit_code == 1
