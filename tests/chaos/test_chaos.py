from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos import faults, traces
from tests.chaos.__main__ import run_cases
from tests.chaos.case import Case
from tests.chaos.cases import CASES
from tests.chaos.scene import Running, Scene

pytestmark = pytest.mark.server
QUICK = (
    "video: mkv cut at 50 %",
    "video: playlist of an address",
    "output: is the video",
    "server: nobody at the port",
    "shared memory: read-only",
    "shared memory: full from the start, frames in messages",
    "ray: not installed",
    "ray: nobody at the address",
)
LONGER = (
    "embedded server: a network's process killed",
    "disk: file size limited",
    "shared memory: 64 MB, Docker's default",
)


def by_name(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


@pytest.mark.parametrize("names", [QUICK, pytest.param(LONGER, marks=pytest.mark.long)], ids=["quick", "longer"])
def test_faults_are_taken_as_expected(model_repository: Path, names: tuple[str, ...]) -> None:
    """Cases of all kinds end as the table says, and leave nothing behind."""
    results = run_cases([by_name(name) for name in names], at_once=2)
    assert [result for result in results if result.verdict not in ("as expected", "skipped")] == []


@pytest.mark.long
def test_case_fails_when_its_end_is_another(model_repository: Path) -> None:
    """An exit code, a message or a success that was not expected is seen."""
    absent = by_name("server: nobody at the port")
    wrong_code, wrong_words = replace(absent, name="code", codes=(0,)), replace(absent, name="words", says="welcome")
    late = replace(by_name("server: port accepts and is silent"), name="late", timeout_s=0.5)
    for case, said in ((wrong_code, "another exit code"), (wrong_words, "another message"), (late, "still running")):
        (result,) = run_cases([case], at_once=1)
        assert result.verdict == "DIFFERS"
        assert said in result.happened
    (known,) = run_cases([replace(wrong_code, known="for this test")], at_once=1)
    assert known.verdict == "known"


@pytest.mark.long
def test_case_fails_when_anything_is_left(model_repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes, shared memory, temporary files, and files beside or under the output's name are all seen."""
    monkeypatch.setattr(traces, "GRACE_S", 0.2)
    planted = Path(f"/dev/shm/lipsync-chaos-test-{os.getpid()}")

    def leave_all(scene: Scene) -> tuple[str, ...]:
        subprocess.run("sleep 60 &", shell=True, env=scene.environment(), check=True)
        planted.write_text("forgotten")
        (scene.temporary / "forgotten").touch()
        (scene.results / ".out.mp4.part").touch()
        return faults.nobody(scene)

    def half_a_file(scene: Scene, job: Running) -> None:
        scene.output.write_text("half")

    try:
        (littered,) = run_cases([replace(by_name("server: nobody at the port"), serve=leave_all)], at_once=1)
    finally:
        planted.unlink()
    assert littered.verdict == "DIFFERS"
    for what in ("left running: sleep 60", f"in /dev/shm: {planted.name}", "in TMPDIR: forgotten", ".out.mp4.part"):
        assert what in littered.happened
    spoilt = replace(by_name("disk: file size limited"), fault=half_a_file, after=1)
    (result,) = run_cases([spoilt], at_once=1)
    assert "the file under the output's name changed" in result.happened


def test_cases_are_many_and_each_has_its_name() -> None:
    """At least forty, and no name twice, since --only picks by name."""
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) >= 40
