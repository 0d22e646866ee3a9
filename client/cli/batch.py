"""`lipsync batch`: runs the jobs of a file."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from client.batch import Batch, BatchJob, finished_jobs, is_done, open_report, read_jobs, run_jobs
from client.cli.parser import OneLineParser, add_job_options, given_job_options
from client.cli.server_arguments import add_server_arguments, server_access
from client.errors import BatchError
from client.options import read_options
from client.servers.access import BATCH_PRIORITY, ServerAccess

MAX_JOBS_AT_ONCE = 1000

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
    jobs = read_jobs(namespace.batch, shared)
    report_path = namespace.batch_report or namespace.batch.with_suffix(".report.jsonl")
    with open_report(report_path) as report:
        finished = finished_jobs(report_path, batch.options_in_report)
        waiting = [job for job in jobs if not is_done(job, finished)]
        skipped = len(jobs) - len(waiting)
        if skipped and not namespace.quiet:
            print(f"lipsync: {skipped} of {len(jobs)} jobs are done already", file=sys.stderr)
        failed = 0
        running = run_jobs(waiting, batch, report, at_once=namespace.jobs or _server_count(access))
        for count, entry in enumerate(running, 1):
            failed += entry["status"] != "done"
            _show(entry, f"{count}/{len(waiting)}", namespace)
    _print_summary(namespace, jobs, skipped, failed, report_path)
    if failed:
        raise BatchError(
            f"{failed} of {len(jobs)} jobs failed", advice=f"See {report_path}; the same command runs them again"
        )
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = OneLineParser(
        prog="lipsync batch",
        description="Run many jobs. Each line of the file is a JSON object with video (or prepared), audio and output,"
        " and any option of lipsync run by its name, such as crf or face. Options given here apply to all jobs that do"
        " not choose otherwise. Run again, the command skips what is done and continues with what is not.",
    )
    parser.add_argument("--batch", type=Path, required=True, metavar="JOBS.jsonl", help="file of jobs")
    parser.add_argument("--jobs", type=_count, metavar="N", help="jobs run at once (default: one per server)")
    parser.add_argument(
        "--batch-report", type=Path, metavar="FILE", help="report with a line per job (default: JOBS.report.jsonl)"
    )
    add_job_options(parser)
    add_server_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print a machine-readable summary on stdout")
    parser.add_argument("--quiet", action="store_true", help="print only errors (and the summary of --json)")
    parser.add_argument("--log-json", action="store_true", help="log to stderr as JSON, including the jobs' requests")
    parser.add_argument("--verbose", action="store_true", help="show the traceback of an error")
    return parser


def _server_count(access: ServerAccess) -> int:
    """Return how many servers share the jobs."""
    return max(1, len(access.servers.find())) if access.servers else 1


def _show(entry: Mapping[str, object], place: str, namespace: argparse.Namespace) -> None:
    job = entry["job"]
    name = job.get("output", f"line {entry['line']}") if isinstance(job, dict) else ""
    how = f"done in {entry['seconds']} s" if entry["status"] == "done" else f"failed: {entry['error']}"
    if namespace.log_json:
        log.info("%s: %s", name, how, extra={"exit_code": entry["exit_code"], "seconds": entry["seconds"]})
    elif not namespace.quiet:
        print(f"lipsync: {place} {name}: {how}", file=sys.stderr, flush=True)


def _print_summary(
    namespace: argparse.Namespace, jobs: Sequence[BatchJob], skipped: int, failed: int, report: Path
) -> None:
    total = len(jobs)
    if namespace.json:
        done = total - skipped - failed
        print(json.dumps({"jobs": total, "done": done, "skipped": skipped, "failed": failed, "report": str(report)}))
    elif not namespace.quiet and not failed:
        print(f"{total} jobs are done; details are in {report}")


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_JOBS_AT_ONCE:
        raise argparse.ArgumentTypeError(f"expected 1 to {MAX_JOBS_AT_ONCE} jobs, got {text!r}")
    return int(text)
