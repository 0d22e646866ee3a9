"""The link to a Ray cluster outlives the cluster; nothing here needs Ray."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from client.errors import ServerUnavailable, UsageError
from client.job_process import JobResult
from client.running import ray_link, ray_link_process
from client.running.ray_link import RayLink
from client.running.ray_place import JobNeeds, RayPlace
from client.running.request import SentRequest
from client.running.runner import EndedJob
from client.servers.access import ServerAccess
from client.web.settings import build_parser, settings_from
from client.web.worker import trouble_on_ray
from lipsync_core.serving.ports import free_port
from tests.conftest import ROOT
from tests.waiting import wait_until

PROCESS = """
import json, os, sys
from pathlib import Path
folder = Path(sys.argv[1])
(folder / "pids").open("a").write(f"{os.getpid()}\\n")
(folder / "order").write_text(sys.stdin.readline())
def say(**answer): print(json.dumps(answer), flush=True)
refusal = folder / "refusal"
if refusal.exists():
    say(error=json.loads(refusal.read_text()))
    sys.exit(5)
say(room=3)
for line in sys.stdin:
    order = json.loads(line)
    if "cancel" in order:
        say(ended=dict(job_id=order["cancel"], result='{"exit_code": 1, "report": null, "error": null}',
                       seconds=1.0, node="one", tries=1, is_lost=False))
"""  # joins a cluster unless there is a refusal, and ends the jobs that are cancelled


def sent(job_id: str) -> SentRequest:
    return SentRequest(job_id, ("no", "command"), False, json.dumps({"access": ServerAccess().as_json()}))


def pids(folder: Path) -> list[int]:
    path = folder / "pids"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


@pytest.fixture
def join(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], RayLink]:
    """Joins a cluster that there is not."""
    monkeypatch.setattr(ray_link, "JOIN_AGAIN_S", 0.05)
    command = (sys.executable, "-c", PROCESS, str(tmp_path))
    return lambda: RayLink(RayPlace("head:6379", JobNeeds(1.0, 0.5)), Path("models"), 7, command)


def test_link_runs_jobs_through_its_process(tmp_path: Path, join: Callable[[], RayLink]) -> None:
    """The process gets all that it needs for the cluster; room, jobs and their ends pass through it."""
    with closing(join()) as link:
        assert json.loads((tmp_path / "order").read_text()) == {
            "address": "head:6379", "cpus": 1.0, "gpus": 0.5, "repository": str(Path("models").absolute()), "at_once": 7
        }  # fmt: skip
        assert (link.in_flight_limit, link.trouble) == (3, None)
        assert link.wait(0.0) is None
        link.submit(sent("a"))
        link.cancel("b")  # of which it knows nothing
        link.cancel("a")
        ended = link.wait()
    assert ended == EndedJob("a", JobResult(1), 1.0, "one")


def test_lost_cluster_is_joined_again(tmp_path: Path, join: Callable[[], RayLink]) -> None:
    """Its jobs are returned as lost, once each, and there is a reason for as long as it is away."""
    with closing(join()) as link:
        for job_id in "ab":
            link.submit(sent(job_id))
        (tmp_path / "refusal").write_text(
            json.dumps(ServerUnavailable("the head is gone", advice="Start it").as_dict())
        )
        os.kill(pids(tmp_path)[0], signal.SIGKILL)
        lost = [link.wait(), link.wait()]
        assert sorted(one.job_id for one in lost if one is not None and one.is_lost) == ["a", "b"]
        wait_until(lambda: link.trouble == "the head is gone")
        assert trouble_on_ray(link, ServerAccess()) == "the head is gone"
        link.submit(sent("c"))
        again = link.wait()
        assert again is not None
        assert (again.job_id, again.is_lost) == ("c", True)
        (tmp_path / "refusal").unlink()
        wait_until(lambda: link.trouble is None)
        assert trouble_on_ray(link, ServerAccess()) is None
        link.submit(sent("d"))
        link.cancel("d")
        back = link.wait()
        assert back is not None
        assert (back.job_id, back.is_lost) == ("d", False)
        assert link.wait(0.0) is None


def test_cluster_that_cannot_be_joined_fails_the_start(tmp_path: Path, join: Callable[[], RayLink]) -> None:
    """With the error itself."""
    refusal = UsageError(option="ray_cpus", expected="at most 2 cores", got="3")
    (tmp_path / "refusal").write_text(json.dumps(refusal.as_dict()))
    with pytest.raises(UsageError, match="at most 2 cores") as raised:
        join()
    assert raised.value.options == ("ray_cpus",)
    assert len(pids(tmp_path)) == 1


class Answers(io.StringIO):
    """What a process says; ends its orders with the end of the only job."""

    def __init__(self, end: Callable[[], None]) -> None:
        super().__init__()
        self._end = end

    def write(self, text: str) -> int:
        if "ended" in text:
            self._end()
        return super().write(text)


class OneJob:
    """A runner of one job, which ends when it is cancelled."""

    in_flight_limit = 2

    def __init__(self) -> None:
        self.job: SentRequest | None = None
        self.ended: list[EndedJob] = []

    def submit(self, request: SentRequest) -> None:
        self.job = request

    def cancel(self, job_id: str) -> None:
        assert self.job is not None
        assert self.job.job_id == job_id
        self.ended.append(EndedJob(job_id, JobResult(143), 1.0, "one", is_lost=False))

    def wait(self, timeout_s: float | None = None) -> EndedJob | None:
        return self.ended.pop() if self.ended else None

    def close(self) -> None: ...


def test_process_does_what_its_orders_say() -> None:
    """Until they end."""
    source, target = os.pipe()
    orders = os.fdopen(target, "w")
    runner, answers = OneJob(), Answers(orders.close)
    for order in ({"submit": sent("a").as_line()}, {"cancel": "a"}):
        orders.write(json.dumps(order) + "\n")
    orders.flush()
    with os.fdopen(source) as reading:
        ray_link_process.serve(runner, reading, answers)
    assert runner.job == sent("a")
    told = [json.loads(line) for line in answers.getvalue().splitlines()]
    assert told[0] == {"room": 2}
    assert EndedJob.from_dict(told[1]["ended"]) == EndedJob("a", JobResult(143), 1.0, "one")


STORE, MEDIA = "postgresql://ann@host/jobs", "s3://bucket/jobs"


def chosen(*arguments: str, **environment: str) -> RayPlace | None:
    options = build_parser().parse_args(["--store", STORE, "--media", MEDIA, *arguments])
    return settings_from(options, environment).ray


def test_cluster_of_the_web_service_is_chosen() -> None:
    """By options as those of a batch, or by the environment."""
    assert chosen() is None
    assert chosen("--ray", "auto") == RayPlace("auto", JobNeeds(2.0, 0.0))
    variables = {"LIPSYNC_RAY": "head:1", "LIPSYNC_RAY_CPUS": "4", "LIPSYNC_RAY_GPUS": "0.25"}
    assert chosen(**variables) == RayPlace("head:1", JobNeeds(4.0, 0.25))
    assert chosen("--ray", "other:2", "--ray-cpus", "1", **variables) == RayPlace("other:2", JobNeeds(1.0, 0.25))


@pytest.mark.parametrize(
    ("arguments", "environment", "reason"),
    [
        (["--ray-cpus", "1"], {}, "ray_cpus: expected no value without a cluster, got one. Add"),
        (["--ray", "auto", "--workers", "0"], {}, "workers: expected 1 or more, for the jobs of the cluster, got 0"),
        ([], {"LIPSYNC_RAY": "auto", "LIPSYNC_RAY_CPUS": "no"}, "$LIPSYNC_RAY_CPUS: expected a number above 0"),
    ],
)
def test_cluster_that_is_chosen_wrongly_is_refused(
    arguments: list[str], environment: dict[str, str], reason: str
) -> None:
    """In one line."""
    with pytest.raises(UsageError) as raised:
        chosen(*arguments, **environment)
    assert str(raised.value).startswith(reason)


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        (
            ["--media", MEDIA],
            "--store: expected postgresql://USER@HOST/DATABASE, which the machines of the cluster share",
        ),
        (
            ["--store", STORE],
            "--media: expected s3://BUCKET/PREFIX, or a folder that the machines of the cluster share",
        ),
    ],
)
def test_records_and_files_of_one_machine_are_refused_with_a_cluster(
    tmp_path: Path, arguments: list[str], start: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the start, before anything is served."""
    from client.web.__main__ import main

    assert main(["--data", str(tmp_path), "--worker-only", "--ray", "auto", *arguments]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(f"lipsync web: {start}")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("program", "code", "end"),
    [
        ("import sys; sys.modules['ray'] = None; ", 2, "pip install 'lipsync-triton[ray]'"),
        ("", 5, "Start the head there, with ray start --head"),
    ],
)
def test_cluster_that_is_not_there_fails_the_link(
    tmp_path: Path, program: str, code: int, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Ray is not installed, with the extra that brings it."""
    if not program:
        pytest.importorskip("ray")
    run = f"{program}from client.running.ray_link_process import main; sys.exit(main())"
    order = json.dumps(
        {"address": f"127.0.0.1:{free_port()}", "cpus": 1.0, "gpus": 0.0, "repository": None, "at_once": 1}
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {run}"], input=order, text=True, cwd=ROOT, capture_output=True, check=False
    )
    (answer,) = done.stdout.splitlines()
    assert done.returncode == code
    assert json.loads(answer)["error"]["advice"].endswith(end)
