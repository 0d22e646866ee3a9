"""Files of a batch by URL: refused early, skipped when done, never told with what grants access."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from client.cli.batch import batch_command
from client.errors import BatchError, OutputError
from client.job_process import JobRequest, JobResult, answer
from client.job_urls import FOLDER_PREFIX, StandIns
from client.running.local import LocalRunner
from client.running.process import JobProcess
from client.running.runner import EndedJob
from client.running.splitting import SplittingRunner
from client.storage import StorageUnavailable, open_storage, urls
from client.storage.urls import copy_name, recorded_url, shown_url
from client.temporary import temporary_folder
from tests.batch_urls import (
    SECRET,
    VIDEO,
    Run,
    content,
    line_of,
    put,
    read,
    request_of,
    run,
    s3,
    s3_running,
    site,
    temporary,
)
from tests.open_guard import COMMAND
from tests.s3_server import S3Server
from tests.waiting import wait_until
from tests.web_receiver import Receiver

__all__ = ["run", "s3", "s3_running", "site", "temporary"]  # fixtures


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


class AnswersHere(LocalRunner):
    """Runs jobs in this process, one after the other."""

    def __init__(self, _at_once: int = 1) -> None:
        self.in_flight_limit = 1
        self._requests: list[JobRequest] = []

    def submit(self, request: JobRequest) -> None:
        self._requests.append(JobRequest.from_json(request.as_json()))

    def wait(self, timeout_s: float | None = None) -> EndedJob:
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
    tmp_path: Path,
    site: Receiver,
    s3: S3Server,
    batch: Callable[..., dict[str, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rather than run all again; after a while."""
    monkeypatch.setattr(urls, "PATIENCE_S", 0.5)
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
        patch.setattr(JobRequest, "command", COMMAND)
        process = JobProcess(request_of(job))
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
