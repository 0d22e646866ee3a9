"""Files of a batch by URL: refused early, fetched where the job runs, stored whole, skipped when done."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from client import job_process
from client.batch import read_jobs
from client.batch.jobs import BatchJob
from client.cli.batch import batch_command
from client.errors import BatchError, LipSyncError, MediaError, OutputError
from client.job_options import JobOptions
from client.job_process import JobRequest, JobResult, answer
from client.job_urls import FOLDER_PREFIX, StandIns
from client.options import RESUME
from client.report import Report
from client.running.local import LocalRunner
from client.running.process import JobProcess
from client.running.runner import EndedJob
from client.running.splitting import SplittingRunner
from client.servers.access import ServerAccess
from client.sound.options import BACKGROUND
from client.storage import StorageUnavailable, open_storage, url_guard, urls
from client.storage.urls import copy_name, recorded_url, shown_url
from client.temporary import temporary_folder
from tests.open_guard import COMMAND
from tests.s3_server import S3Server
from tests.waiting import wait_until
from tests.web_receiver import Receiver, receiving

SECRET = "X-Amz-Signature=a-secret"
VIDEO = f"/v.mp4?{SECRET}"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A site of the public web with a video."""
    with receiving() as running:
        running.content = {VIDEO: b"video of the web", "/empty.mp4": b""}
        monkeypatch.setattr(url_guard, "PUBLIC_WEB", running.guard())
        yield running


@pytest.fixture(scope="module")
def s3_running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3-compatible server."""
    with S3Server(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def s3(s3_running: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """The server, named in the environment, with speech and music."""
    for name, value in s3_running.environment.items():
        monkeypatch.setenv(name, value)
    urls._bucket.cache_clear()
    for key in ("speech.wav", "music.mp3"):
        put(key, key.encode())
    yield s3_running
    open_storage("s3://media").remove("out")
    urls._bucket.cache_clear()


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files, empty."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def put(key: str, content: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(content)
        open_storage("s3://media").put(Path(file.name), key)


def content(key: str) -> bytes:
    return b"".join(open_storage("s3://media").read(key, 0, 1000))


def line_of(site: Receiver, **choices: object) -> dict[str, object]:
    files = {"video": site.url(VIDEO), "audio": "s3://media/speech.wav"}
    return {**files, "output": "s3://media/out/o.mp4", **choices}


def read(folder: Path, *lines: dict[str, object]) -> list[BatchJob]:
    (folder / "jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return list(read_jobs(folder / "jobs.jsonl", {}))


def request_of(job: BatchJob) -> JobRequest:
    """A job's request as its process reads it."""
    assert job.options is not None, job.problem
    request = JobRequest(job.options, ServerAccess(), Path("models"), urls=job.urls)
    return JobRequest.from_json(request.as_json())


Run = Callable[[JobOptions], None]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """What jobs do in place of lip-sync: by default, join their inputs."""

    def join(job: JobOptions) -> None:
        voices = job.script.files if job.script else [job.audio]
        inputs = [job.video, *voices, *filter(lambda sound: isinstance(sound, Path), [job.values[BACKGROUND]])]
        job.output.write_bytes(b"; ".join(path.read_bytes() for path in inputs if path))

    runs = [join]

    def run_job(job: JobOptions, *_: object) -> Report:
        runs[0](job)
        return Report(output=str(job.output), job_id=job.job_id, model="", transport="", width=1, height=1, video_fps=1)

    monkeypatch.setattr(job_process, "run_job", run_job)
    return runs


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        ({"video": "ftp://host/v.mp4"}, "ftp://host/v.mp4, line 1: expected a path, s3://BUCKET/KEY or https://"),
        ({"audio": "file:///etc/passwd"}, "file:///etc/passwd, line 1: expected a path, s3://BUCKET/KEY or https://"),
        ({"video": "https://ann:a-secret@host/v.mp4"}, "https://host/v.mp4, line 1: expected an http or https address"),
        ({"video": f"https://host:22/v.mp4?{SECRET}"}, "https://host:22/v.mp4, line 1: expected an http or https"),
        ({"video": f"https://[::1/v?{SECRET}"}, "https://, line 1: expected a web address"),
        ({"audio": "s3://media"}, "s3://media, line 1: expected s3://BUCKET/KEY with the key of a file"),
        ({"audio": "s3://media/folder/"}, "s3://media/folder/, line 1: expected s3://BUCKET/KEY"),
        ({"audio": "s3://media/a/../b"}, "s3://media/a/../b, line 1: expected s3://BUCKET/KEY"),
        ({"audio": "s3://key:a-secret@media/b"}, "s3://media/b, line 1: expected s3://BUCKET/KEY"),
        ({"audio": "s3://media/a\nb"}, "s3://media/a?b, line 1: expected s3://BUCKET/KEY"),
        ({"output": f"https://host/o.mp4?{SECRET}"}, "https://host/o.mp4, line 1: expected a path or s3://BUCKET/KEY"),
        ({"output": "s3://media/.hidden.mp4"}, "s3://media/.hidden.mp4, line 1: expected a key whose last part"),
        ({"output": "s3://media/v.mp4", "video": "s3://media/v.mp4"}, "s3://media/v.mp4, line 1: expected a new file"),
        ({"background": f"https://host:1/m.mp3?{SECRET}"}, "https://host:1/m.mp3, line 1: expected an http or https"),
        ({"script": "https://host/scene.json", "audio": None}, "script, line 1: expected a path, got a URL"),
    ],
)
def test_bad_url_fails_before_its_job_starts(tmp_path: Path, choices: dict[str, object], reason: str) -> None:
    """What can be known without a connection is told of the line, without what may grant access."""
    line = {"video": "v.mp4", "audio": "a.wav", "output": str(tmp_path / "o.mp4"), **choices}
    (job,) = read(tmp_path, {name: value for name, value in line.items() if value is not None})
    assert job.options is None
    assert str(job.problem).startswith(reason)
    assert "a-secret" not in f"{job.problem} {json.dumps(job.choices)}"


def test_output_that_is_an_input_fails() -> None:
    """Whichever is named first."""
    url = "s3://media/v.mp4"
    for first, second in ((StandIns.input, StandIns.result), (StandIns.result, StandIns.input)):
        stand_ins = StandIns()
        first(stand_ins, url)
        with pytest.raises(OutputError, match="s3://media/v.mp4: expected a new file, got one of the inputs"):
            second(stand_ins, url)


def test_what_only_files_can_be_fails_by_its_url(tmp_path: Path) -> None:
    """Who speaks when is read before the job is sent anywhere."""
    scene = {"voice": "a.wav", "diarization": f"https://host/turns.rttm?{SECRET}"}
    (tmp_path / "scene.json").write_text(json.dumps(scene))
    (job,) = read(tmp_path, {"video": "v.mp4", "script": str(tmp_path / "scene.json"), "output": "s3://media/o.mp4"})
    assert "https://host/turns.rttm" in str(job.problem)
    assert "lipsync-url" not in str(job.problem)


@pytest.mark.parametrize(
    ("url", "shown", "name"),
    [
        ("https://host/a%20b/c%2Fd.mp4?sig=1#x", "https://host/a%20b/c%2Fd.mp4", "d.mp4"),
        ("https://host", "https://host", "file"),
        ("https://host/%2e%2e", "https://host/%2e%2e", "file"),
        ("https://host/..%5C..%5Cevil.mp4", "https://host/..%5C..%5Cevil.mp4", "evil.mp4"),
        ("s3://b/a%20b?c#d.mp4", "s3://b/a%20b?c#d.mp4", "a%20b?c#d.mp4"),
        (f"s3://b/{'ü' * 400}.mp4", f"s3://b/{'ü' * 400}.mp4", f"{'ü' * 25}"),
    ],
)
def test_names_of_urls(url: str, shown: str, name: str) -> None:
    """Messages leave the query out; a copy has a file's name, and lies in its folder."""
    assert shown_url(url) == shown
    assert copy_name(url) == name
    assert recorded_url(url).startswith(shown)
    assert (recorded_url(url) == url) == (shown == url)


def test_job_is_fetched_and_stored(
    tmp_path: Path, site: Receiver, s3: S3Server, temporary: Path, run: list[Run]
) -> None:
    """A video of the web and sounds in S3 become a result in S3, and nothing stays on the machine."""
    (job,) = read(tmp_path, line_of(site, background="s3://media/music.mp3"))
    result = answer(request_of(job))
    assert result.error is None
    assert content("out/o.mp4") == b"video of the web; speech.wav; music.mp3"
    assert result.report is not None
    assert result.report["output"] == "s3://media/out/o.mp4"
    assert set(result.tags) == {"s3://media/out/o.mp4", "s3://media/speech.wav", "s3://media/music.mp3"}
    assert site.asked == [VIDEO]
    assert list(temporary.iterdir()) == []


def test_script_names_voices_by_url(
    tmp_path: Path, site: Receiver, s3: S3Server, temporary: Path, run: list[Run]
) -> None:
    """Beside voices that are files; a voice that changes in S3 brings the job back."""
    (tmp_path / "ann.wav").write_bytes(b"ann")
    speakers = [{"name": "ann", "voice": "ann.wav"}, {"name": "bob", "voice": "s3://media/speech.wav"}]
    (tmp_path / "scene.json").write_text(json.dumps({"speakers": speakers}))
    line = line_of(site, script=str(tmp_path / "scene.json"))
    del line["audio"]
    (job,) = read(tmp_path, line)
    result = answer(request_of(job))
    assert result.error is None
    assert content("out/o.mp4") == b"video of the web; ann; speech.wav"
    assert job.stamps(result.tags) == job.stamps()
    assert "voice s3://media/speech.wav" in job.stamps()
    put("speech.wav", b"other")
    assert job.stamps(result.tags) != job.stamps()


def test_files_beside_the_output_are_stored(
    tmp_path: Path, site: Receiver, s3: S3Server, temporary: Path, run: list[Run]
) -> None:
    """Credentials that the result cannot hold go with it, hidden files do not; the report names all by URL."""

    def write(job: JobOptions) -> None:
        assert job.values[RESUME] is False
        for name in ("o.mkv", "o.mkv.c2pa", ".o.mkv.work"):
            job.output.with_name(name).write_bytes(name.encode())

    run[0] = write
    (job,) = read(tmp_path, line_of(site, output="s3://media/out/o.mkv"))
    assert answer(request_of(job)).error is None
    assert open_storage("s3://media").keys("out") == ["out/o.mkv", "out/o.mkv.c2pa"]


@pytest.mark.parametrize(
    ("choices", "code", "reason"),
    [
        (
            {"video": "{site}/none.mp4?{secret}"},
            3,
            "{site}/none.mp4: expected an address that returns the file, got",
        ),
        (
            {"video": "{site}/empty.mp4"},
            3,
            "{site}/empty.mp4: expected an address that returns a media file, got",
        ),
        ({"video": "{inside}/v.mp4?{secret}"}, 3, "{inside}/v.mp4: expected an address of the public web, got another"),
        ({"audio": "s3://media/none.wav"}, 3, "s3://media/none.wav: expected a stored file, got none"),
        ({"output": "s3://none/o.mp4"}, 1, "s3://none/o.mp4: the storage refuses (NoSuchBucket)"),
    ],
)
def test_file_that_cannot_be_had_fails_its_job(
    tmp_path: Path,
    site: Receiver,
    s3: S3Server,
    temporary: Path,
    run: list[Run],
    choices: dict[str, str],
    code: int,
    reason: str,
) -> None:
    """One line names the URL without its query; no file stays, and none is stored."""
    places = {"site": site.url(""), "inside": site.url("", "inside.example"), "secret": SECRET}
    (job,) = read(tmp_path, line_of(site, **{key: text.format(**places) for key, text in choices.items()}))
    result = answer(request_of(job))
    assert result.exit_code == code
    assert str(result.error).startswith(reason.format(**places))
    assert SECRET not in str(result.error)
    assert not any(name.startswith("out/") for name in s3.names())
    assert list(temporary.iterdir()) == []


def test_job_that_fails_names_urls(
    tmp_path: Path, site: Receiver, s3: S3Server, temporary: Path, run: list[Run]
) -> None:
    """What the job says of its copies is said of the URLs; what it wrote is not stored, and what was there stays."""
    put("out/o.mp4", b"of yesterday")

    def fail(job: JobOptions) -> None:
        job.output.write_bytes(b"half")
        raise MediaError(about=job.video, expected="a video", got=job.output)

    run[0] = fail
    (job,) = read(tmp_path, line_of(site))
    result = answer(request_of(job))
    assert str(result.error) == f"{site.url('/v.mp4')}: expected a video, got s3://media/out/o.mp4"
    assert content("out/o.mp4") == b"of yesterday"
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("name", ["MAX_INPUT_BYTES", "MIN_FREE_BYTES"])
@pytest.mark.parametrize("video", ["s3://media/music.mp3", ""])
def test_disk_is_bounded(
    tmp_path: Path,
    site: Receiver,
    s3: S3Server,
    temporary: Path,
    run: list[Run],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    video: str,
) -> None:
    """Inputs that are too large together, or that the disk has no room for, fail the job and go."""
    monkeypatch.setattr(f"client.job_urls.{name}", 12 if name == "MAX_INPUT_BYTES" else 10**18)
    (job,) = read(tmp_path, line_of(site, **({"video": video} if video else {})))
    reason = "expected at most" if name == "MAX_INPUT_BYTES" else "expected room for the files on the disk"
    assert reason in str(answer(request_of(job)).error)
    assert list(temporary.iterdir()) == []


def test_storage_that_is_gone_for_a_moment_delays_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked again, but not for ever, and not where it refuses."""
    now, answers = [0.0], [StorageUnavailable("gone"), StorageUnavailable("gone"), "stored"]
    monkeypatch.setattr(urls.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(urls.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))

    def call() -> str:
        found = answers.pop(0)
        if isinstance(found, LipSyncError):
            raise found
        return str(found)

    assert urls.patiently(call) == "stored"
    answers[:] = [StorageUnavailable("gone")] * 1000
    with pytest.raises(StorageUnavailable):
        urls.patiently(call)
    assert now[0] < 3 * urls.PATIENCE_S
    answers[:] = [urls.StorageRefused("no such bucket"), "stored"]
    with pytest.raises(StorageUnavailable, match="no such bucket"):
        urls.patiently(call)


def test_folder_of_a_killed_job_goes_with_the_next(temporary: Path) -> None:
    """One that is in use stays."""
    with temporary_folder(FOLDER_PREFIX) as used, temporary_folder(FOLDER_PREFIX) as other:
        killed = temporary / f"{FOLDER_PREFIX}killed"
        killed.mkdir()
        (killed / "lock").touch()
        (killed / "video.mp4").write_bytes(b"half")
        with temporary_folder(FOLDER_PREFIX):
            assert used.is_dir()
            assert other.is_dir()
            assert not killed.exists()
    assert list(temporary.iterdir()) == []


class AnswersHere(LocalRunner):
    """Runs jobs in this process, one after the other."""

    def __init__(self, _at_once: int = 1) -> None:
        self.in_flight_limit = 1
        self._requests: list[JobRequest] = []

    def submit(self, request: JobRequest) -> None:
        self._requests.append(JobRequest.from_json(request.as_json()))

    def wait(self) -> EndedJob:
        request = self._requests.pop()
        return EndedJob(request.job.job_id, JobResult.from_json(answer(request).as_json()), 0.1)

    def close(self) -> None: ...


@pytest.fixture
def batch(
    tmp_path: Path, temporary: Path, run: list[Run], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., dict[str, int]]:
    """Runs a batch in this process and returns its summary."""
    monkeypatch.setattr("client.cli.batch_runner.LocalRunner", AnswersHere)

    def run_lines(*lines: dict[str, object], options: tuple[str, ...] = ()) -> dict[str, int]:
        read(tmp_path, *lines)
        with suppress(BatchError):
            batch_command(["--batch", str(tmp_path / "jobs.jsonl"), "--json", "--quiet", *options])
        summary = json.loads(capsys.readouterr().out)
        return {name: summary[name] for name in ("done", "skipped", "failed")}

    return run_lines


def test_second_run_skips_what_is_stored(
    tmp_path: Path, site: Receiver, s3: S3Server, batch: Callable[..., dict[str, int]]
) -> None:
    """As with paths: a missing or replaced output, or a changed input, brings a job back; the web is not asked."""
    lines = [line_of(site, output=f"s3://media/out/{name}.mp4") for name in "abc"]
    assert batch(*lines) == {"done": 3, "skipped": 0, "failed": 0}
    site.content.clear()
    assert batch(*lines) == {"done": 0, "skipped": 3, "failed": 0}
    site.content = dict.fromkeys((VIDEO, "/v.mp4"), b"video of the web")
    open_storage("s3://media").remove("out/a.mp4")
    put("out/b.mp4", b"of another program")
    assert batch(*lines) == {"done": 2, "skipped": 1, "failed": 0}
    put("speech.wav", b"other speech")
    assert batch(*lines) == {"done": 3, "skipped": 0, "failed": 0}
    lines[0]["video"] = site.url("/v.mp4")  # without the query, which is a part of what is asked for
    assert batch(*lines) == {"done": 1, "skipped": 2, "failed": 0}


def test_report_holds_no_secret(
    tmp_path: Path, site: Receiver, s3: S3Server, batch: Callable[..., dict[str, int]]
) -> None:
    """Of queries it has a hash; options of all jobs are no exception."""
    shared = ("--background", f"{site.url('/m.mp3')}?{SECRET}")
    site.content[f"/m.mp3?{SECRET}"] = b"music"
    assert batch(line_of(site), options=shared)["done"] == 1
    report = (tmp_path / "jobs.report.jsonl").read_text()
    assert "a-secret" not in report
    entry = json.loads(report)
    assert entry["job"]["video"] == recorded_url(f"{site.url('/v.mp4')}?{SECRET}")
    assert entry["options"]["background"] == recorded_url(shared[1])
    assert content("out/o.mp4") == b"video of the web; speech.wav; music"
    assert batch(line_of(site), options=shared)["skipped"] == 1


def test_storage_that_is_gone_ends_the_question_what_is_done(
    tmp_path: Path, site: Receiver, s3: S3Server, batch: Callable[..., dict[str, int]]
) -> None:
    """Rather than run all again."""
    assert batch(line_of(site))["done"] == 1
    s3.stop()
    try:
        with pytest.raises(StorageUnavailable, match=r"s3://media/.*: the storage does not answer"):
            batch(line_of(site))
    finally:
        s3.start()


def test_job_with_urls_is_not_split(
    tmp_path: Path, site: Receiver, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its parts would share no work folder."""
    monkeypatch.setattr("client.running.splitting.video_length_s", lambda _job: 1000.0)
    (job,) = read(tmp_path, {"video": "v.mp4", "audio": "a.wav", "output": "s3://media/o.mp4"})
    inner = AnswersHere()
    SplittingRunner(inner, 10.0).submit(request_of(job))
    assert [request.part for request in inner._requests] == [None]


def test_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that brings it."""
    monkeypatch.setitem(sys.modules, "client.storage.url_guard", None)
    monkeypatch.delattr("client.storage.url_guard")
    (job,) = read(tmp_path, {"video": "https://host/v.mp4", "audio": "a.wav", "output": "o.mp4"})
    assert "pip install 'lipsync-triton[urls]'" in str(job.problem)


@pytest.mark.parametrize("kill", [False, True])
def test_job_that_is_ended_while_it_fetches_leaves_nothing(
    tmp_path: Path, site: Receiver, temporary: Path, kill: bool
) -> None:
    """At once, or after kill -9 with the next job."""
    site.hold.clear()
    (job,) = read(tmp_path, line_of(site, audio=str(tmp_path / "a.wav"), output=str(tmp_path / "o.mp4")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(temporary))
        process = JobProcess(request_of(job), command=COMMAND)
    with ThreadPoolExecutor() as threads:
        result = threads.submit(process.result)
        wait_until(lambda: list(temporary.glob(f"{FOLDER_PREFIX}*/*/*.part")))
        if kill:
            os.kill(process.pid, signal.SIGKILL)
        else:
            process.terminate()
        assert result.result().exit_code == (-signal.SIGKILL if kill else 128 + signal.SIGTERM)
    assert len(list(temporary.iterdir())) == int(kill)
    with temporary_folder(FOLDER_PREFIX):
        pass
    assert list(temporary.iterdir()) == []
