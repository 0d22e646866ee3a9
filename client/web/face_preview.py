"""Finds the faces in one picture: `python -m client.web.face_preview FILE` prints them as JSON.

It reads from stdin how to reach Triton. It is a process of its own, so that a picture that was made to use up memory
ends this process and nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import resource
import sys
from pathlib import Path

from client.errors import LipSyncError, MediaError, UsageError, error_from_dict
from client.media import VideoSource
from client.report import StageClock
from client.servers.access import ServerAccess
from client.servers.options import PoolOptions
from client.servers.pool import ServerPool
from client.tracking.faces import MIN_CHOSEN_SCORE
from client.tracking.finder import FaceFinder
from client.web.child import EXIT_REFUSED, EXIT_RETRY
from client.web.labels import PICTURE_PART
from client.web.problem_kinds import NOT_READY, UNREADABLE_MEDIA
from client.web.problems import ProblemError
from client.web.video_preview import LONG_SIDE, even, jpeg
from client.web.views import FaceList, FaceView

MAX_MEMORY_BYTES = 4 << 30  # address space; a picture of 100 megapixels fits
TIMEOUT_S = 30.0


def main() -> int:
    """Print the faces, or the error of a picture that cannot be used.

    Returns 0, EXIT_REFUSED for such a picture, or EXIT_RETRY without a server.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture", type=Path)
    parser.add_argument("--at", type=float, default=0.0, help="second of a video")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    try:
        print(find_faces(options.picture, ServerAccess.from_json(sys.stdin.read()), options.at).model_dump_json())
    except MediaError as error:
        print(json.dumps(error.as_dict()))
        return EXIT_REFUSED
    except LipSyncError as error:
        print(f"faces of a picture: {error}", file=sys.stderr)
        return EXIT_RETRY
    return 0


def find_faces(picture: Path, access: ServerAccess, at_s: float = 0.0) -> FaceList:
    """Return the faces of a picture, or of a video's frame at a time, from left to right.

    Raises:
        LipSyncError: it cannot be read, or the server does not answer.
    """
    try:
        source = VideoSource(picture, at_s)
    except UsageError:  # the time lies behind the end
        source = VideoSource(picture)
    frame = next(iter(source.frames()))
    shown = base64.b64encode(jpeg(even(frame.picture.rgb(long_side=LONG_SIDE)))).decode()
    with ServerPool(access, PoolOptions(patience_s=0.0)) as pool:
        (found,) = FaceFinder(pool, StageClock(), every_face=True).find([frame])
    faces = sorted((face for face in found.faces if face.score >= MIN_CHOSEN_SCORE), key=lambda face: face.center[0])
    views = [
        FaceView(
            **dict(zip(("x1", "y1", "x2", "y2"), map(float, face.box), strict=True)),
            score=face.score,
            choice="{:.0f},{:.0f}".format(*face.center),
        )
        for face in faces
    ]
    return FaceList(width=source.width, height=source.height, faces=views, frame=shown)


async def preview_faces(picture: Path, access: ServerAccess, at_s: float = 0.0) -> FaceList:
    """Run this module on a picture.

    Raises:
        ProblemError: 422, the picture cannot be used; 503, the server does not answer.
    """
    command = [sys.executable, "-m", "client.web.face_preview", picture.name, f"--at={at_s}"]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=picture.parent, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            said, _ = await process.communicate(access.as_json().encode())
    except TimeoutError as error:
        people = "Looking for faces took too long. Try again in a moment."
        raise ProblemError(
            NOT_READY, expected=f"an answer within {TIMEOUT_S:g} s", got="none", advice="Try again", people=people
        ) from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == EXIT_REFUSED:
        raise ProblemError.of(UNREADABLE_MEDIA, [error_from_dict(json.loads(said))])
    if process.returncode == EXIT_RETRY:
        raise not_ready()
    if process.returncode != 0:
        raise ProblemError(
            UNREADABLE_MEDIA,
            name=PICTURE_PART,
            expected="a readable picture",
            got="one that is too large or damaged",
            people="The picture cannot be read: it is too large or damaged.",
        )
    return FaceList.model_validate_json(said)


def not_ready() -> ProblemError:
    """Return the problem of a Triton that does not answer."""
    people = "The lip-sync server is not ready. It may be starting: try again in a moment."
    return ProblemError(
        NOT_READY, expected="a ready lip-sync server", got="none", advice="Try again in a moment", people=people
    )


if __name__ == "__main__":
    sys.exit(main())
