"""Workers and records without a Triton: attempts, recovery, clean-up."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from client.errors import (
    LipSyncError,
    MediaError,
    NoFaceError,
    OutputError,
    RequestRejected,
    UsageError,
    ref,
)
from client.servers.access import ServerAccess
from client.servers.security import Security
from client.web import store, worker
from client.web.job_process import SERVERS_FAULT, WebJobRequest, failure, run_job, servers_failure
from client.web.service import Service
from client.web.views import job_view
from client.web.worker import Workers, hold, hold_uploads, recover, sweep
from tests.waiting import wait_until
from tests.web_service import NO_TRITON, NOWHERE, add_job, files, make_service, open_client, problem


def add_for(service: Service, user: str, *names: str) -> None:
    for name in names:
        service.settings.job_folder(name).mkdir()
        service.store.add(name, user, {"model": "mouth-motion"}, "in.mp4", "in.wav", 10.0)


def test_users_take_turns(tmp_path: Path) -> None:
    """One user's many jobs do not keep another's waiting; each user's jobs keep their order."""
    service = make_service(tmp_path)
    add_for(service, "ann", "a1", "a2", "a3")
    add_for(service, "bob", "b1", "b2")
    assert service.store.turns() == ["a1", "b1", "a2", "b2", "a3"]
    assert service.store.claim("a1")
    assert service.store.turns() == ["b1", "a2", "b2", "a3"]
    service.store.finish("a1", {})
    assert service.store.turns() == ["b1", "a2", "b2", "a3"]
    add_for(service, "cid", "c1")
    assert service.store.turns()[:2] == ["b1", "c1"]
    (last,) = [job for job in service.store.in_state("queued") if job.id == "a3"]
    assert service.store.jobs_ahead(last) == 4


def test_workers_run_jobs_in_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue's own order does not matter: every job runs once, users in turns."""
    ran: list[str] = []

    def run(workers: Workers, record: store.JobRecord, lock: int) -> int:
        ran.append(record.id)
        workers._store.finish(record.id, {})
        return 0

    monkeypatch.setattr(Workers, "_run_process", run)
    service = make_service(tmp_path)
    add_for(service, "ann", "a1", "a2", "a3")
    add_for(service, "bob", "b1")
    for job_id in ("a1", "a2", "a3", "b1"):
        service.queue.put(job_id)
    with Workers(service.settings, service.store, service.queue, NO_TRITON, lambda access: None):
        wait_until(lambda: len(ran) == 4)
    assert ran == ["a1", "b1", "a2", "a3"]


def test_job_that_another_worker_holds_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose turn it is may not be free yet: the next job runs meanwhile."""
    monkeypatch.setattr(Workers, "_run_process", lambda workers, record, lock: workers._store.finish(record.id, {}))
    service = make_service(tmp_path)
    add_for(service, "ann", "a1")
    add_for(service, "bob", "b1")
    with hold(service.settings, "a1"):
        Workers(service.settings, service.store, service.queue, NO_TRITON, lambda access: None)._run("b1")
    assert [service.store.state_of(job_id) for job_id in ("a1", "b1")] == ["queued", "finished"]


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
    monkeypatch.setattr(Workers, "_run_process", lambda workers, record, lock: workers._store.finish(record.id, {}))
    service = make_service(tmp_path)
    job_id = add_job(service)
    asked: list[None] = []
    is_ready = threading.Event()

    def trouble(_: ServerAccess) -> str | None:
        asked.append(None)
        return None if is_ready.is_set() else "no server answers"

    with Workers(service.settings, service.store, service.queue, NO_TRITON, trouble):
        wait_until(lambda: len(asked) > 2 * worker.MAX_ATTEMPTS)
        waiting = service.store.get(job_id)
        assert waiting is not None
        assert (waiting.state, waiting.attempts) == ("queued", 0)
        is_ready.set()
        wait_until(lambda: service.store.state_of(job_id) == "finished")


def test_paused_queue_ends_with_the_service(tmp_path: Path) -> None:
    """Waiting for a server does not keep the service from ending, and the job stays queued."""
    service = make_service(tmp_path)
    job_id = add_job(service)
    with Workers(service.settings, service.store, service.queue, NO_TRITON):
        wait_until(lambda: not service.queue.waiting())
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
    with Workers(service.settings, service.store, service.queue, NO_TRITON, lambda access: None):
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
    told = job_view(record)
    assert told.warnings == ["set “While nobody speaks” to model"]
    assert told.report == {"frames": 3, "warnings": ["set in_silence to model"]}


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
    request = WebJobRequest("a" * 32, tmp_path / "jobs.sqlite3", tmp_path, 7, is_last_try=True, access=access)
    assert WebJobRequest.from_json(request.as_json()) == request


def test_job_left_running_is_queued_again(tmp_path: Path) -> None:
    """A running job that nobody holds goes back to the queue; one that somebody holds is left alone."""
    service = make_service(tmp_path)
    left, held = add_job(service), add_job(service, "b" * 32)
    service.store.claim(left)
    service.store.claim(held)
    with hold(service.settings, held):
        recover(service.settings, service.store, service.queue)
    assert service.store.state_of(left) == "queued"
    assert service.store.state_of(held) == "running"
    assert service.queue.waiting() == {left}


def test_job_that_is_always_interrupted_fails_in_the_end(tmp_path: Path) -> None:
    """A job that takes the service down each time is not tried for ever."""
    service = make_service(tmp_path)
    job_id = add_job(service)
    for _ in range(worker.MAX_ATTEMPTS):
        assert service.store.claim(job_id)
        recover(service.settings, service.store, service.queue)
    job = service.store.get(job_id)
    assert job is not None
    assert (job.state, job.error and job.error["title"]) == ("failed", "The job was interrupted too often")


def test_job_without_files_fails(tmp_path: Path) -> None:
    """A queued job whose folder was removed by hand does not wait for ever."""
    service = make_service(tmp_path)
    service.store.add("a" * 32, "ann", {}, "in.mp4", "in.wav")
    recover(service.settings, service.store, service.queue)
    assert service.store.state_of("a" * 32) == "failed"


def test_sweep_removes_old_and_deleted_jobs(tmp_path: Path) -> None:
    """Ended jobs go after their time with all their files; active ones and young ones stay."""
    service = make_service(tmp_path)
    old, active, deleted = (add_job(service, letter * 32) for letter in "abc")
    for job_id in (old, deleted):
        service.store.claim(job_id)
        service.store.finish(job_id, {"frames": 3, "seconds": 1.0})
    service.store.delete(deleted)
    sweep(service.settings, service.store)
    assert {path.name for path in service.settings.jobs_folder.iterdir()} == {old, active}
    sweep(make_service(tmp_path, keep_s=0.0).settings, service.store)
    assert {path.name for path in service.settings.jobs_folder.iterdir()} == {active}
    assert service.store.get(old) is None
    assert service.store.totals()["finished"] == (2, 6, 2.0)


def test_sweep_removes_uploads_that_broke_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed service left of an upload goes after a while."""
    service = make_service(tmp_path)
    (service.settings.uploads_folder / "broken").mkdir()
    sweep(service.settings, service.store)
    assert list(service.settings.uploads_folder.iterdir())
    monkeypatch.setattr(worker, "STALE_UPLOAD_S", -1.0)
    sweep(service.settings, service.store)
    assert not list(service.settings.uploads_folder.iterdir())


def test_sweep_goes_on_past_an_upload_that_vanishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that becomes a job between two looks is no error."""
    uploads = make_service(tmp_path).settings.uploads_folder
    for name in "ac":
        (uploads / name).mkdir()
    (uploads / "b").symlink_to("vanished")
    monkeypatch.setattr(worker, "STALE_UPLOAD_S", -1.0)
    service = make_service(tmp_path)
    sweep(service.settings, service.store)
    assert [path.name for path in uploads.iterdir()] == ["b"]


def test_deleted_running_job_is_cancelled(tmp_path: Path) -> None:
    """Removing a running job asks its process to end; its files go when it has."""
    with open_client(tmp_path) as client:
        service: Service = client.app.state.service  # type: ignore[attr-defined]
        job = client.post("/jobs", files=files()).json()
        service.store.claim(job["id"])
        assert client.delete(f"/jobs/{job['id']}").status_code == 204
        assert service.store.state_of(job["id"]) == "cancelling"
        assert client.get(f"/jobs/{job['id']}").status_code == 404
        recover(service.settings, service.store, service.queue)
        sweep(service.settings, service.store)
    assert service.store.state_of(job["id"]) == "cancelled"
    assert not list(service.settings.jobs_folder.iterdir())


def test_damaged_queue_is_filled_again(tmp_path: Path) -> None:
    """The queue is made again from the jobs' records."""
    job_id = add_job(make_service(tmp_path))
    (tmp_path / "queue.sqlite3").write_bytes(b"no database at all, but long enough to be one" * 100)
    service = make_service(tmp_path)
    recover(service.settings, service.store, service.queue)
    assert service.queue.waiting() == {job_id}
    assert (tmp_path / "queue.damaged").exists()


def test_clock_that_is_set_back_changes_no_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs are listed and counted in the order they came in, and a stage of the future has no speed."""
    service = make_service(tmp_path)
    first = add_job(service)
    monkeypatch.setattr(store.time, "time", lambda: 1000.0)
    second = add_job(service, "b" * 32)
    assert [job.id for job in service.store.jobs_of("ann", 10)] == [second, first]
    assert [job.id for job in service.store.in_state("queued")] == [first, second]
    (later,) = [job for job in service.store.in_state("queued") if job.id == second]
    assert service.store.jobs_ahead(later) == 1
    monkeypatch.undo()
    service.store.claim(first)
    service.store.note_frames(first, 5)
    monkeypatch.setattr(store.time, "time", lambda: 1000.0)
    running = service.store.get(first)
    assert running is not None
    assert job_view(running).frames_per_second is None


def test_half_uploads_go_at_the_next_start(tmp_path: Path) -> None:
    """What kill -9 left of uploads is removed, unless another service of the folder may still be taking them."""
    settings = make_service(tmp_path).settings
    (settings.uploads_folder / "broken").mkdir()
    with hold_uploads(settings):
        assert not list(settings.uploads_folder.iterdir())
        (settings.uploads_folder / "coming").mkdir()
        with hold_uploads(settings):
            assert [path.name for path in settings.uploads_folder.iterdir()] == ["coming"]


def test_links_in_a_jobs_folder_are_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link is as good as no file, for the answer, the job's process and its lock."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    with open_client(tmp_path / "data") as client:
        service: Service = client.app.state.service  # type: ignore[attr-defined]
        job = client.post("/jobs", files=files()).json()
        folder = service.settings.job_folder(job["id"])
        (folder / "video").unlink()
        (folder / "video").symlink_to(secret)
        (folder / "lock").symlink_to(tmp_path / "made")
        assert client.get(job["links"]["video"]).status_code == 404
        with hold(service.settings, job["id"]) as lock:
            assert lock is None
    assert not (tmp_path / "made").exists()
    monkeypatch.chdir(folder)
    with pytest.raises(MediaError, match="video: expected a file, got none"):
        run_job(service.store, job["id"], NO_TRITON)
