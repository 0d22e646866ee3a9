"""The web service with jobs that do as their videos say, in place of lip-sync: for tests of where they run.

`python -m tests.ray_web_stand_in ...` is the service. A job's video is one of the words below, its audio the path of a
file in which each start leaves a line: the job and its process.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

SLOW, SLOW_AT_FIRST, QUICK = b"slow", b"slow at first", b"quick"
SLOW_S, STEP_S = 120.0, 0.5
JOB = "--job"
COMMAND = (sys.executable, str(Path(__file__).resolve()), JOB)


def main() -> int:
    """Run the service."""
    from client.web.__main__ import main as service
    from client.web.job_process import WebJobRequest

    WebJobRequest.command = COMMAND
    return service(sys.argv[1:])


def job_main() -> int:
    """Run a job's process, whose work is waiting."""
    from client.web import job_process

    job_process.run_job = run_job  # type: ignore[assignment]
    return job_process.main()


def run_job(store, media, job_id, *_: object, **__: object) -> None:  # type: ignore[no-untyped-def]
    """Wait as the video says, tell of it as a job does, and store a result."""
    from client.web.job_process import StoredProgress
    from client.web.job_settings import result_file

    folder = media.fetch(job_id, ["video", "audio"])
    what, starts = (folder / "video").read_bytes(), Path((folder / "audio").read_text())
    is_first = not starts.exists() or job_id not in starts.read_text()
    with starts.open("a") as file:
        file.write(f"{job_id} {os.getpid()} {folder}\n")
    progress = StoredProgress(store, job_id)
    progress.stage("lip-syncing", 100)
    give_up_at = time.monotonic() + SLOW_S
    while (what == SLOW or (what == SLOW_AT_FIRST and is_first)) and time.monotonic() < give_up_at:
        time.sleep(STEP_S)
        progress.advance(0)  # it comes no further, so that each start counts
    result = folder / result_file("mp4")
    result.write_bytes(b"result of " + what)
    media.put(job_id, result)
    store.finish(job_id, {"frames": 1, "seconds": 1.0, "warnings": []}, store.owner)


if __name__ == "__main__":
    sys.exit(job_main() if JOB in sys.argv else main())
