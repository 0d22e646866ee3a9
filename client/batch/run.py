"""Runs the jobs of a batch and reports each as it ends."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from client.batch.jobs import BatchJob
from client.errors import UsageError
from client.job_options import JobOptions
from client.job_process import JobRequest, JobResult
from client.option_kinds import Json
from client.options import OPTIONS, RESUME, read_options
from client.running.runner import EndedJob, JobRunner, run_all
from client.servers.access import ServerAccess
from client.storage.urls import is_url, recorded_url

Status = Literal["done", "failed"]


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
        texts = {name: text for name, text in self.shared.items() if isinstance(text, str)}
        urls = {name: recorded_url(text) for name, text in texts.items() if is_url(text)}
        return {**read_options(self.shared).chosen_as_json(kept), **urls}

    def request(self, job: JobOptions, urls: Mapping[str, str]) -> JobRequest:
        """Return what runs one of its jobs, whose files these URLs name."""
        return JobRequest(job, self.access, self.repository, self.log_json, urls=urls)


def run_jobs(jobs: Iterable[BatchJob], batch: Batch, report: IO[str], runner: JobRunner) -> Iterator[dict[str, object]]:
    """Run jobs; append a line to the report for each as it ends, and yield it."""
    options = batch.options_in_report
    for job, ended in run_all(runner, ((job, _what_to_run(job, batch)) for job in jobs)):
        entry = _entry(job, ended, options)
        report.write(json.dumps(entry, ensure_ascii=False) + "\n")
        report.flush()
        yield entry


def _what_to_run(job: BatchJob, batch: Batch) -> JobRequest | JobResult:
    """Return the request of a job, or its failure if its line cannot be used."""
    if job.options is not None:
        return batch.request(job.options, job.urls)
    error = job.problem or UsageError("the line cannot be used")
    return JobResult(error.exit_code, error=error)


def _entry(job: BatchJob, ended: EndedJob, options: Mapping[str, Json]) -> dict[str, object]:
    """Return a job's line of the report."""
    result = ended.result
    entry: dict[str, object] = {"line": job.number, "job": job.choices, "options": options}
    status: Status = "failed" if result.exit_code else "done"
    entry |= {"status": status, "exit_code": result.exit_code, "seconds": round(ended.seconds, 3)}
    if ended.node:
        entry["node"] = ended.node
    if ended.tries > 1:
        entry["tries"] = ended.tries
    if result.exit_code:
        return {**entry, "error": str(result.error)}
    return {**entry, "files": job.stamps(result.tags), "report": result.report}
