"""What runners need to know of a job: its name, and the process that runs it. Knows nothing of what jobs are for."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Protocol

from client.servers.access import ServerAccess

ACCESS = "access"  # the field of a request's JSON that says where the servers are


class ProcessRequest(Protocol):
    """A job for a process, which reads the request from stdin and answers with a `JobResult` on stdout."""

    @property
    def job_id(self) -> str:
        """The job."""

    @property
    def command(self) -> tuple[str, ...]:
        """What the process runs."""

    @property
    def shows_log(self) -> bool:
        """Whether its stderr is passed on; else the last line explains an end without an answer."""

    def as_json(self) -> str:
        """Return the request, a JSON object with the servers as `ServerAccess.as_json` in `access`."""


@dataclass(frozen=True)
class SentRequest:
    """A request as text, as it travels to another machine.

    Attributes:
        job_id, command, shows_log: see ProcessRequest.
        text: what the process reads.
    """

    job_id: str
    command: tuple[str, ...]
    shows_log: bool
    text: str

    @classmethod
    def of(cls, request: ProcessRequest) -> SentRequest:
        """Make it from any request."""
        return cls(request.job_id, request.command, request.shows_log, request.as_json())

    def as_json(self) -> str:
        """Return what the process reads."""
        return self.text

    @property
    def access(self) -> ServerAccess:
        """The servers that the job calls.

        Raises:
            UsageError: a file that it names cannot be used here.
        """
        return ServerAccess.from_json(json.loads(self.text)[ACCESS])

    def with_access(self, access: ServerAccess) -> SentRequest:
        """Return the same job with other servers."""
        return replace(self, text=json.dumps(json.loads(self.text) | {ACCESS: access.as_json()}))

    def as_line(self) -> str:
        """Return one line of JSON for `from_line`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_line(cls, line: str) -> SentRequest:
        """Rebuild what `as_line` wrote."""
        fields = json.loads(line)
        return cls(**fields | {"command": tuple(fields["command"])})
