"""Storage: a folder and a real S3-compatible server do the same, and say so when they are gone."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from client.errors import UsageError
from client.storage import (
    FileMissing,
    FolderStorage,
    Storage,
    StorageUnavailable,
    StoredFacts,
    open_storage,
)
from client.storage import s3 as s3_storage
from client.web import job_media, previews
from client.web.job_media import JobMedia, check_same_files, wait_for_storage
from client.web.recovery import sweep
from client.web.service import Service
from client.web.settings import Settings
from client.web.store import JobStore
from tests.s3_server import S3Server
from tests.web_service import TOKEN, add_job, bearer, files, listening, make_service, open_client, problem

CONTENT = bytes(range(256)) * 12_000  # three megabytes


@pytest.fixture(scope="module")
def s3_running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server that all tests of this file share."""
    with S3Server(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def s3(s3_running: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server, named in the environment."""
    for name, value in s3_running.environment.items():
        monkeypatch.setenv(name, value)
    return s3_running


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """Each kind of storage, empty."""
    if request.param == "folder":
        return open_storage(str(tmp_path / "kept"))
    request.getfixturevalue("s3")
    return open_storage(f"s3://media/{tmp_path.name}")


def test_stored_file_comes_back_whole(storage: Storage, tmp_path: Path) -> None:
    """What was put is got, read in parts, listed, described and removed; a neighbour stays."""
    (tmp_path / "in").write_bytes(CONTENT)
    for key in ("a/video", "a/deeper/result.mp4", "ab/video"):
        storage.put(tmp_path / "in", key)
    storage.get("a/video", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == CONTENT
    assert b"".join(storage.read("a/video", 300, 2_000_001)) == CONTENT[300:2_000_001]
    facts = storage.facts("a/video")
    assert facts is not None
    assert (facts.nbytes, facts.etag[0], facts.etag[-1]) == (len(CONTENT), '"', '"')
    assert abs(facts.modified_at - time.time()) < 60
    assert storage.keys("a") == ["a/deeper/result.mp4", "a/video"]
    storage.remove("a")
    storage.remove("a")
    assert (storage.keys("a"), storage.keys("ab")) == ([], ["ab/video"])


def test_missing_file_fails_and_leaves_nothing(storage: Storage, tmp_path: Path) -> None:
    """A file that is not there is named by its key; no half copy stays."""
    (tmp_path / "out").mkdir()
    with pytest.raises(FileMissing, match="a/none: expected a stored file, got none"):
        storage.get("a/none", tmp_path / "out" / "none")
    with pytest.raises(FileMissing):
        list(storage.read("a/none", 0, 5))
    assert storage.facts("a/none") is None
    assert list((tmp_path / "out").iterdir()) == []


def test_changed_file_has_another_tag(storage: Storage, tmp_path: Path) -> None:
    """Who has seen the former content does not take the new one for it."""
    tags = []
    for content in (b"one", b"two"):
        (tmp_path / "in").write_bytes(content)
        storage.put(tmp_path / "in", "file")
        facts = storage.facts("file")
        assert facts is not None
        tags.append(facts.etag)
    assert tags[0] != tags[1]


@pytest.mark.parametrize("address", ["ftp://host/folder", "s3:///no-bucket", "s3://key:secret@bucket/x", ""])
def test_address_of_no_storage_fails(address: str) -> None:
    """Other addresses are refused, without repeating what may be a secret."""
    with pytest.raises(UsageError, match="expected s3://BUCKET/PREFIX or a folder") as raised:
        open_storage(address)
    assert "secret@" not in str(raised.value)


@contextmanager
def slow_s3(monkeypatch: pytest.MonkeyPatch, pieces: int, pause_s: float) -> Iterator[None]:
    """A server whose every object is 100 kB, of which it sends some pieces of 10 kB, each after a pause."""

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            for name, value in (
                ("Content-Length", "100000"),
                ("ETag", '"x"'),
                ("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT"),
            ):
                self.send_header(name, value)
            self.end_headers()
            for _ in range(pieces):
                time.sleep(pause_s)
                self.wfile.write(bytes(10_000))
                self.wfile.flush()
            ended.wait(20)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    ended = threading.Event()
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setattr(s3_storage, "RETRY_S", 0.2)
        monkeypatch.setattr(s3_storage, "SILENCE_S", 1)
        try:
            yield
        finally:
            ended.set()
            server.shutdown()


def test_slow_file_arrives_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may take longer than any of its pieces may."""
    with slow_s3(monkeypatch, pieces=10, pause_s=0.2):
        open_storage("s3://media/x").get("file", tmp_path / "file")
    assert (tmp_path / "file").stat().st_size == 100_000


def test_server_that_falls_silent_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose rest never comes ends in an error, not in a wait for ever, and leaves no half file."""
    with (
        slow_s3(monkeypatch, pieces=1, pause_s=0.0),
        pytest.raises(StorageUnavailable, match="file: the storage does not answer"),
    ):
        open_storage("s3://media/x").get("file", tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_slow_reader_gets_the_whole_file(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reads slowly, such as a phone, gets all of a file although no answer is that long silent."""
    monkeypatch.setattr(s3_storage, "RETRY_S", 0.2)
    monkeypatch.setattr(s3_storage, "SILENCE_S", 1)
    storage = open_storage(f"s3://media/{tmp_path.name}")
    (tmp_path / "in").write_bytes(8 * CONTENT)
    storage.put(tmp_path / "in", "video")
    read = b""
    for piece in storage.read("video", 0, 8 * len(CONTENT)):
        time.sleep(1.3 if len(read) < 2_000_000 else 0)
        read += piece
    assert read == 8 * CONTENT


def test_bucket_that_is_not_there_fails(s3: S3Server, tmp_path: Path) -> None:
    """At the start and when a file is put, the storage is to blame, not the file."""
    (tmp_path / "in").write_bytes(b"")
    storage = open_storage("s3://another-bucket/x")
    with pytest.raises(StorageUnavailable, match=r"the storage refuses \(NoSuchBucket\)"):
        storage.check()
    with pytest.raises(StorageUnavailable, match="x/video: the storage has no such bucket"):
        storage.put(tmp_path / "in", "x/video")
    open_storage("s3://media/x").check()


def test_unusable_storage_fails_at_the_start(s3: S3Server, tmp_path: Path) -> None:
    """One line with the option's name, instead of uploads that all fail later."""
    (tmp_path / "file").write_bytes(b"")
    for address in ("s3://another-bucket/x", str(tmp_path / "file")):
        with pytest.raises(UsageError, match="media: expected a storage that can be used, got the storage"):
            JobMedia(Settings(tmp_path, media=address)).check()


@pytest.mark.parametrize("store", [None, "postgresql://host/jobs"])
def test_other_files_than_the_first_service_fails(tmp_path: Path, store: str | None) -> None:
    """A service that would look for the others' files elsewhere does not start, so that it fails none of their jobs."""
    records = JobStore(tmp_path / "jobs.sqlite3")
    first = Settings(tmp_path, store=store, media=str(tmp_path / "kept"))
    check_same_files(records, JobMedia(first))
    check_same_files(records, JobMedia(first))
    for other in (None, str(tmp_path / "other")):
        with pytest.raises(UsageError, match=f"media: expected {tmp_path}/kept, where the jobs of these records have"):
            check_same_files(records, JobMedia(Settings(tmp_path, store=store, media=other)))


def test_data_folder_may_move(tmp_path: Path) -> None:
    """Records in a data folder go with its files; those elsewhere do not."""
    check_same_files(JobStore(tmp_path / "jobs.sqlite3"), JobMedia(Settings(tmp_path / "old")))
    check_same_files(JobStore(tmp_path / "jobs.sqlite3"), JobMedia(Settings(tmp_path / "new")))


def test_folder_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs change the current folder; a storage that was named relative to the first one stays where it is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").write_bytes(b"in")
    storage = open_storage("kept")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    storage.put(tmp_path / "in", "x")
    assert (tmp_path / "kept" / "x").read_bytes() == b"in"
    named = open_storage(f"file://{tmp_path}/a%20b")
    named.put(tmp_path / "in", "x")
    assert (tmp_path / "a b" / "x").is_file()


def test_first_file_goes_if_the_second_cannot_be_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A storage that fails between two files of a job keeps none that no record leads to."""
    put = FolderStorage.put

    def put_no_video(self: FolderStorage, path: Path, key: str) -> None:
        if path.name == "video":
            raise StorageUnavailable("the storage does not answer")
        put(self, path, key)

    monkeypatch.setattr(FolderStorage, "put", put_no_video)
    with open_client(tmp_path / "data", media=str(tmp_path / "kept")) as client:
        problem(client.post("/jobs", files=files()), 503)
    assert [path for path in (tmp_path / "kept").rglob("*") if path.is_file()] == []


def test_first_file_goes_when_a_storage_is_back_that_went_before_the_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else would find it: no record leads to it."""
    put, kept = FolderStorage.put, tmp_path / "kept"

    def is_away(*_: object) -> None:
        raise StorageUnavailable("the storage does not answer")

    with monkeypatch.context() as away, open_client(tmp_path / "data", media=str(kept)) as client:
        service: Service = client.app.state.service  # type: ignore[attr-defined]

        def put_one(self: FolderStorage, path: Path, key: str) -> None:
            put(self, path, key)
            away.setattr(FolderStorage, "put", is_away)

        away.setattr(FolderStorage, "put", put_one)
        away.setattr(FolderStorage, "remove", is_away)
        problem(client.post("/jobs", files=files()), 503)
        sweep(service.settings, service.store, service.media)
        assert [path.name for path in kept.rglob("*") if path.is_file()] == ["audio"]
    for _ in range(2):
        sweep(service.settings, service.store, service.media)
    assert [path for path in kept.rglob("*") if path.is_file()] == []
    assert list(service.settings.leftovers_folder.iterdir()) == []


def test_wait_for_a_storage_is_told_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it does not answer."""
    monkeypatch.setattr(job_media, "WAIT_FIRST_S", 0.001)
    failures = [StorageUnavailable("the storage does not answer")] * 3

    def step() -> None:
        if failures:
            raise failures.pop()

    wait_for_storage(step, "a job")
    assert [record.getMessage() for record in caplog.records] == [
        "a job waits for the storage: the storage does not answer"
    ]


def test_storage_that_is_gone_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing answers, requests get 503 and keep nothing; a worker's step is done once it is back."""
    monkeypatch.setattr(s3_storage, "RETRY_S", 0.2)
    with S3Server(tmp_path / "s3") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        with open_client(tmp_path / "data", media="s3://media/jobs") as client:
            job = client.post("/jobs", files=files()).json()
            server.stop()
            said = problem(client.post("/jobs", files=files()), 503)
            assert said["type"] == "/problems/unavailable"
            assert server.environment["AWS_ENDPOINT_URL"] not in str(said)
            problem(client.get(job["links"]["video"]), 503)
            assert client.get("/jobs").json()["total"] == 1
            assert list((tmp_path / "data" / "jobs").iterdir()) == list((tmp_path / "data" / "uploads").iterdir()) == []
            media, got = JobMedia(Settings(tmp_path / "worker", media="s3://media/jobs")), []
            step = threading.Thread(
                target=wait_for_storage, args=(lambda: got.append(media.fetch(job["id"], ["video"])), "a job")
            )
            step.start()
            time.sleep(1)
            assert got == []
            server.start()
            step.join(30)
            assert (got[0] / "video").read_bytes() == b"video"
            assert client.get(job["links"]["video"]).content == b"video"
    with pytest.raises(StorageUnavailable, match="the storage does not answer"):
        media.facts(job["id"], "video")


def test_jobs_files_are_in_the_storage_alone(s3: S3Server, tmp_path: Path) -> None:
    """An upload leaves nothing here; parts, repeated requests, deletion and retries work as with a folder."""
    with open_client(tmp_path, media="s3://media/web") as client:
        content = CONTENT[:100_000]
        job = client.post("/jobs", files=files(content)).json()
        assert list((tmp_path / "jobs").iterdir()) == []
        assert [name for name in s3.names() if job["id"] in name] == [
            f"web/{job['id']}/{name}" for name in ("audio", "video")
        ]
        whole = client.get(job["links"]["video"])
        assert (whole.status_code, whole.content) == (200, content)
        part = client.get(job["links"]["video"], headers={"Range": "bytes=10-19"})
        assert (part.status_code, part.content, part.headers["content-length"]) == (206, content[10:20], "10")
        assert part.headers["content-range"] == f"bytes 10-19/{len(content)}"
        assert client.get(job["links"]["video"], headers={"Range": "bytes=-5"}).content == content[-5:]
        assert client.get(job["links"]["video"], headers={"Range": "bytes=0-1,5-6"}).content == content
        problem(client.get(job["links"]["video"], headers={"Range": "bytes=200000-"}), 416)
        again = client.get(job["links"]["video"], headers={"If-None-Match": whole.headers["etag"]})
        assert again.status_code == 304
        head = client.head(job["links"]["video"])
        assert (head.headers["content-length"], head.content) == (str(len(content)), b"")
        client.post(f"/jobs/{job['id']}/cancel")
        assert client.post(f"/jobs/{job['id']}/retry").status_code == 202
        assert client.delete(f"/jobs/{job['id']}").status_code == 204
        assert not [name for name in s3.names() if job["id"] in name]


def test_download_that_is_broken_off_is_not_read_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a caller hangs up, the storage is asked for no more, and its answer is closed."""
    nbytes, read, closed = 1 << 30, [], threading.Event()

    def endless(_: FolderStorage, key: str, start: int, stop: int) -> Generator[bytes]:
        try:
            for _ in range(start, stop, 1 << 20):
                read.append(key)
                yield bytes(1 << 20)
        finally:
            if stop == nbytes:
                closed.set()

    service = make_service(tmp_path, media=str(tmp_path / "kept"), tokens={"ann": TOKEN})
    job_id = add_job(service)
    monkeypatch.setattr(FolderStorage, "facts", lambda *_: StoredFacts(nbytes, 0.0, '"x"'))
    monkeypatch.setattr(FolderStorage, "read", endless)
    with (
        listening(service) as address,
        httpx.stream("GET", f"{address}/jobs/{job_id}/video", headers=bearer(TOKEN), trust_env=False) as answer,
    ):
        assert answer.headers["content-length"] == str(nbytes)
        next(answer.iter_raw())
        answer.close()
        assert closed.wait(20)
        assert len(read) < 200


def copied_files(folder: Path) -> list[Path]:
    return [path for path in (folder / "shown").rglob("*") if path.is_file()]


def test_preview_is_made_once_for_all_services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A poster is kept in the storage; the copy of the video that it was made from does not stay."""
    made = []

    async def make(kind: str, video: Path, output: Path) -> None:
        made.append(video.read_bytes())
        output.write_bytes(b"\xff\xd8\xff a poster")

    monkeypatch.setattr(previews, "make_preview", make)
    with open_client(tmp_path / "one", media=str(tmp_path / "kept")) as client:
        job = client.post("/jobs", files=files()).json()
        poster = client.get(job["links"]["poster"])
        assert (poster.content, poster.headers["content-type"]) == (b"\xff\xd8\xff a poster", "image/jpeg")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    with open_client(tmp_path / "two", media=str(tmp_path / "kept")) as client:
        assert client.get(job["links"]["poster"]).content == b"\xff\xd8\xff a poster"
    assert made == [b"video"]
    assert copied_files(tmp_path / "one") == copied_files(tmp_path / "two") == []


def test_preview_of_what_does_not_fit_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A video that the disk has no room for is not copied."""
    with open_client(tmp_path / "data", media=str(tmp_path / "kept")) as client:
        job = client.post("/jobs", files=files()).json()
        service: Service = client.app.state.service  # type: ignore[attr-defined]
        monkeypatch.setattr(service.disk, "free_bytes", lambda: 4)
        monkeypatch.setattr(FolderStorage, "get", lambda *_: pytest.fail("copied"))
        problem(client.get(job["links"]["poster"]), 507)


def test_file_that_vanishes_while_it_is_sent_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that is removed between two questions to the storage is answered as one that is gone."""
    with open_client(tmp_path / "data", media=str(tmp_path / "kept")) as client:
        job = client.post("/jobs", files=files()).json()
        monkeypatch.setattr(FolderStorage, "facts", lambda *_: StoredFacts(5, 0.0, '"x"'))
        (tmp_path / "kept" / job["id"] / "video").unlink()
        assert problem(client.get(job["links"]["video"]), 404)["type"] == "/problems/file-gone"


def test_folder_that_cannot_be_written_fails(tmp_path: Path) -> None:
    """The system's errors are those of storage."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageUnavailable, match="x: the storage cannot be used"):
        FolderStorage(tmp_path / "file").put(tmp_path / "file", "x")
