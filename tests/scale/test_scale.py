from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.scale.__main__ import main
from tests.scale.batch import EndedJob, jobs_per_second, overhead_s


def test_throughput_is_that_of_each_machine_from_its_first_job_to_its_last() -> None:
    """A machine that starts late does not count as slow."""
    first = [EndedJob(at, 1.9, "first") for at in (2.0, 4.0, 6.0)]
    second = [EndedJob(at, 1.9, "second") for at in (9.0, 11.0)]
    assert jobs_per_second([*first, *second]) == pytest.approx(1.0)
    assert overhead_s([*first, *second]) == pytest.approx(0.1)


@pytest.mark.server
@pytest.mark.long
def test_batch_survives_lost_and_frozen_machines(tmp_path: Path) -> None:
    """Each output appears once, as a run on one machine gives it."""
    pytest.importorskip("ray")
    rows = tmp_path / "rows.jsonl"
    few = ["--jobs", "20", "--short-wait-s", "0.5", "--queued", "100", "--json", str(rows)]
    assert main(["--only", "queue", "accidents", *few]) == 0
    queue, accidents = map(json.loads, rows.read_text().splitlines())
    assert (queue["what"], queue["jobs"]) == ("queue", 100)
    assert (accidents["what"], accidents["jobs"], accidents["wrong"]) == ("accidents", 20, [])
