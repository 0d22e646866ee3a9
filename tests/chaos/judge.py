"""Plays a case and compares what happened with what was expected; looks for everything that was left behind."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import av

from client.resume.work_folder import default_work_dir
from tests.chaos import traces
from tests.chaos.case import Case, Result, Skip, Unexpected, Verdict
from tests.chaos.faults import after_answers
from tests.chaos.scene import Bench, Ending, Scene

WORDS_SHOWN = 200
DEFECT_MARKS = ("Traceback", "defect of the program")
NEEDS_FILES_OF_AN_UNFINISHED_JOB = "--resume"


def play(case: Case, bench: Bench) -> Result:
    """Play one case; never raises, so that the others follow."""
    started = time.monotonic()
    memory_before = traces.shared_memory_names()
    scene = None
    try:
        with Scene(case, bench) as scene:
            happened, wrong = _act(scene)
    except Skip as skip:
        return Result(case.name, str(skip), case.expected, "skipped", time.monotonic() - started)
    except Unexpected as error:
        happened, wrong = str(error), ["not as planned"]
    except Exception as error:  # noqa: BLE001  (one broken case must not end the others)
        happened, wrong = f"{type(error).__name__}: {error}", ["the case itself is broken"]
    if scene is not None:
        wrong += _left_behind(scene, memory_before)
        shutil.rmtree(scene.folder, ignore_errors=True)
    verdict: Verdict = "as expected" if not wrong else "known" if case.known else "DIFFERS"
    happened = "; ".join([happened, *(f"WRONG: {what}" for what in wrong)])
    if verdict == "known":
        happened += f"; KNOWN: {case.known}"
    return Result(case.name, happened, case.expected, verdict, time.monotonic() - started)


def _act(scene: Scene) -> tuple[str, list[str]]:
    """Run the command, do the harm, run it again where the case says so; return what happened, and what is wrong."""
    case = scene.case
    options = case.serve(scene)
    launch = case.launch(scene)
    earlier = _content(scene.output)
    job = scene.start(launch, options)
    if case.fault is not None:
        after_answers(scene, job)
        case.fault(scene, job)
    ending = job.end(case.timeout_s)
    wrong = _judge_ending(case, ending) + _judge_file(scene, ending, earlier)
    happened = _words(ending)
    if case.again:
        again = scene.start(options=options).end(case.timeout_s)
        happened += f"; again: {_words(again)}"
        ending = again
        if again.code != 0:
            wrong.append("the second run failed")
        wrong += _judge_file(scene, again, earlier)
    wrong += _left_beside(scene, ending)
    return happened, wrong


def _judge_ending(case: Case, ending: Ending) -> list[str]:
    wrong = []
    if ending.code is None:
        wrong.append(f"still running after {case.timeout_s:g} s")
    elif ending.code not in case.codes:
        wrong.append("another exit code")
    said = f"{ending.last_words}\n{ending.warnings}"
    if any(mark in said for mark in DEFECT_MARKS):
        wrong.append("no message for people")
    if ending.code and ending.code > 0 and not ending.last_words:
        wrong.append("no message at all")
    if case.says and ending.code != 0 and case.says not in said:
        wrong.append("another message")
    return wrong


def _judge_file(scene: Scene, ending: Ending, earlier: bytes | None) -> list[str]:
    """Say what is wrong with what lies under the output's name."""
    now = _content(scene.output)
    if ending.code != 0:
        return [] if now == earlier else ["the file under the output's name changed"]
    if now is None or now == earlier:
        return ["no file"]
    if not _decodes(scene.output):
        return ["the file does not decode"]
    if scene.case.shorter_than_s and _length_s(scene.output) >= scene.case.shorter_than_s:
        return [f"a file of {_length_s(scene.output):.1f} s"]
    if scene.case.same and now != scene.bench.undisturbed(scene.case):
        return ["another file than undisturbed"]
    return []


def _left_beside(scene: Scene, ending: Ending) -> list[str]:
    """Say what lies beside the output that should not."""
    final = scene.output.resolve()
    allowed = {scene.output.name, final.name}
    if ending.code != 0 and NEEDS_FILES_OF_AN_UNFINISHED_JOB in scene.case.options:
        allowed.add(default_work_dir(scene.output).name)
    extra = [name for name in traces.files_in(scene.results) if name not in allowed]
    return [f"left beside the output: {', '.join(extra)}"] if extra else []


def _left_behind(scene: Scene, memory_before: set[str]) -> list[str]:
    """Say which processes, shared memory and temporary files outlived the case; processes are then killed."""
    wrong = []
    pids = traces.settled(lambda: [str(pid) for pid in traces.marked_pids(scene.token)])
    if pids:
        commands = [traces.command_line(int(pid)) or pid for pid in pids]
        wrong.append(f"left running: {'; '.join(command[:WORDS_SHOWN] for command in commands)}")
        traces.kill_all(map(int, pids))
    if memory := traces.settled(lambda: traces.orphaned_memory(memory_before)):
        wrong.append(f"left in /dev/shm: {', '.join(memory)}")
    if files := traces.settled(lambda: traces.files_in(scene.temporary)):
        wrong.append(f"left in TMPDIR: {', '.join(files)}")
    return wrong


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _decodes(path: Path) -> bool:
    """Say whether a file has pictures and sound that decode to their end."""
    try:
        with av.open(str(path)) as container:
            kinds = {type(frame) for frame in container.decode()}
    except av.FFmpegError:
        return False
    return kinds == {av.VideoFrame, av.AudioFrame}


def _length_s(path: Path) -> float:
    with av.open(str(path)) as container:
        return (container.duration or 0) / av.time_base


def _words(ending: Ending) -> str:
    code = "time limit" if ending.code is None else f"exit {ending.code}"
    return f"{code}: {ending.last_words[:WORDS_SHOWN]}" if ending.last_words else code
