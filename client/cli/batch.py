"""`lipsync batch`: runs the jobs of a file."""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import compress, islice
from pathlib import Path

from client.batch import Batch, BatchJob, count_jobs, finished_jobs, is_done, open_report, read_jobs, run_jobs
from client.batch.pace import Pace
from client.batch.report import Finished
from client.cli.batch_runner import add_runner_arguments, open_runner
from client.cli.parser import OneLineParser, add_job_options, given_job_options
from client.cli.server_arguments import add_server_arguments, server_access
from client.errors import BatchError
from client.options import read_options
from client.servers.access import BATCH_PRIORITY

READ_AT_ONCE = 1000  # jobs of which is found out together whether they are done
ASKED_AT_ONCE = 16  # questions to a storage
SHARD_NUMBER = re.compile(r"[0-9]{1,9}")

log = logging.getLogger(__name__)


def batch_command(arguments: Sequence[str]) -> int:
    """Run all jobs of a file; returns 0.

    Raises:
        UsageError: the file cannot be read, or another batch works on it.
        OutputError: the report cannot be written.
        BatchError: jobs failed; the report names them.
    """
    namespace = build_parser().parse_args(arguments)
    access = replace(server_access(namespace), priority=BATCH_PRIORITY)
    shared = given_job_options(namespace)
    read_options(shared, "batch")
    batch = Batch(shared, access, namespace.model_repository, namespace.log_json)
    index, count = shard = namespace.shard or (0, 1)
    total = len(range(index, count_jobs(namespace.batch), count))
    report_path = namespace.batch_report or namespace.batch.with_suffix(_report_suffix(namespace.shard))
    with open_report(report_path) as report:
        finished = finished_jobs(report_path, batch.options_in_report)
        is_waiting = _waiting(_jobs_of(namespace.batch, shared, shard), finished, total)
        skipped = is_waiting.count(False)
        if skipped and not namespace.quiet:
            print(f"lipsync: {skipped} of {total} jobs are done already", file=sys.stderr)
        pace = Pace(total - skipped)
        if skipped < total:
            waiting = compress(_jobs_of(namespace.batch, shared, shard), is_waiting)
            with open_runner(namespace, access) as runner:
                for entry in run_jobs(waiting, batch, report, runner):
                    pace.count(entry)
                    _show(entry, pace, namespace)
    failed = pace.failed
    _print_summary(namespace, total, skipped, failed, report_path, pace)
    if failed:
        raise BatchError(
            f"{failed} of {total} jobs failed", advice=f"See {report_path}; the same command runs them again"
        )
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = OneLineParser(
        prog="lipsync batch",
        description="Run many jobs. Each line of the file is a JSON object with video (or prepared), audio (or"
        " script) and output, and any option of lipsync run by its name, such as crf or face. Video, audio and other"
        " sounds may be paths, https:// or s3://BUCKET/KEY, outputs paths or s3://BUCKET/KEY. Options given here apply"
        " to all jobs that do not choose otherwise. Run again, the command skips what is done and continues with what"
        " is not.",
    )
    parser.add_argument("--batch", type=Path, required=True, metavar="JOBS.jsonl", help="file of jobs")
    parser.add_argument(
        "--batch-report",
        type=Path,
        metavar="FILE",
        help="report with a line per job (default: JOBS.report.jsonl, or JOBS.I-of-N.report.jsonl of a shard)",
    )
    parser.add_argument(
        "--shard",
        type=_shard,
        metavar="I/N",
        help="run only every Nth job of the file, from the one at I, counted from 0: N processes with I from 0 to N - 1"
        " share the file (default: all)",
    )
    add_job_options(parser)
    add_server_arguments(parser)
    add_runner_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print a machine-readable summary on stdout")
    parser.add_argument("--quiet", action="store_true", help="print only errors (and the summary of --json)")
    parser.add_argument("--log-json", action="store_true", help="log to stderr as JSON, including the jobs' requests")
    parser.add_argument("--verbose", action="store_true", help="show the traceback of an error")
    return parser


def _jobs_of(path: Path, shared: Mapping[str, object], shard: tuple[int, int]) -> Iterator[BatchJob]:
    """Read the jobs of a shard."""
    return islice(read_jobs(path, shared), shard[0], None, shard[1])


def _waiting(jobs: Iterator[BatchJob], finished: Finished, total: int) -> bytearray:
    """Return a byte per job: 1 if it is to be run, 0 if it was done before."""
    if not finished:
        return bytearray(b"\1") * total
    is_waiting = bytearray()
    with ThreadPoolExecutor(ASKED_AT_ONCE) as threads:
        while some := list(islice(jobs, READ_AT_ONCE)):
            each = threads.map if any(job.urls for job in some) else map
            is_waiting.extend(not done for done in each(partial(is_done, finished=finished), some))
    return is_waiting


def _report_suffix(shard: tuple[int, int] | None) -> str:
    """Return the end of the report's name: each shard has a report of its own."""
    return f".{shard[0]}-of-{shard[1]}.report.jsonl" if shard else ".report.jsonl"


def _show(entry: Mapping[str, object], pace: Pace, namespace: argparse.Namespace) -> None:
    job = entry["job"]
    name = job.get("output", f"line {entry['line']}") if isinstance(job, dict) else ""
    how = f"done in {entry['seconds']} s" if entry["status"] == "done" else f"failed: {entry['error']}"
    if namespace.log_json:
        log.info("%s: %s", name, how, extra={"exit_code": entry["exit_code"], "seconds": entry["seconds"]})
    elif not namespace.quiet:
        if entry.get("node"):
            how += f" on {entry['node']}"
        if namespace.ray is not None:
            how += f" ({pace.words()})"
        print(f"lipsync: {pace.place()} {name}: {how}", file=sys.stderr, flush=True)


def _print_summary(
    namespace: argparse.Namespace, total: int, skipped: int, failed: int, report: Path, pace: Pace
) -> None:
    nodes = pace.by_node()
    if namespace.json:
        done = total - skipped - failed
        summary = {"jobs": total, "done": done, "skipped": skipped, "failed": failed, "report": str(report)}
        print(json.dumps(summary | ({"nodes": nodes} if nodes else {})))
    elif not namespace.quiet:
        for node, figures in nodes.items():
            print(f"{node}: {figures['jobs']} jobs, {figures['jobs_per_minute']} a minute")
        if not failed:
            print(f"{total} jobs are done; details are in {report}")


def _shard(text: str) -> tuple[int, int]:
    index, _, count = text.partition("/")
    numbers = [int(part) for part in (index, count) if SHARD_NUMBER.fullmatch(part)]
    if len(numbers) != 2 or not numbers[0] < numbers[1]:
        raise argparse.ArgumentTypeError(f"expected I/N with 0 <= I < N, such as 0/4, got {text!r}")
    return numbers[0], numbers[1]
