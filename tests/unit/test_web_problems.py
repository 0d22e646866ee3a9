"""The kinds of problems: each has an address, a place in the documentation, and a time to wait where that helps."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from client.cli.reference import with_tables
from client.errors import MediaError, UsageError
from client.web import connections, problem_kinds, sessions
from client.web.problem_kinds import KINDS, RETRY_AFTER_S, STANDARD, UNREADABLE_MEDIA, WRONG_OPTION
from client.web.problems import ProblemError
from tests.web_service import OTHER_TOKEN, TOKEN, TOKENS, bearer, listening, make_service, open_client, problem

ROOT = Path(__file__).parents[2]


def test_every_kind_is_documented() -> None:
    """docs/api.md lists each kind with its status and what to do; `make docs` writes it."""
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert with_tables(page) == page
    for kind in KINDS.values():
        assert f"| {kind.status} | `{kind.type}` |" in page


def test_every_kind_is_used() -> None:
    """No kind is listed that the service never answers with."""
    files = [path for path in (ROOT / "client" / "web").glob("*.py") if path.stem != "problem_kinds"]
    code = "".join(re.sub(r"problem_kinds import (\([^)]*\)|.*)", "", path.read_text()) for path in files)
    for constant, kind in vars(problem_kinds).items():
        if isinstance(kind, problem_kinds.ProblemKind) and kind not in STANDARD.values():
            assert re.search(rf"\b{constant}\b", code), constant


def test_kinds_have_the_titles_of_the_clients_errors() -> None:
    """The same mistake has the same title on the command line and in the API."""
    assert (WRONG_OPTION.title, UNREADABLE_MEDIA.title) == (UsageError.title, MediaError.title)


def test_type_of_a_problem_is_an_address(tmp_path: Path) -> None:
    """A problem's type leads to its description; an unknown one is a problem itself."""
    with open_client(tmp_path) as client:
        said = problem(client.get("/jobs/nothing"), 404)
        described = client.get(said["type"]).json()
        assert (described["type"], described["title"]) == ("/problems/no-such-job", said["title"])
        assert [kind["type"] for kind in client.get("/problems").json()["problems"]] == [k.type for k in KINDS.values()]
        assert problem(client.get("/problems/nothing"), 404)["type"] == "/problems/not-found"


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_problem_says_when_to_try_again(kind: object) -> None:
    """Where waiting helps, Retry-After is sent whatever the cause."""
    headers = ProblemError(kind).headers  # type: ignore[arg-type]
    assert ("Retry-After" in headers) == (kind.status in RETRY_AFTER_S)  # type: ignore[attr-defined]


def test_too_many_connections_fail_with_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is refused in the API's own words, with the headers of every answer."""
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 2)
    with listening(make_service(tmp_path)) as address, httpx.Client(base_url=address) as one:
        with one.stream("GET", "/events") as stream:
            assert stream.status_code == 200
            answer = httpx.get(f"{address}/health")
        assert problem(answer, 503)["type"] == "/problems/busy"
        assert int(answer.headers["retry-after"]) > 0
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_wrong_bearer_tokens_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guessing ends in 429, also for a right token that was never used from there; who was right before goes on."""
    monkeypatch.setattr(sessions, "FAILURES_S", 600.0)
    with open_client(tmp_path, tokens=TOKENS) as client:
        assert client.get("/jobs", headers=bearer(TOKEN)).status_code == 200
        codes = [client.get("/jobs", headers=bearer(f"guess-{number}")).status_code for number in range(35)]
        assert codes == [401] * sessions.MAX_BEARER_FAILURES + [429] * (35 - sessions.MAX_BEARER_FAILURES)
        refused = client.get("/jobs", headers=bearer(OTHER_TOKEN))
        assert problem(refused, 429)["type"] == "/problems/too-many-attempts"
        assert int(refused.headers["retry-after"]) > 0
        assert client.get("/jobs", headers=bearer(TOKEN)).status_code == 200
        monkeypatch.setattr(sessions, "FAILURES_S", 0.0)
        assert client.get("/jobs", headers=bearer(OTHER_TOKEN)).status_code == 200
