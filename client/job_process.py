"""Runs one job in a process of its own: `python -m client.job_process` reads a request from stdin.

The request is one JSON object, the result one line of JSON on stdout. Nothing secret is in the arguments.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from client.errors import LipSyncError, ServerUnavailable, error_from_dict
from client.job_options import JobOptions, job_from_json
from client.job_urls import JobCopies
from client.logs import LogProgress, set_up_logs
from client.process import EndedBySignal, end_on_signals, end_with_named_parent
from client.progress import SilentProgress
from client.resume.job_part import JobPart
from client.run import draw_part, run_job
from client.servers.access import ServerAccess
from client.servers.embedded import start_error
from client.shortage import shortage_of
from client.system import return_freed_frames
from lipsync_core.serving.runtime import ServerStartError
from lipsync_core.terminal import forgive_streams

EXIT_INTERNAL = 1


@dataclass(frozen=True)
class JobRequest:
    """What the process is told.

    Attributes:
        job: the job.
        access: the servers.
        repository: the models of a server that is started.
        log_json: whether requests are logged as JSON on stderr.
        part: what is drawn of the job; None to run it to its end.
        urls: stand-in in the job -> URL of the file, see `client.job_urls`.
    """

    job: JobOptions
    access: ServerAccess
    repository: Path
    log_json: bool = False
    part: JobPart | None = None
    urls: Mapping[str, str] = field(default_factory=dict)

    command: ClassVar[tuple[str, ...]] = (sys.executable, "-m", "client.job_process")

    @property
    def job_id(self) -> str:
        """The job's id."""
        return self.job.job_id

    @property
    def shows_log(self) -> bool:
        """Whether stderr is the log."""
        return self.log_json

    def as_json(self) -> str:
        """Return the request for stdin; it holds the servers' token."""
        return json.dumps(
            {
                "job": self.job.as_json(),
                "access": self.access.as_json(),
                "repository": str(self.repository),
                "log_json": self.log_json,
                "part": None if self.part is None else self.part.as_json(),
                "urls": dict(self.urls),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> JobRequest:
        """Rebuild what `as_json` wrote."""
        fields = json.loads(text)
        access = ServerAccess.from_json(fields["access"])
        part = None if fields["part"] is None else JobPart(**fields["part"])
        job, repository = job_from_json(fields["job"]), Path(fields["repository"])
        return cls(job, access, repository, fields["log_json"], part, fields["urls"])


@dataclass(frozen=True)
class JobResult:
    """What the process answers: the job's report, or its error and exit code.

    Attributes:
        exit_code: the process's exit code.
        report: the report of a job that is done.
        error: the error of one that is not.
        tags: URL in S3 -> what changes with its file's content, of the files that the job has fetched and stored.
    """

    exit_code: int
    report: dict[str, object] | None = None
    error: LipSyncError | None = None
    tags: Mapping[str, str | None] = field(default_factory=dict)

    def as_json(self) -> str:
        """Return one line of JSON."""
        error = None if self.error is None else self.error.as_dict()
        tags = dict(self.tags)
        return json.dumps({"exit_code": self.exit_code, "report": self.report, "error": error, "tags": tags})

    @classmethod
    def from_json(cls, text: str) -> JobResult:
        """Rebuild what `as_json` wrote."""
        fields = json.loads(text)
        error = None if fields["error"] is None else error_from_dict(fields["error"])
        return cls(fields["exit_code"], fields["report"], error, fields.get("tags", {}))


def main() -> int:
    """Run the job that stdin describes; returns its exit code."""
    forgive_streams()
    end_on_signals()
    end_with_named_parent(sys.argv)
    return_freed_frames()
    request = JobRequest.from_json(sys.stdin.read())
    set_up_logs(as_json=request.log_json, quiet=True)
    result = answer(request)
    print(result.as_json(), flush=True)
    return result.exit_code


def answer(request: JobRequest) -> JobResult:
    """Run a job and return its report or its error; no exception leaves it. Copies of its files go at the end."""
    with JobCopies(request.job, request.urls) as copies:
        result = _result(request, copies)
        if result.error is not None:
            copies.name_in(result.error)
        return result


def _result(request: JobRequest, copies: JobCopies) -> JobResult:
    progress = LogProgress(request.job.job_id) if request.log_json else SilentProgress()
    try:
        if request.urls:
            progress.stage("fetching the files")
        job = copies.fetch()
        if request.part is not None:
            draw_part(job, request.part, request.access, request.repository, progress)
            return JobResult(0, report={})
        report = run_job(job, request.access, request.repository, progress)
        copies.store()
        return JobResult(0, report=copies.named(report.as_dict()), tags=copies.tags)
    except LipSyncError as error:
        return JobResult(error.exit_code, error=error)
    except ServerStartError as error:
        return JobResult(ServerUnavailable.exit_code, error=start_error(error))
    except EndedBySignal as ending:
        return JobResult(ending.exit_code, error=LipSyncError(f"ended by {ending.name}"))
    except Exception as error:  # noqa: BLE001  (a defect of one job must not look like silence)
        failure = shortage_of(error) or LipSyncError(f"{type(error).__name__}: {error}")
        return JobResult(EXIT_INTERNAL, error=failure)


if __name__ == "__main__":
    sys.exit(main())
