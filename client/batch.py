"""Many jobs from one file: each in a process of its own, several at once; each run continues where the last ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from client.errors import LipSyncError, MediaError, OutputError, UsageError
from client.job_options import JobOptions
from client.job_process import JobRequest, JobResult
from client.option_kinds import Json
from client.options import OPTIONS, RESUME, read_options
from client.prepared.clip import MANIFEST
from client.prepared.options import prepared_job
from client.servers.access import ServerAccess
from lipsync_core.locks import lock_file

FILE_KEYS = ("video", "audio", "output")
PREPARED_KEY = "prepared"  # a prepared clip, in place of a video
Status = Literal["done", "failed"]


@dataclass(frozen=True)
class BatchJob:
    """One line of a batch.

    Attributes:
        number: the line's number, from 1.
        choices: the line's object; empty if it is none.
        options: the job; None if the line cannot be used.
        problem: what is wrong with the line; None if nothing is.
    """

    number: int
    choices: Mapping[str, object]
    options: JobOptions | None = None
    problem: LipSyncError | None = None

    @property
    def name(self) -> str:
        """What people call the job."""
        return str(self.choices.get("output", f"line {self.number}"))

    def stamps(self) -> dict[str, list[int] | None]:
        """Return size and modification time of the job's files, to tell later whether it is still done."""
        files = {key: Path(str(self.choices[key])) for key in FILE_KEYS if key in self.choices}
        if PREPARED_KEY in self.choices:
            files[PREPARED_KEY] = Path(str(self.choices[PREPARED_KEY])) / MANIFEST
        return {key: _stamp(path) for key, path in files.items()}


@dataclass(frozen=True)
class Batch:
    """What all jobs of a batch share.

    Attributes:
        shared: options of all jobs that do not choose otherwise, by name, as texts or JSON values.
        access: the servers.
        repository: models of the servers that jobs start.
        log_json: whether the jobs' requests are logged as JSON on stderr.
    """

    shared: Mapping[str, object]
    access: ServerAccess
    repository: Path
    log_json: bool = False

    @property
    def options_in_report(self) -> dict[str, Json]:
        """The shared options that the results depend on."""
        kept = [option for option in OPTIONS if option is not RESUME]
        return read_options(self.shared).chosen_as_json(kept)


def read_jobs(path: Path, shared: Mapping[str, object]) -> list[BatchJob]:
    """Read a file of jobs; a line that cannot be used becomes a job that fails.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", "no text")
        raise UsageError(option="batch", expected="a readable file of JSON lines", got=f"{path} ({reason})") from error
    jobs = [_read_job(number, line, shared) for number, line in enumerate(lines, 1) if line.strip()]
    outputs: dict[str, int] = {}
    for i, job in enumerate(jobs):
        first = job.number if job.options is None else outputs.setdefault(_real(job.options.output), job.number)
        if first != job.number:
            problem = UsageError(about="output", expected="a file of its own", got=f"that of line {first}")
            jobs[i] = BatchJob(job.number, job.choices, problem=problem)
    return jobs


def _read_job(number: int, line: str, shared: Mapping[str, object]) -> BatchJob:
    choices: Mapping[str, object] = {}
    try:
        choices = _read_object(line)
        keys = _file_keys(choices)
        own = {name.replace("-", "_"): value for name, value in choices.items() if name not in keys}
        given = {RESUME.name: True, **shared, **own}
        source, audio, output = (Path(str(choices[key])) for key in keys)
        if PREPARED_KEY in keys:
            return BatchJob(number, choices, prepared_job(source, audio, output, given, "batch"))
        return BatchJob(number, choices, JobOptions(source, audio, output, read_options(given, "batch")))
    except (UsageError, MediaError) as error:
        error.about = ", ".join(filter(None, [error.about, f"line {number}"]))
        return BatchJob(number, choices, problem=error)


def _read_object(line: str) -> Mapping[str, object]:
    """Return a line's object with its three files.

    Raises:
        UsageError: the line holds something else.
    """
    try:
        choices = json.loads(line)
    except ValueError:
        choices = None
    if not isinstance(choices, dict):
        raise UsageError(expected="a JSON object", got=repr(line[:80]))
    keys = _file_keys(choices)
    missing = [key for key in keys if not isinstance(choices.get(key), str)]
    if missing:
        raise UsageError(expected=", ".join(keys), got=f"no {missing[0]}")
    if not all(_is_path(str(choices[key])) for key in keys):
        raise UsageError(expected="paths that files can have", got="NUL or characters that cannot be encoded")
    return choices


def _file_keys(choices: Mapping[str, object]) -> tuple[str, ...]:
    """Return the names of a line's files: the picture's source, the audio, the output.

    Raises:
        UsageError: the line gives both a video and a prepared clip.
    """
    if PREPARED_KEY not in choices:
        return FILE_KEYS
    if "video" in choices:
        raise UsageError(expected=f"video or {PREPARED_KEY}", got="both")
    return (PREPARED_KEY, *FILE_KEYS[1:])


@contextmanager
def open_report(path: Path) -> Iterator[IO[str]]:
    """Open a report to append lines to it, for this batch alone.

    Raises:
        UsageError: another batch writes it.
        OutputError: it cannot be written.
    """
    try:
        file = path.open("a+", encoding="utf-8", errors="backslashreplace")  # lone surrogates become escapes
    except OSError as error:
        raise OutputError(about=path, expected="a report that can be written", got=error.strerror) from error
    with file:
        try:
            lock_file(file.fileno())
        except BlockingIOError:
            raise UsageError(
                about=path, expected="a report of its own", got="one that another batch is writing"
            ) from None
        except OSError:
            pass  # without locks it is up to people not to run one batch twice at a time
        written = path.read_bytes()
        file.truncate(written.rfind(b"\n") + 1)  # the last line is cut off where a batch was killed while it wrote
        yield file


def finished_jobs(path: Path, options: Mapping[str, Json]) -> dict[str, Mapping[str, object]]:
    """Read a report: its entries by the job's output. A later entry replaces an earlier one.

    Args:
        path: the report.
        options: shared options; entries made with others do not count.
    """
    found: dict[str, Mapping[str, object]] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError, KeyError, TypeError):  # not a line of a report
            entry = json.loads(line)
            found[str(entry["job"]["output"])] = entry if entry["options"] == options else {}
    return found


def is_done(job: BatchJob, finished: Mapping[str, Mapping[str, object]]) -> bool:
    """Return whether the same job was done before, and neither its inputs nor its output have changed since."""
    entry = finished.get(job.name)
    return bool(
        entry
        and job.problem is None
        and entry.get("status") == "done"
        and entry.get("job") == job.choices
        and entry.get("files") == job.stamps()
    )


def run_jobs(jobs: Sequence[BatchJob], batch: Batch, report: IO[str], *, at_once: int) -> Iterator[dict[str, object]]:
    """Run jobs, several at once; append a line to the report for each as it ends, and yield it."""
    runner = _Runner(batch)
    with ThreadPoolExecutor(at_once, thread_name_prefix="job") as pool:
        try:
            for future in as_completed([pool.submit(runner.run, job) for job in jobs]):
                entry = future.result()
                report.write(json.dumps(entry, ensure_ascii=False) + "\n")
                report.flush()
                yield entry
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            runner.stop()
            raise


class _Runner:
    """Runs each job in a process of its own, so that none can harm another."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._options = batch.options_in_report
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._is_stopped = False

    def run(self, job: BatchJob) -> dict[str, object]:
        """Run one job and return its line of the report."""
        started = time.monotonic()
        result = self._result(job)
        entry: dict[str, object] = {"line": job.number, "job": job.choices, "options": self._options}
        status: Status = "failed" if result.exit_code else "done"
        entry |= {"status": status, "exit_code": result.exit_code, "seconds": round(time.monotonic() - started, 3)}
        if result.exit_code:
            return {**entry, "error": str(result.error)}
        return {**entry, "files": job.stamps(), "report": result.report}

    def stop(self) -> None:
        """End the running jobs; what they have finished is kept for the next run."""
        with self._lock:
            self._is_stopped = True
            running = list(self._running)
        for process in running:
            process.terminate()

    def _result(self, job: BatchJob) -> JobResult:
        if job.options is None:
            error = job.problem or UsageError("the line cannot be used")
            return JobResult(error.exit_code, error=error)
        batch = self._batch
        request = JobRequest(job.options, batch.access, batch.repository, batch.log_json)
        try:
            return self._run_process(request)
        except OSError as error:
            return JobResult(1, error=LipSyncError(f"the job cannot be started: {error.strerror}"))

    def _run_process(self, request: JobRequest) -> JobResult:
        with self._lock:
            if self._is_stopped:
                return JobResult(1, error=LipSyncError("the batch was ended"))
            process = subprocess.Popen(
                [sys.executable, "-m", "client.job_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if self._batch.log_json else subprocess.PIPE,
                text=True,
                cwd=Path(__file__).resolve().parents[1],
            )
            self._running.add(process)
        try:
            output, errors = process.communicate(request.as_json())
        finally:
            with self._lock:
                self._running.discard(process)
        return _result_of(process.returncode, output, errors)


def _result_of(code: int, output: str, errors: str | None) -> JobResult:
    """Return what a process answered; one that was killed has no answer, but may have left words on stderr."""
    with suppress(ValueError, KeyError):
        return JobResult.from_json(output)
    last = ((errors or "").strip().splitlines() or [f"its process ended with {code} without a result"])[-1]
    return JobResult(code or 1, error=LipSyncError(last))


def _is_path(text: str) -> bool:
    return "\0" not in text and text == text.encode(errors="ignore").decode()


def _real(path: Path) -> str:
    return os.path.realpath(path)


def _stamp(path: Path) -> list[int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]
