"""Clean-up without a Triton: old and deleted jobs, broken uploads, folders and links."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from client.errors import (
    MediaError,
)
from client.storage import FolderStorage, StorageUnavailable
from client.web import database, recovery
from client.web.job_process import run_job
from client.web.job_views import job_view
from client.web.recovery import hold_uploads, recover, sweep
from client.web.service import Service
from client.web.store import JobStore
from client.web.tables import duties, jobs
from tests.waiting import wait_until
from tests.web_service import (
    NO_TRITON,
    add_job,
    die_with,
    files,
    make_service,
    open_client,
    problem,
    workers_of,
)


def test_sweep_removes_old_and_deleted_jobs(tmp_path: Path) -> None:
    """Ended jobs go after their time with all their files; active ones and young ones stay."""
    service = make_service(tmp_path)
    old, active, deleted = (add_job(service, letter * 32) for letter in "abc")
    for job_id in (old, deleted):
        service.store.claim(job_id)
        service.store.finish(job_id, {"frames": 3, "seconds": 1.0})
    service.store.delete(deleted)
    sweep(service.settings, service.store, service.media)
    assert {path.name for path in service.settings.jobs_folder.iterdir()} == {old, active}
    sweep(make_service(tmp_path, keep_s=0.0).settings, service.store, service.media)
    assert {path.name for path in service.settings.jobs_folder.iterdir()} == {active}
    assert service.store.get(old) is None
    assert service.store.totals()["finished"] == (2, 6, 2.0)


def age(service: Service, job_id: str) -> None:
    """Let a job's end be some time ago."""
    with service.store.transaction() as db:
        db.execute(update(jobs).where(jobs.c.id == job_id).values(ended_at=jobs.c.ended_at - 1000))


def test_record_stays_until_its_files_are_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However late the sweep comes, files that the storage could not remove are found by the record."""
    service = make_service(tmp_path, media=str(tmp_path / "kept"))
    job_id = add_job(service)
    service.store.cancel(job_id)
    service.store.delete(job_id)
    age(service, job_id)

    def is_away(*_: object) -> None:
        raise StorageUnavailable("the storage does not answer")

    with monkeypatch.context() as away:
        away.setattr(FolderStorage, "remove", is_away)
        sweep(service.settings, service.store, service.media)
        assert service.store.state_of(job_id) == "cancelled"
    (tmp_path / "kept" / job_id).mkdir(parents=True)
    (tmp_path / "kept" / job_id / "video").write_bytes(b"video")
    sweep(service.settings, service.store, service.media)
    assert service.store.state_of(job_id) is None
    assert list((tmp_path / "kept").iterdir()) == []


def test_sweep_keeps_folders_of_running_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies of jobs that another service of this folder runs stay; those of ended jobs go after a while."""
    monkeypatch.setattr(recovery, "STALE_COPY_S", -1.0)
    service = make_service(tmp_path, media=str(tmp_path / "kept"))
    running, ended = add_job(service), add_job(service, "b" * 32)
    JobStore(tmp_path / "jobs.sqlite3").claim(running)
    service.store.cancel(ended)
    sweep(service.settings, service.store, service.media)
    assert [path.name for path in service.settings.jobs_folder.iterdir()] == [running]


def has_sweeper(service: Service) -> bool:
    with service.store.connection() as db:
        return db.execute(select(duties)).first() is not None


def test_sweep_is_left_to_others(tmp_path: Path) -> None:
    """A service that ends does not keep the next one from sweeping, nor does one that was killed."""
    service = make_service(tmp_path)
    with workers_of(service):
        wait_until(lambda: has_sweeper(service))
    other = JobStore(tmp_path / "jobs.sqlite3")
    assert other.take_duty(recovery.SWEEP, 60.0)
    other.leave_duties()
    code = (
        "import sys; from pathlib import Path; from client.web.store import JobStore;"
        "assert JobStore(Path(sys.argv[1])).take_duty('sweep', 600.0)"
    )
    subprocess.run([sys.executable, "-c", code, str(service.store.place)], check=True)
    assert other.take_duty(recovery.SWEEP, 60.0)


@pytest.mark.parametrize("is_recorded", [False, True])
def test_lost_answer_of_the_records_loses_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_recorded: bool
) -> None:
    """Where the records break off, the files of a recorded job stay; those that no record leads to go."""
    add = JobStore.add

    def broken(store: JobStore, *arguments: Any) -> None:
        if is_recorded:
            add(store, *arguments)
        raise OperationalError("commit", None, ConnectionError("gone"))

    monkeypatch.setattr(JobStore, "add", broken)
    with open_client(tmp_path) as client:
        problem(client.post("/jobs", files=files()), 503)
        known = client.get("/jobs").json()["jobs"]
    assert [path.name for path in (tmp_path / "jobs").iterdir()] == [job["id"] for job in known]
    assert len(known) == int(is_recorded)


def test_sweep_removes_uploads_that_broke_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed service left of an upload goes after a while."""
    service = make_service(tmp_path)
    (service.settings.uploads_folder / "broken").mkdir()
    sweep(service.settings, service.store, service.media)
    assert list(service.settings.uploads_folder.iterdir())
    monkeypatch.setattr(recovery, "STALE_UPLOAD_S", -1.0)
    sweep(service.settings, service.store, service.media)
    assert not list(service.settings.uploads_folder.iterdir())


def test_sweep_goes_on_past_an_upload_that_vanishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that becomes a job between two looks is no error."""
    uploads = make_service(tmp_path).settings.uploads_folder
    for name in "ac":
        (uploads / name).mkdir()
    (uploads / "b").symlink_to("vanished")
    monkeypatch.setattr(recovery, "STALE_UPLOAD_S", -1.0)
    service = make_service(tmp_path)
    sweep(service.settings, service.store, service.media)
    assert [path.name for path in uploads.iterdir()] == ["b"]


def test_deleted_running_job_is_cancelled(tmp_path: Path) -> None:
    """Removing a running job asks its process to end; its files go when it has."""
    with open_client(tmp_path) as client:
        service: Service = client.app.state.service  # type: ignore[attr-defined]
        job = client.post("/jobs", files=files()).json()
        die_with(service, job["id"])
        assert client.delete(f"/jobs/{job['id']}").status_code == 204
        assert service.store.state_of(job["id"]) == "cancelling"
        assert client.get(f"/jobs/{job['id']}").status_code == 404
        recover(service.store, service.media)
        sweep(service.settings, service.store, service.media)
    assert service.store.state_of(job["id"]) == "cancelled"
    assert not list(service.settings.jobs_folder.iterdir())


def test_clock_that_is_set_back_changes_no_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs are listed and counted in the order they came in, and a stage of the future has no speed."""
    service = make_service(tmp_path)
    first = add_job(service)
    monkeypatch.setattr(database.time, "time", lambda: 1000.0)
    second = add_job(service, "b" * 32)
    assert [job.id for job in service.store.jobs_of("ann", 10)] == [second, first]
    assert [job.id for job in service.store.in_state("queued")] == [first, second]
    (later,) = [job for job in service.store.in_state("queued") if job.id == second]
    assert service.store.jobs_ahead(later) == 1
    monkeypatch.undo()
    service.store.claim(first)
    service.store.note_frames(first, 5)
    monkeypatch.setattr(database.time, "time", lambda: 1000.0)
    running = service.store.get(first)
    assert running is not None
    assert job_view(running, keep_s=60.0).frames_per_second is None


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
    """A link in place of a file counts as missing, for the answer and for the job's process."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    with open_client(tmp_path / "data") as client:
        service: Service = client.app.state.service  # type: ignore[attr-defined]
        job = client.post("/jobs", files=files()).json()
        folder = service.settings.job_folder(job["id"])
        (folder / "video").unlink()
        (folder / "video").symlink_to(secret)
        assert client.get(job["links"]["video"]).status_code == 404
    monkeypatch.chdir(folder)
    with pytest.raises(MediaError, match="video: expected a file, got none"):
        run_job(service.store, service.media, job["id"], NO_TRITON)
