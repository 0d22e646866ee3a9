"""Many jobs from one file: each in a process of its own, several at once, reported one by one, and resumed."""

from __future__ import annotations

import argparse
import json
import logging
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

from client.cli.parser import OneLineParser
from client.errors import BatchError, OutputError, UsageError
from client.servers.addresses import parse_urls
from client.system import lock_file

log = logging.getLogger(__name__)

SCRIPT = Path(__file__).resolve().parent / "lipsync.py"
FILE_KEYS = ("video", "audio", "output")
# Where jobs run and what is said of them is the batch's to choose, by its own options.
BATCH_KEYS = frozenset(
    {"batch", "jobs", "batch_report", "url", "json", "quiet", "log_json", "tls", "tls_ca", "tls_cert", "tls_key"}
    | {"token_file", "model_repository"}
)
Status = Literal["done", "failed"]


@dataclass(frozen=True)
class BatchJob:
    """One line of a batch.

    Attributes:
        number: of the line, from 1.
        choices: the line's object; empty where it is none.
        problem: what is wrong with the line; empty when nothing is.
    """

    number: int
    choices: Mapping[str, object]
    problem: str = ""

    @property
    def name(self) -> str:
        """What people call the job."""
        return str(self.choices.get("output", f"line {self.number}"))

    def arguments(self) -> list[str]:
        """Return the line's choices as options of the command."""
        arguments: list[str] = []
        for key, value in self.choices.items():
            option = f"--{key.replace('_', '-')}"
            if isinstance(value, bool):
                arguments.append(option if value else f"--no-{option[2:]}")
            elif value is not None:
                arguments.append(f"{option}={_as_text(value)}")
        return arguments

    def stamps(self) -> dict[str, list[int] | None]:
        """Return size and time of change of the job's files, to tell later whether it is still done."""
        return {key: _stamp(Path(str(self.choices[key]))) for key in FILE_KEYS if key in self.choices}


def batch_command(arguments: Sequence[str]) -> int:
    """Run all jobs of a file; returns 0.

    Raises:
        UsageError: the file cannot be read, or another batch works on it.
        OutputError: the report cannot be written.
        BatchError: jobs failed; the report says which and why.
    """
    options, passed_on = build_parser().parse_known_args(arguments)
    jobs = read_jobs(options.batch)
    report_path = options.batch_report or options.batch.with_suffix(".report.jsonl")
    with open_report(report_path) as report:
        done_before = finished_jobs(report_path, passed_on)
        waiting = [job for job in jobs if not _is_done(job, done_before)]
        skipped = len(jobs) - len(waiting)
        if skipped and not options.quiet:
            print(f"lipsync: {skipped} of {len(jobs)} jobs are done already", file=sys.stderr)
        failed = run_jobs(waiting, passed_on, report, at_once=options.jobs or _server_count(passed_on), options=options)
    _print_summary(options, len(jobs), skipped, failed, report_path)
    if failed:
        raise BatchError(f"{failed} of {len(jobs)} jobs failed. See {report_path}; the same command tries them again")
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Describe the options of a batch; all others are passed on to every job."""
    parser = OneLineParser(
        prog="lipsync --batch",
        description="Run many jobs. Each line of the file is a JSON object with video, audio and output, and any other"
        " option of lipsync by its name, such as crf or face. Options given here count for all jobs that do not say"
        " otherwise. Run again, the command leaves out what is done and goes on with what is not.",
    )
    parser.add_argument("--batch", type=Path, required=True, metavar="JOBS.jsonl", help="the file of jobs")
    parser.add_argument("--jobs", type=_count, metavar="N", help="run so many at once (one for each server)")
    parser.add_argument("--batch-report", type=Path, metavar="FILE", help="a line for each job (JOBS.report.jsonl)")
    parser.add_argument("--json", action="store_true", help="print a machine-readable summary on stdout")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors (and the summary of --json)")
    parser.add_argument("--log-json", action="store_true", help="log to stderr as JSON, the jobs' requests included")
    return parser


def read_jobs(path: Path) -> list[BatchJob]:
    """Read a file of jobs; a line that cannot be used becomes a job that fails.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--batch: expected a readable file of JSON lines, got {path} ({getattr(error, 'strerror', 'no text')})"
        ) from error
    jobs = [_read_job(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    outputs: dict[str, int] = {}
    for i, job in enumerate(jobs):
        first = outputs.setdefault(os.path.realpath(job.name), job.number)
        if first != job.number:
            jobs[i] = BatchJob(job.number, job.choices, f"output: expected one of its own, got that of line {first}")
    return jobs


def _read_job(number: int, line: str) -> BatchJob:
    try:
        choices = json.loads(line)
    except ValueError:
        choices = None
    if not isinstance(choices, dict):
        return BatchJob(number, {}, f"line {number}: expected a JSON object, got {line[:80]!r}")
    if not all(map(_is_plain, BatchJob(number, choices).arguments())):
        return BatchJob(number, {}, f"line {number}: expected text that a command can be given, got NUL or the like")
    missing = [key for key in FILE_KEYS if not isinstance(choices.get(key), str)]
    if missing:
        return BatchJob(number, choices, f"line {number}: expected {', '.join(FILE_KEYS)}, got no {missing[0]}")
    foreign = sorted(BATCH_KEYS.intersection(key.replace("-", "_") for key in choices))
    if foreign:
        return BatchJob(number, choices, f"line {number}: expected options of a job, got {foreign[0]}. Give it once")
    return BatchJob(number, choices)


@contextmanager
def open_report(path: Path) -> Iterator[IO[str]]:
    """Open a report to add lines to it, for this batch alone.

    Raises:
        UsageError: another batch writes it.
        OutputError: it cannot be written.
    """
    try:
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: expected a report that can be written, got: {error.strerror}") from error
    with file:
        try:
            lock_file(file.fileno())
        except BlockingIOError:
            raise UsageError(f"{path}: expected a report of our own, got one that another batch writes") from None
        except OSError:
            pass  # without locks it is up to people not to run one batch twice at a time
        written = path.read_bytes()
        file.truncate(written.rfind(b"\n") + 1)  # the last line is cut off where a batch was killed while it wrote
        yield file


def finished_jobs(path: Path, passed_on: Sequence[str]) -> dict[str, Mapping[str, object]]:
    """Read what is done by a report: its entries by the job's output; a later entry counts before an earlier one."""
    found: dict[str, Mapping[str, object]] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError, KeyError, TypeError):  # a line that is none of ours
            entry = json.loads(line)
            found[str(entry["job"]["output"])] = entry if entry["options"] == _split(passed_on)[1] else {}
    return found


def _is_done(job: BatchJob, finished: Mapping[str, Mapping[str, object]]) -> bool:
    """Say whether the same job was done before, and neither its inputs nor its output have changed since."""
    entry = finished.get(job.name)
    return bool(
        entry
        and not job.problem
        and entry.get("status") == "done"
        and entry.get("job") == job.choices
        and entry.get("files") == job.stamps()
    )


def run_jobs(
    jobs: Sequence[BatchJob],
    passed_on: Sequence[str],
    report: IO[str],
    *,
    at_once: int,
    options: argparse.Namespace,
) -> int:
    """Run jobs, so many at once, and write a line for each as it ends; returns how many failed."""
    failed = 0
    runner = _Runner(passed_on, log_json=options.log_json)
    with ThreadPoolExecutor(at_once, thread_name_prefix="job") as pool:
        try:
            futures = [pool.submit(runner.run, job) for job in jobs]
            for count, future in enumerate(as_completed(futures), 1):
                entry = future.result()
                report.write(json.dumps(entry, ensure_ascii=False) + "\n")
                report.flush()
                failed += entry["status"] != "done"
                _tell(entry, count, len(jobs), options)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            runner.stop()
            raise
    return failed


class _Runner:
    """Runs jobs as commands of their own, so that none can harm another."""

    def __init__(self, passed_on: Sequence[str], *, log_json: bool) -> None:
        self._passed_on = list(passed_on)
        self._log_json = log_json
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._is_stopped = False

    def run(self, job: BatchJob) -> dict[str, object]:
        """Run one job and return its line of the report."""
        started = time.monotonic()
        entry: dict[str, object] = {"line": job.number, "job": job.choices, "options": _split(self._passed_on)[1]}
        wrong_usage = UsageError.exit_code
        code, output, errors = (wrong_usage, "", job.problem) if job.problem else self._run_command(job)
        if not code and not output.startswith("{"):
            code, errors = wrong_usage, "expected options of a job, got one that ends without a report"  # such as help
        status: Status = "failed" if code else "done"
        entry |= {"status": status, "exit_code": code, "seconds": round(time.monotonic() - started, 3)}
        if code:
            return {**entry, "error": _last_message(errors)}
        return {**entry, "files": job.stamps(), "report": json.loads(output)}

    def stop(self) -> None:
        """End what runs; unfinished jobs keep what they have for the next time."""
        with self._lock:
            self._is_stopped = True
            running = list(self._running)
        for process in running:
            process.terminate()

    def _run_command(self, job: BatchJob) -> tuple[int, str, str]:
        logging_options = ["--log-json"] if self._log_json else []
        command = [sys.executable, str(SCRIPT), "--resume", *self._passed_on, *job.arguments()]
        with self._lock:
            if self._is_stopped:
                return 1, "", "the batch was ended"
            try:
                process = subprocess.Popen(
                    [*command, "--json", "--quiet", *logging_options],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            except OSError as error:
                return 1, "", f"the job cannot be started: {error.strerror}"
            self._running.add(process)
        try:
            output, errors = process.communicate()
        finally:
            with self._lock:
                self._running.discard(process)
        if self._log_json:
            sys.stderr.write(errors)
        return process.returncode, output, errors


def _tell(entry: Mapping[str, object], count: int, total: int, options: argparse.Namespace) -> None:
    name = dict(entry["job"]).get("output", f"line {entry['line']}")  # type: ignore[call-overload]
    how = f"done in {entry['seconds']} s" if entry["status"] == "done" else f"failed: {entry['error']}"
    if options.log_json:
        log.info("%s: %s", name, how, extra={"exit_code": entry["exit_code"], "seconds": entry["seconds"]})
    elif not options.quiet:
        print(f"lipsync: {count}/{total} {name}: {how}", file=sys.stderr, flush=True)


def _print_summary(options: argparse.Namespace, total: int, skipped: int, failed: int, report: Path) -> None:
    if options.json:
        done = total - skipped - failed
        print(json.dumps({"jobs": total, "done": done, "skipped": skipped, "failed": failed, "report": str(report)}))
    elif not options.quiet and not failed:
        print(f"{total} jobs are done; {report} says more")


def _last_message(errors: str) -> str:
    """Return the last line that a job wrote, without its frame."""
    line = (errors.strip().splitlines() or ["it ended without a word"])[-1]
    with suppress(ValueError):
        return str(json.loads(line)["message"])
    return line.removeprefix("lipsync: ").removesuffix(". See lipsync --help")


def _split(passed_on: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the options for all jobs: the URLs of servers, and those that change what comes out of a job."""
    parser = OneLineParser(prog="lipsync --batch", add_help=False)
    parser.add_argument("--url", action="append", default=[])
    for name in ("--transport", "--timeout", "--tls-ca", "--tls-cert", "--tls-key", "--token-file"):
        parser.add_argument(name)
    for name in ("--tls", "--verbose", "--resume", "--no-resume"):
        parser.add_argument(name, action="store_true")
    servers, choices = parser.parse_known_args(passed_on)
    return servers.url, choices


def _server_count(passed_on: Sequence[str]) -> int:
    """Return how many servers share the jobs."""
    urls = _split(passed_on)[0]
    return max(1, len(parse_urls(urls).find())) if urls else 1


def _as_text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _is_plain(text: str) -> bool:
    """Say whether a text can be an argument of a command, and a part of the report."""
    return "\0" not in text and text == text.encode(errors="ignore").decode()


def _stamp(path: Path) -> list[int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"expected 1 to 1000 jobs, got {text!r}")
    return int(text)
