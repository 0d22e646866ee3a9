"""Workers and records without a Triton: turns, attempts, outages, recovery."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError

from client.errors import (
    LipSyncError,
    NoFaceError,
    OutputError,
    RequestRejected,
    UsageError,
    ref,
)
from client.job_process import JobResult
from client.provenance.report import ProvenanceReport
from client.running.request import SentRequest
from client.running.runner import EndedJob
from client.servers.access import ServerAccess
from client.servers.security import Security
from client.web import database, job_process, recovery, worker
from client.web.child import EXIT_RETRY
from client.web.database import Database
from client.web.failures import SERVERS_FAULT, failure, servers_failure
from client.web.job_process import WebJobRequest, record_job
from client.web.job_record import JobRecord
from client.web.job_views import job_view
from client.web.recovery import recover
from client.web.service import Service
from client.web.store import JobStore
from client.web.tables import jobs
from client.web.worker import Workers
from tests.waiting import wait_until
from tests.web_service import (
    NO_TRITON,
    NOWHERE,
    add_job,
    die_with,
    files,
    make_service,
    open_client,
    problem,
    turns,
    workers_of,
)


def ended(record: JobRecord, code: int) -> EndedJob:
    return EndedJob(record.id, JobResult(code), 0.0)


def add_for(service: Service, user: str, *names: str) -> None:
    for name in names:
        service.settings.job_folder(name).mkdir()
        service.store.add(name, user, {"model": "mouth-motion"}, "in.mp4", "in.wav", 10.0)


def test_users_take_turns(tmp_path: Path) -> None:
    """One user's many jobs do not keep another's waiting; each user's jobs keep their order."""
    service = make_service(tmp_path)
    add_for(service, "ann", "a1", "a2", "a3")
    add_for(service, "bob", "b1", "b2")
    assert turns(service.store) == ["a1", "b1", "a2", "b2", "a3"]
    assert service.store.claim("a1")
    assert turns(service.store) == ["b1", "a2", "b2", "a3"]
    service.store.finish("a1", {})
    assert turns(service.store) == ["b1", "a2", "b2", "a3"]
    add_for(service, "cid", "c1")
    assert turns(service.store)[:2] == ["b1", "c1"]
    (last,) = [job for job in service.store.in_state("queued") if job.id == "a3"]
    assert service.store.jobs_ahead(last) == 4


def test_workers_run_jobs_in_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue's own order does not matter: every job runs once, users in turns."""
    ran: list[str] = []

    def run(workers: Workers, record: JobRecord) -> EndedJob:
        ran.append(record.id)
        workers._store.finish(record.id, {})
        return ended(record, 0)

    monkeypatch.setattr(Workers, "_run_process", run)
    service = make_service(tmp_path)
    add_for(service, "ann", "a1", "a2", "a3")
    add_for(service, "bob", "b1")
    with Workers(service.settings, service.store, service.media, NO_TRITON, lambda access: None):
        wait_until(lambda: len(ran) == 4)
    assert ran == ["a1", "b1", "a2", "a3"]


SOME_JOB = """
import json, sys, time
from pathlib import Path
from client.web.store import JobStore
request = json.loads(sys.stdin.read())
time.sleep({seconds})
store = JobStore(Path(request["store"]), request["owner"])
sys.exit(0 if store.finish(request["job_id"], dict(), store.owner) else 9)
"""  # stands for a job's process, and takes so long


def run_some_jobs(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let workers run processes that finish their jobs after a while."""
    monkeypatch.setattr(WebJobRequest, "command", (sys.executable, "-c", SOME_JOB.format(seconds=seconds)))


def test_job_outlasts_an_outage_of_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the records do not answer, the job's process goes on; its end is noted once they do."""
    run_some_jobs(monkeypatch, 1.0)
    monkeypatch.setattr(worker, "AFTER_TROUBLE_S", 0.1)
    service = make_service(tmp_path)
    job_id = add_job(service)
    is_away, asked = threading.Event(), []

    def connection(database: Database) -> AbstractContextManager[Connection]:
        if is_away.is_set():
            asked.append(None)
            raise OperationalError("select 1", None, ConnectionError("gone"))
        return connect(database)

    connect = Database.connection
    monkeypatch.setattr(Database, "connection", connection)
    with workers_of(service):
        wait_until(lambda: service.store.state_of(job_id) == "running")
        is_away.set()
        other = database.sqlite3.connect(tmp_path / "jobs.sqlite3")
        wait_until(lambda: other.execute("select state from jobs").fetchone() == ("finished",))
        wait_until(lambda: len(asked) > 3)
        is_away.clear()
        wait_until(lambda: not (service.settings.job_folder(job_id) / "parts").exists())
    job = service.store.get(job_id)
    assert job is not None
    assert (job.state, job.attempts) == ("finished", 1)


def test_end_of_a_job_waits_for_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that asked to be run again while the records did not answer is run again, not forgotten."""
    monkeypatch.setattr(worker, "AFTER_TROUBLE_S", 0.05)
    monkeypatch.setattr(worker, "RETRY_DELAY_S", 0.05)
    service = make_service(tmp_path)
    job_id, codes, failures = add_job(service), [75, 0], [None] * 4
    is_mine = JobStore.is_mine

    def run(workers: Workers, record: JobRecord) -> EndedJob:
        code = codes.pop(0)
        if code == 0:
            workers._store.finish(record.id, {}, workers._store.owner)
        return ended(record, code)

    def may_fail(store: JobStore, job_id: str) -> bool:
        if failures:
            failures.pop()
            raise OperationalError("select 1", None, ConnectionError("gone"))
        return is_mine(store, job_id)

    monkeypatch.setattr(Workers, "_run_process", run)
    monkeypatch.setattr(JobStore, "is_mine", may_fail)
    with workers_of(service):
        wait_until(lambda: service.store.state_of(job_id) == "finished", 20)
    assert failures == codes == []


def test_job_process_is_run_again_without_its_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that cannot be opened or that do not answer fail no job: its process asks to be started again."""
    request = WebJobRequest("a" * 32, "postgresql://ann@127.0.0.1:1/jobs", "me", 1, tmp_path, None, NO_TRITON)
    done = subprocess.run(request.command, input=request.as_json(), text=True, check=False, capture_output=True)
    assert (done.returncode, JobResult.from_json(done.stdout).exit_code) == (EXIT_RETRY, EXIT_RETRY)
    assert "expected a database at" in done.stderr
    service = make_service(tmp_path)
    job_id = add_job(service)
    service.store.claim(job_id)

    def is_away(*_: object) -> None:
        raise OperationalError("select 1", None, ConnectionError("gone"))

    monkeypatch.setattr(JobStore, "get", is_away)
    assert record_job(service.store, replace(request, store=tmp_path / "jobs.sqlite3"), tmp_path) == EXIT_RETRY
    assert service.store.state_of(job_id) == "running"


def test_result_reaches_a_folder_by_its_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job changes the current folder; its result is where the service looks for it."""

    def run(*_: object) -> SimpleNamespace:
        Path("result.mp4").write_bytes(b"the result")
        Path("result.mp4.c2pa").write_bytes(b"its credentials")
        fields = {"output": "x", "frames": 3, "seconds": 1.0, "warnings": []}
        return SimpleNamespace(as_dict=lambda _: fields, provenance=ProvenanceReport(sidecar="result.mp4.c2pa"))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(job_process, "ServerPool", nullcontext)
    monkeypatch.setattr(job_process, "run_corrected", run)
    with open_client(tmp_path / "data", media="kept") as client:
        service: Service = client.app.state.service  # type: ignore[attr-defined]
        job = client.post("/jobs", files=files()).json()
        service.store.claim_next()
        place = tmp_path / "data"
        request = WebJobRequest(job["id"], service.store.place, service.store.owner, 1, place, "kept", NO_TRITON)
        assert record_job(service.store, request, place) == 0
        assert client.get(job["links"]["self"]).json()["state"] == "finished"
        assert client.get(f"{job['links']['self']}/result").content == b"the result"
    assert (tmp_path / "kept" / job["id"] / "result.mp4").is_file()
    assert (tmp_path / "kept" / job["id"] / "result.mp4.c2pa").read_bytes() == b"its credentials"


def test_running_jobs_end_before_a_worker_that_drains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is asked to end finishes the job that runs, and takes no other."""
    run_some_jobs(monkeypatch, 1.0)
    service = make_service(tmp_path, drain_s=60.0)
    first, second = add_job(service), add_job(service, "b" * 32)
    with workers_of(service):
        wait_until(lambda: service.store.state_of(first) == "running")
    assert (service.store.state_of(first), service.store.state_of(second)) == ("finished", "queued")


def test_worker_that_drains_too_long_ends_its_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time that was given, a job goes back to the queue, at no cost of an attempt."""
    run_some_jobs(monkeypatch, 600.0)
    service = make_service(tmp_path, drain_s=0.5)
    job_id = add_job(service)
    with workers_of(service):
        wait_until(lambda: service.store.state_of(job_id) == "running")
    job = service.store.get(job_id)
    assert job is not None
    assert (job.state, job.attempts) == ("queued", 0)


def test_others_renew_first_after_an_outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the records answer again, claims that ended meanwhile are not taken away at once."""
    service = make_service(tmp_path)
    job_id = add_job(service)
    owner = JobStore(tmp_path / "jobs.sqlite3")
    owner.claim(job_id)
    with service.store.transaction() as db:
        db.execute(update(jobs).values(lease_ends_at=0.0))
    workers = workers_of(service)

    def is_away(_: JobStore) -> int:
        raise OperationalError("select 1", None, ConnectionError("gone"))

    with monkeypatch.context() as away:
        away.setattr(JobStore, "revision", is_away)
        with pytest.raises(OperationalError):
            workers._look_after()
    workers._look_after()
    assert service.store.state_of(job_id) == "running"
    workers._recover_at = 0.0
    workers._look_after()
    assert service.store.state_of(job_id) == "queued"


def test_time_of_a_job_is_estimated_from_earlier_ones(tmp_path: Path) -> None:
    """What a model's last jobs took for a second of result says what the next will take."""
    service = make_service(tmp_path)
    add_for(service, "ann", "a1", "a2")
    (first, second) = service.store.in_state("queued")
    assert service.view(second).estimate_s is None
    service.store.claim(first.id)
    service.store.finish(first.id, {"seconds": 6.0, "duration_s": 2.0})
    assert service.view(second).estimate_s == 30.0


def test_queue_pauses_while_no_server_is_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long an outage lasts, it costs no attempt; the job starts when a server is ready again."""
    monkeypatch.setattr(worker, "READY_EVERY_S", 0.01)

    def run(workers: Workers, record: JobRecord) -> EndedJob:
        workers._store.finish(record.id, {})
        return ended(record, 0)

    monkeypatch.setattr(Workers, "_run_process", run)
    service = make_service(tmp_path)
    job_id = add_job(service)
    asked: list[None] = []
    is_ready = threading.Event()

    def trouble(_: ServerAccess) -> str | None:
        asked.append(None)
        return None if is_ready.is_set() else "no server answers"

    with Workers(service.settings, service.store, service.media, NO_TRITON, trouble):
        wait_until(lambda: len(asked) > 2 * recovery.MAX_ATTEMPTS)
        waiting = service.store.get(job_id)
        assert waiting is not None
        assert (waiting.state, waiting.attempts) == ("queued", 0)
        is_ready.set()
        wait_until(lambda: service.store.state_of(job_id) == "finished")


def test_paused_queue_ends_with_the_service(tmp_path: Path) -> None:
    """Waiting for a server does not keep the service from ending, and the job stays queued."""
    service = make_service(tmp_path)
    job_id = add_job(service)
    with Workers(service.settings, service.store, service.media, NO_TRITON):
        wait_until(service.store.has_waiting)
    assert service.store.state_of(job_id) == "queued"


def test_failed_job_is_tried_again(tmp_path: Path) -> None:
    """A failed or cancelled job goes back to the queue as if it had never run; others, and removed files, do not."""
    with open_client(tmp_path) as client:
        service: Service = client.app.state.service  # type: ignore[attr-defined]
        job = client.post("/jobs", files=files(), data={"crf": "30"}).json()
        retry = f"/jobs/{job['id']}/retry"
        problem(client.post(retry), 409)
        service.store.claim(job["id"])
        service.store.fail(job["id"], servers_failure("The lip-sync server cannot be reached"))
        again = client.post(retry)
        assert again.status_code == 202
        assert (again.json()["state"], again.json()["attempts"], again.json()["error"]) == ("queued", 0, None)
        assert again.json()["settings"]["crf"] == 30
        assert client.get(again.json()["links"]["audio"]).content == b"audio"
        client.post(f"/jobs/{job['id']}/cancel")
        assert client.post(retry).status_code == 202
        client.post(f"/jobs/{job['id']}/cancel")
        (service.settings.job_folder(job["id"]) / "video").unlink()
        problem(client.post(retry), 404)


def test_lost_triton_fails_the_job_after_its_attempts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that loses its Triton is tried again, and then fails without naming the server's address."""
    from tests.server.clips import SPEECH, head_frame, write_video

    monkeypatch.setattr(worker, "RETRY_DELAY_S", 0.05)
    monkeypatch.setattr(worker, "MAX_ATTEMPTS", 2)
    service = make_service(tmp_path)
    job_id = add_job(service)
    write_video(service.settings.job_folder(job_id) / "video.mp4", [head_frame()] * 3).rename(
        service.settings.job_folder(job_id) / "video"
    )
    (service.settings.job_folder(job_id) / "audio").write_bytes(SPEECH.read_bytes())
    with Workers(service.settings, service.store, service.media, NO_TRITON, lambda access: None):
        wait_until(lambda: service.store.state_of(job_id) == "failed")
    job = service.store.get(job_id)
    assert job is not None
    assert job.attempts == 2
    assert job.error is not None
    assert job.error["title"] == "The lip-sync server cannot be reached"
    assert NOWHERE not in json.dumps(job.error)
    assert job.error["user_message"] == SERVERS_FAULT


def test_error_of_the_user_is_told_with_labels() -> None:
    """Options and files in a failure have their names for programs, their labels for people."""
    error = NoFaceError("no usable face", about="video", advice=f"Choose another with {ref('face')}")
    told = failure(error)
    assert (told.title, told.detail) == (
        "No face was found",
        "video: no usable face. Choose another with face",
    )
    assert told.user_message == "Video: no usable face. Choose another with “Which face”."


def test_warnings_are_told_with_labels(tmp_path: Path) -> None:
    """The page shows an option's label; programs that read the report get its name."""
    service = make_service(tmp_path)
    job_id = add_job(service)
    service.store.claim(job_id)
    service.store.finish(job_id, {"frames": 3, "warnings": [f"set {ref('in_silence')} to model"]})
    record = service.store.get(job_id)
    assert record is not None
    told = job_view(record, keep_s=60.0)
    assert told.warnings == ["set “While nobody speaks” to model"]
    assert told.report is not None
    assert (told.report.frames, told.report.warnings) == (3, ["set in_silence to model"])


@pytest.mark.parametrize(
    "error",
    [
        RequestRejected("out of memory", about="latentsync"),
        UsageError(option="work_dir", expected="a folder", got="a file"),
        OutputError("no room", about="/tmp/secret"),
    ],
)
def test_error_of_the_server_stays_in_its_log(error: LipSyncError) -> None:
    """What is no matter of the user's files and options is not told."""
    assert (failure(error).detail, failure(error).user_message) == (SERVERS_FAULT, SERVERS_FAULT)


def test_request_of_a_job_comes_back_whole(tmp_path: Path) -> None:
    """The job's process reads what the worker wrote, the token included."""
    access = ServerAccess(("a:1",), security=Security(tls=True, token="secret"))
    for store in (tmp_path / "jobs.sqlite3", "postgresql://ann:secret@host/jobs"):
        for data in (tmp_path, None):
            request = WebJobRequest(
                "a" * 32, store, "owner", 2, data, "s3://bucket/jobs", access, environment={"A": "b"}
            )
            assert WebJobRequest.from_json(request.as_json()) == request
            assert SentRequest.of(request).access == access


def test_job_left_running_is_queued_again(tmp_path: Path) -> None:
    """A running job that nobody holds goes back to the queue; one that somebody holds is left alone."""
    service = make_service(tmp_path)
    left, held = add_job(service), add_job(service, "b" * 32)
    die_with(service, left)
    service.store.claim(held)
    recover(service.store, service.media)
    assert service.store.state_of(left) == "queued"
    assert service.store.state_of(held) == "running"
    assert turns(service.store) == [left]


def test_job_that_is_always_interrupted_fails_in_the_end(tmp_path: Path) -> None:
    """A job that takes the service down each time is not tried for ever."""
    service = make_service(tmp_path)
    job_id = add_job(service)
    for _ in range(recovery.MAX_ATTEMPTS):
        die_with(service, job_id)
        recover(service.store, service.media)
    job = service.store.get(job_id)
    assert job is not None
    assert (job.state, job.error and job.error["title"]) == ("failed", "The job was interrupted too often")


def test_job_without_files_fails(tmp_path: Path) -> None:
    """A queued job whose folder was removed by hand does not wait for ever."""
    service = make_service(tmp_path)
    service.store.add("a" * 32, "ann", {}, "in.mp4", "in.wav")
    recover(service.store, service.media)
    assert service.store.state_of("a" * 32) == "failed"
