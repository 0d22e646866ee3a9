"""What a fault case is, and what it ends with. Knows neither media nor servers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tests.chaos.scene import Running, Scene


def one_job(scene: Scene) -> tuple[str, ...]:
    """Run the case's files as one job."""
    return f"--video={scene.video}", f"--audio={scene.audio}", f"--output={scene.output}"


Verdict = Literal["as expected", "DIFFERS", "known", "skipped"]
TIMEOUT_S = 120.0


class Skip(Exception):
    """A case that this machine does not allow, with the reason."""


class Unexpected(Exception):
    """A case that cannot go on as it should, with what happened instead."""


@dataclass(frozen=True)
class Launch:
    """How the command is started: what stands before it, and what its environment has beside the usual."""

    prefix: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One accident, and how the command has to take it.

    Attributes:
        name: what happens, in a few words.
        codes: exit codes that are right. With 0 the output must decode to its end; with any other it must be
            as it was before.
        serve: starts what the job talks to; gives the options that name it.
        video: makes the video.
        audio: makes the speech.
        program: what is run in place of the command; empty for the command itself.
        command: gives the first arguments of the command, which name the files.
        options: further ones of the command.
        says: a pattern that the command's last words must match.
        same: whether the output must be the very file of an undisturbed run.
        shorter_than_s: how long the output may be, in seconds; 0 for any length.
        output: gives the output's path, and sets up what is there before.
        launch: how the command is started.
        fault: what is done to the running job.
        after: how many requests are answered before that.
        again: whether the command is then run a second time, undisturbed; `codes` are those of the first run, and the
            second must succeed.
        timeout_s: for each run of the command.
        known: why a difference is known; the table shows it all the same.
    """

    name: str
    codes: tuple[int, ...]
    serve: Callable[[Scene], tuple[str, ...]]
    video: Callable[[Path], Path]
    audio: Callable[[Path], Path]
    output: Callable[[Path], Path]
    program: tuple[str, ...] = ()
    command: Callable[[Scene], tuple[str, ...]] = one_job
    options: tuple[str, ...] = ()
    says: str = ""
    same: bool = False
    shorter_than_s: float = 0.0
    launch: Callable[[Scene], Launch] = lambda scene: Launch()
    fault: Callable[[Scene, Running], None] | None = None
    after: int = 8
    again: bool = False
    timeout_s: float = TIMEOUT_S
    known: str = ""

    @property
    def expected(self) -> str:
        """What has to happen, in words."""
        words = [f"exit {' or '.join(map(str, self.codes))}"]
        if self.says:
            words.append(f"says '{self.says}'")
        if self.again:
            words.append("then exit 0")
        if self.again or 0 in self.codes:
            words.append("the undisturbed file" if self.same else "a whole file")
        return ", ".join(words)


@dataclass(frozen=True)
class Result:
    """What became of a case.

    Attributes:
        name: the case's.
        happened: in words.
        expected: in words.
        verdict: how the two compare.
        seconds: that it took, with everything.
    """

    name: str
    happened: str
    expected: str
    verdict: Verdict
    seconds: float
