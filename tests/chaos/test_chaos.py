from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.__main__ import run_cases
from tests.chaos.cases import CASES

pytestmark = pytest.mark.server
QUICK = (
    "video: mkv cut at 50 %",
    "video: playlist of an address",
    "output: is the video",
    "server: nobody at the port",
    "client: SIGTERM, running server",
    "disk: file size limited",
)


def test_faults_are_taken_as_expected(model_repository: Path) -> None:
    """A case of each kind ends as the table says, and leaves nothing behind."""
    results = run_cases([case for case in CASES if case.name in QUICK], at_once=2)
    assert {result.name for result in results} == set(QUICK)
    assert [result for result in results if result.verdict != "as expected"] == []


def test_cases_are_many_and_each_has_its_name() -> None:
    """At least forty, and no name twice, since --only picks by name."""
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) >= 40
