"""Event streams: what they tell, and when they end."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.waiting import wait_until
from tests.web_service import NOWHERE, WebProcess, files, listening, make_service, open_client


def events(stream: httpx.Response) -> Iterator[dict[str, Any]]:
    """Read the data of a stream's events."""
    for line in stream.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line[6:])


def test_stream_of_an_ended_job_is_not_asked_again(tmp_path: Path) -> None:
    """Who connects again after the last event is told to stop; who has not heard it gets it."""
    with open_client(tmp_path) as client:
        job = client.post("/jobs", files=files()).json()
        client.post(f"/jobs/{job['id']}/cancel")
        answer = client.get(job["links"]["events"])
        assert "event: job" in answer.text
        (last,) = [line[4:] for line in answer.text.splitlines() if line.startswith("id: ")]
        again = client.get(job["links"]["events"], headers={"Last-Event-ID": last})
        assert (again.status_code, again.content) == (204, b"")
        before = client.get(job["links"]["events"], headers={"Last-Event-ID": str(int(last) - 1)})
        assert "event: job" in before.text


def test_places_in_the_queue_move(tmp_path: Path) -> None:
    """A job that waits is told of its new place when one before it starts."""
    service = make_service(tmp_path)
    with listening(service) as address:
        first, second = (httpx.post(f"{address}/jobs", files=files()).json() for _ in range(2))
        with httpx.stream("GET", f"{address}{second['links']['events']}", timeout=60) as stream:
            told = events(stream)
            assert next(told)["queue_position"] == 2
            assert service.store.claim(first["id"])
            assert next(told)["queue_position"] == 1


def test_streams_end_with_the_service(tmp_path: Path) -> None:
    """A stream that would go on for ever ends in time when the service does."""
    service = make_service(tmp_path)
    ended = threading.Event()

    def follow(address: str) -> None:
        with httpx.stream("GET", f"{address}/events", timeout=60) as stream:
            begun.set()
            assert list(events(stream)) == []
        ended.set()

    begun = threading.Event()
    with listening(service) as address:
        thread = threading.Thread(target=follow, args=(address,))
        thread.start()
        assert begun.wait(60)
    thread.join(60)
    assert ended.is_set()


def test_ctrl_c_prints_no_traceback(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """With an open stream, Ctrl-C ends the service with code 0 and without a word."""
    with WebProcess(tmp_path, "--url", NOWHERE) as web:
        stream = httpx.Client(timeout=20)
        with stream.stream("GET", f"{web.address}/events") as answer:
            assert answer.status_code == 200
            web.process.send_signal(signal.SIGINT)
            wait_until(lambda: web.process.poll() is not None, 20)
        stream.close()
        assert web.process.returncode == 0
    assert capfd.readouterr().err == ""
