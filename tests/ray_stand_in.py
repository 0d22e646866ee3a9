"""Takes the place of a job's process in tests of Ray: what it does is in the name of the job's video.

`python -m tests.ray_stand_in batch ...` is the command line with such jobs.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

COMMAND = (sys.executable, str(Path(__file__).resolve()))
SLOW_S = 300.0
STARTS = "starts.txt"  # beside the outputs: a line per process that was started


def main() -> int:
    """Run the command line."""
    from client.job_process import JobRequest
    from client.lipsync import main as command_line

    JobRequest.command = COMMAND

    return command_line(sys.argv[1:])


def stand_in() -> None:
    """Answer as a job's process does."""
    job = json.loads(sys.stdin.read())["job"]
    output, what = Path(job["output"]), Path(job["video"]).stem
    with (output.parent / STARTS).open("a") as starts:
        starts.write(f"{output.name} {os.getpid()}\n")
    if what == "poison":  # as when memory runs out: the process and Ray's worker are gone
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(SLOW_S if what == "slow" else float(what))
    output.write_text(output.name)
    print(json.dumps({"exit_code": 0, "report": {"output": output.name}, "error": None}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["batch"]:
        sys.exit(main())
    stand_in()
