"""Files of a job by URL: fetched where the job runs, stored whole, gone at the end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from client.errors import LipSyncError, MediaError
from client.job_options import JobOptions
from client.job_process import answer
from client.job_urls import FOLDER_PREFIX
from client.options import RESUME
from client.storage import StorageUnavailable, open_storage, urls
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
from tests.s3_server import S3Server
from tests.web_receiver import Receiver

__all__ = ["run", "s3", "s3_running", "site", "temporary"]  # fixtures


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
