"""What HTTP asks of every service: methods, parts of files, and answers to repeated requests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from client.web.service import Service
from client.web.stored_file import satisfiable_ranges
from tests.web_service import files, open_client, problem


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    """A client of a service that accepts jobs and runs none."""
    with open_client(tmp_path) as opened:
        yield opened


@pytest.fixture
def video(client: TestClient) -> str:
    """Path of an uploaded video of ten bytes."""
    path: str = client.post("/jobs", files=files(b"0123456789")).json()["links"]["video"]
    return path


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/jobs", "GET, HEAD, POST"), ("PATCH", "/jobs/x", "DELETE, GET, HEAD"),
        ("POST", "/health", "GET, HEAD"),
        ("GET", "/jobs/x/cancel", "POST"), ("POST", "/", "GET, HEAD"), ("POST", "/page/app.js", "GET, HEAD"),
        ("PUT", "/session", "DELETE, GET, HEAD, POST"),
    ],
)  # fmt: skip
def test_wrong_method_fails_and_names_the_others(client: TestClient, method: str, path: str, allowed: str) -> None:
    """405 lists all methods of the address."""
    answer = client.request(method, path)
    problem(answer, 405)
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize("path", ["/", "/jobs", "/health", "/page/app.js", "/openapi.json", "/events"])
def test_head_is_answered_as_get_without_content(client: TestClient, path: str) -> None:
    """HEAD gives the headers of GET at once, also where the answer has no end."""
    answer = client.head(path)
    assert (answer.status_code, answer.content) == (200, b"")
    assert "content-security-policy" in answer.headers


def test_head_of_a_file_says_its_size(client: TestClient, video: str) -> None:
    """The size of a file is known without fetching it; a range is for GET alone."""
    answer = client.head(video, headers={"Range": "bytes=0-1"})
    assert (answer.status_code, answer.headers["content-length"], answer.content) == (200, "10", b"")
    assert answer.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("bytes=2-4", [(2, 4)]), ("bytes=7-", [(7, 9)]), ("bytes=-3", [(7, 9)]), ("bytes=-30", [(0, 9)]),
        ("bytes=8-99", [(8, 9)]), ("bytes=0-0, 50-60 ,2-3", [(0, 0), (2, 3)]), ("bytes=10-", []), ("bytes=-0", []),
        ("lines=1-2", None), ("bytes=4-2", None), ("bytes=x", None), ("bytes=-", None), ("bytes=", None),
        ("bytes=1-2,x", None), ("bytes=,", None), ("bytes=1--2", None),
    ],
)  # fmt: skip
def test_range_means_what_the_standard_says(text: str, parts: list[tuple[int, int]] | None) -> None:
    """Parts behind the end are left out; what is malformed, or of another unit, is ignored."""
    assert satisfiable_ranges(text, 10) == parts


def test_parts_of_a_file_are_sent(client: TestClient, video: str) -> None:
    """A good range gives that part, a malformed one the whole file, one behind the end a problem with the size."""
    part = client.get(video, headers={"Range": "bytes=2-4,99-"})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"234", "bytes 2-4/10")
    assert client.get(video, headers={"Range": "bytes=4-2"}).status_code == 200
    behind = client.get(video, headers={"Range": "bytes=10-"})
    assert problem(behind, 416)["title"] == "The file has no such part"
    assert behind.headers["content-range"] == "bytes */10"
    stale = client.get(video, headers={"Range": "bytes=10-", "If-Range": '"another"'})
    assert (stale.status_code, stale.content) == (200, b"0123456789")


@pytest.mark.parametrize("path", [None, "/"])
def test_unchanged_file_is_not_sent_again(client: TestClient, video: str, path: str | None) -> None:
    """A known entity tag gets 304 without content, whatever part is asked for; another gets the file."""
    path = path or video
    tag = client.get(path).headers["etag"]
    for known in (tag, f'"other", W/{tag}', "*"):
        answer = client.get(path, headers={"If-None-Match": known, "Range": "bytes=99-"})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
    assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_defect_is_answered_with_the_security_headers(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 500 has the headers of every other answer."""
    service: Service = client.app.state.service  # type: ignore[attr-defined]
    monkeypatch.setattr(service.store, "jobs_of", None)
    answer = client.get("/jobs")
    problem(answer, 500)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert 'route="/jobs",status="500"' in client.get("/metrics").text
