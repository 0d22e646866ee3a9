"""Says what can be known of a video's origin: `python -m client.web.verify_process FILE` prints it as JSON.

It is a process of its own, so that a file that was made to use up memory or time ends this process and nothing else.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from pydantic import ValidationError

from client.errors import LipSyncError, MediaError, error_from_dict
from client.provenance.findings import examine
from client.provenance.signing import EMBEDDED, sidecar_of
from client.web.asked_process import Waiting, ask
from client.web.child import EXIT_REFUSED, limit_this_process
from client.web.job_settings import VIDEO_FILE
from client.web.media_type import media_type
from client.web.problem_kinds import NOT_READY, UNREADABLE_MEDIA
from client.web.problems import ProblemError
from client.web.verify_views import VerificationView

MAX_ANSWER_BYTES = 4_000_000  # a manifest may be as large as its file
TIMEOUT_S = 900.0
SUFFIXES = {kind: suffix for suffix, kind in EMBEDDED.items()}  # of formats that hold credentials


def main() -> int:
    """Print what was found; returns 0, or EXIT_REFUSED with the error of a file that cannot be read."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    options = parser.parse_args()
    limit_this_process()
    try:
        print(checked_size(VerificationView.of(examine(options.file)).model_dump_json()))
    except LipSyncError as error:
        print(json.dumps(error.as_dict()))
        return EXIT_REFUSED
    return 0


def checked_size(answer: str) -> str:
    """Return an answer that is not too long.

    Raises:
        LipSyncError: it is.
    """
    if len(answer.encode()) > MAX_ANSWER_BYTES:
        raise LipSyncError(expected=f"credentials of at most {MAX_ANSWER_BYTES} bytes", got="more")
    return answer


def with_suffix(video: Path, credentials: Path) -> Path:
    """Name an uploaded video by what it holds, as `examine` goes by names, and its sidecar after it.

    Args:
        video: the file.
        credentials: its sidecar; need not be there.

    Returns:
        The video's new path.
    """
    named = video.rename(video.with_suffix(SUFFIXES.get(media_type(video), "")))
    if credentials.exists():
        credentials.rename(sidecar_of(named))
    return named


async def run_verify(video: Path, name: str, is_to_end: Waiting) -> VerificationView:
    """Run this module on a file.

    Args:
        video: the file.
        name: its name on the user's machine.
        is_to_end: see Waiting.

    Raises:
        ProblemError: 422, the file cannot be read; 503, it took too long, or the service ends.
    """
    command = [sys.executable, "-m", "client.web.verify_process", video.name]
    try:
        code, stdout = await ask(command, video.parent, b"", TIMEOUT_S, is_to_end)
    except TimeoutError as error:
        people = "Checking the video took too long. Try a shorter one."
        expected = f"an answer within {TIMEOUT_S:g} s"
        raise ProblemError(NOT_READY, expected=expected, got="none", people=people) from error
    return _found(code, stdout).model_copy(update={"file": name})


def _found(code: int | None, stdout: bytes) -> VerificationView:
    if code == EXIT_REFUSED:
        refused = error_from_dict(json.loads(stdout))
        people = "What the credentials of this file say is too long to be shown."
        if isinstance(refused, MediaError):
            people = "This file cannot be read as a video. Check that it plays."
        raise _unreadable(refused.expected, refused.got, people)
    if code != 0:
        people = "This file cannot be read: it is too large or damaged."
        raise _unreadable("a readable video", "a damaged or huge one", people)
    try:
        return VerificationView.model_validate_json(stdout)
    except ValidationError as error:  # whoever signs a file chooses what it says
        people = "The credentials of this file cannot be read."
        raise _unreadable("readable credentials", "others", people) from error


def _unreadable(expected: str, got: str, people: str) -> ProblemError:
    """Advise nobody to convert the file, as that would remove its credentials."""
    title = "The video cannot be checked"
    return ProblemError(UNREADABLE_MEDIA, name=VIDEO_FILE, expected=expected, got=got, title=title, people=people)


if __name__ == "__main__":
    sys.exit(main())
