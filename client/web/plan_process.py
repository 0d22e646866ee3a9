"""Plans one job of uploaded files: `python -m client.web.plan_process` prints the plan as JSON.

It reads from stdin how to reach Triton, and the job's choices; the files are in the current folder. It is a process of
its own, so that media that were made to use up memory end this process and nothing else, and so that it can be ended.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from client.errors import LipSyncError, MediaError, NoFaceError, UsageError, by_name, error_from_dict, spelled
from client.job_options import JobOptions
from client.progress import SilentProgress
from client.scene.planning import plan_job
from client.servers.access import ServerAccess
from client.web.asked_process import Waiting, ask
from client.web.child import EXIT_REFUSED, EXIT_RETRY, limit_this_process
from client.web.face_preview import not_ready
from client.web.job_settings import JobSettings
from client.web.plan_views import PlanView
from client.web.problem_kinds import NOT_READY, UNREADABLE_MEDIA, WRONG_OPTION
from client.web.problems import ProblemError
from client.web.scripts import stored_script

TIMEOUT_S = 900.0
REFUSALS = (MediaError, NoFaceError, UsageError)


def main() -> int:
    """Print the plan, or the error of a job that cannot be done.

    Returns 0, EXIT_REFUSED for such a job, or EXIT_RETRY without a server.
    """
    limit_this_process()
    request = json.loads(sys.stdin.read())
    script = stored_script(Path())
    try:
        options = JobSettings(**request["settings"]).job_options(Path(), script=script and script.scene)
        print(json.dumps(made_plan(options, ServerAccess.from_json(request["access"]))))
    except REFUSALS as error:
        print(json.dumps(error.as_dict()))
        return EXIT_REFUSED
    except LipSyncError as error:
        print(f"plan: {error}", file=sys.stderr)
        return EXIT_RETRY
    return 0


def made_plan(options: JobOptions, access: ServerAccess) -> dict[str, Any]:
    """Plan a job whose files are in the current folder; voices of the plan's script are names of parts.

    Raises:
        LipSyncError: it cannot be done, or the server does not answer.
    """
    plan, sheet = plan_job(options, access, Path(), SilentProgress())
    fields = plan.as_dict()
    picture = "data:image/png;base64," + base64.b64encode(sheet).decode()
    warnings = [spelled(warning, by_name) for warning in plan.warnings]
    return {**fields, "script": by_parts(plan.script), "warnings": warnings, "contact_sheet": picture}


def by_parts(script: Mapping[str, Any]) -> dict[str, Any]:
    """Return a script whose voices are named by their parts in place of their paths."""
    speakers = [{**speaker, "voice": _part(speaker["voice"])} for speaker in script["speakers"]]
    return {**script, "speakers": speakers}


def _part(voice: Mapping[str, Any]) -> str | dict[str, Any]:
    name = Path(voice["file"]).name
    return name if len(voice) == 1 else {**voice, "file": name}


async def run_plan(folder: Path, settings: Mapping[str, Any], access: ServerAccess, is_to_end: Waiting) -> PlanView:
    """Run this module on the files of a folder.

    Args:
        folder: the folder, with the script if there is one.
        settings: the job's choices.
        access: the servers.
        is_to_end: see Waiting.

    Raises:
        ProblemError: 422, the job cannot be done; 503, the server does not answer in time, or the service ends.
    """
    command = [sys.executable, "-m", "client.web.plan_process"]
    request = json.dumps({"settings": dict(settings), "access": access.as_json()}).encode()
    try:
        code, stdout = await ask(command, folder, request, TIMEOUT_S, is_to_end)
    except TimeoutError as error:
        people = "Finding out who speaks took too long. Choose a shorter part of the video."
        expected = f"an answer within {TIMEOUT_S:g} s"
        raise ProblemError(NOT_READY, expected=expected, got="none", advice="Choose a part", people=people) from error
    return _plan_of(code, stdout)


def _plan_of(code: int | None, stdout: bytes) -> PlanView:
    if code == EXIT_REFUSED:
        error = error_from_dict(json.loads(stdout))
        raise ProblemError.of(UNREADABLE_MEDIA if isinstance(error, MediaError) else WRONG_OPTION, [error])
    if code == EXIT_RETRY:
        raise not_ready()
    if code != 0:
        people = "The files cannot be read: one of them is too large or damaged."
        raise ProblemError(UNREADABLE_MEDIA, expected="readable files", got="a damaged or huge one", people=people)
    return PlanView.model_validate_json(stdout)


if __name__ == "__main__":
    sys.exit(main())
