"""A program that uses the web service as its documentation says: it asks again where that is told to be of use.

`python -m tests.chaos.web_client --address URL --video FILE --audio FILE --output FILE` ends with 0 once it has the
whole result. What it does goes to stderr as JSON, a line each.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx

ACCEPTED, RUNNING, FINISHED, REFUSED = "job accepted", "job running", "job finished", "try again later"
LOOK_EVERY_S = 0.2
TIMEOUT_S = 120.0
UNAVAILABLE = 503


class Failed(Exception):
    """What the service should not answer."""


def main() -> int:
    """Send a job and fetch its result; returns the exit code."""
    parser = argparse.ArgumentParser()
    for name in ("address", "video", "audio", "output"):
        parser.add_argument(f"--{name}", required=True)
    options, _ = parser.parse_known_args()
    try:
        with httpx.Client(base_url=options.address, timeout=TIMEOUT_S, trust_env=False) as client:
            _run(client, Path(options.video), Path(options.audio), Path(options.output))
    except (Failed, httpx.HTTPError) as error:
        _say(f"{type(error).__name__}: {error}", "error")
        return 1
    return 0


def _run(client: httpx.Client, video: Path, audio: Path, output: Path) -> None:
    def send() -> httpx.Response:
        with video.open("rb") as frames, audio.open("rb") as sound:
            files = {"video": (video.name, frames), "audio": (audio.name, sound)}
            return client.post("/jobs", files=files, data={"fps": "50"})

    job = _insist(send).json()
    _say(ACCEPTED)
    is_running = False
    while job["state"] != "finished":
        if job["state"] not in ("queued", "running"):
            raise Failed(f"the job is {job['state']}: {job['error']}")
        if job["frames"] and not is_running:
            is_running = True
            _say(RUNNING)
        time.sleep(LOOK_EVERY_S)
        job = _insist(partial(client.get, job["links"]["self"])).json()
    _say(FINISHED)
    time.sleep(1.0)  # for what is to happen now
    output.write_bytes(_insist(partial(client.get, job["links"]["result"])).content)


def _insist(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """Ask again as long as the service says so.

    Raises:
        Failed: it says anything else.
    """
    while True:
        answer = ask()
        if answer.is_success:
            return answer
        if answer.status_code != UNAVAILABLE or "retry-after" not in answer.headers:
            raise Failed(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text}")
        _say(REFUSED)
        time.sleep(float(answer.headers["retry-after"]))


def _say(message: str, level: str = "info") -> None:
    print(json.dumps({"level": level, "message": message}), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
