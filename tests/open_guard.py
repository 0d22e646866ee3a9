"""The command line and its jobs' processes, for which every name is a site of the public web that runs on loopback.

`python -m tests.open_guard batch ...` is the command line; without arguments it is the process of a job.
"""

from __future__ import annotations

import sys

from client.storage import url_guard

COMMAND = (sys.executable, "-m", "tests.open_guard")
LOOPBACK = "127.0.0.1"


async def _resolve(_host: str, _port: int) -> list[str]:
    return [LOOPBACK]


def main() -> int:
    """Run either."""
    url_guard.PUBLIC_WEB = url_guard.UrlGuard(_resolve, lambda address: address == LOOPBACK, tuple(range(65_536)))
    if sys.argv[1:2] == ["batch"]:
        from client.job_process import JobRequest
        from client.lipsync import main as command_line

        JobRequest.command = COMMAND
        return command_line(sys.argv[1:])
    from client.job_process import main as run_job

    return run_job()


if __name__ == "__main__":
    sys.exit(main())
