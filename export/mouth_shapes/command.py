"""The command `mouth-shapes`: fits the regressor from speech to lip shapes, and writes its coefficients."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from client.errors import LipSyncError
from client.servers.connection import TritonConnection
from client.servers.embedded import open_server
from client.tracking.finder import MEDIAPIPE
from export.mouth_shapes.corpus import Speaker, find_clips, read_speaker
from export.mouth_shapes.fit import fit_regressor
from export.mouth_shapes.scores import as_table, leave_one_out
from export.shared.arguments import Command, add_repository
from export.shared.files import write_whole
from lipsync_core.audio.lip_shapes import COEFFICIENTS, Regressor
from lipsync_core.repository import DEFAULT_REPOSITORY
from lipsync_core.serving.runtime import ServerStartError

DEFAULT_CACHE = DEFAULT_REPOSITORY.parent / "build" / "mouth-shapes"
DIGITS = 5  # significant ones that are written


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "--fit",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="clips to fit on, as SPEAKER/CLIP, with phones beside them as CLIP.phones.json",
    )
    parser.add_argument(
        "--leave-out", metavar="SPEAKER", help="fit without this speaker, as for judging it with perf truth"
    )
    parser.add_argument("--output", type=Path, default=COEFFICIENTS, metavar="FILE", help="(default: %(default)s)")
    parser.add_argument(
        "--cache", type=Path, default=DEFAULT_CACHE, metavar="DIR", help="tracks of the clips (default: %(default)s)"
    )
    add_repository(parser)


def run(arguments: argparse.Namespace) -> None:
    """Track the clips, print how well speakers are predicted by the others, and write the fit on all of them.

    Raises:
        ValueError: there are too few speakers, or no such one to leave out; a clip cannot be used, or the server fails.
    """
    speakers = read_speakers(arguments.fit, arguments.cache, arguments.repository)
    if arguments.leave_out is None:
        print(as_table(leave_one_out(speakers)))
    else:
        speakers = without(speakers, arguments.leave_out)
    write_whole(arguments.output, as_json(fit_regressor(speakers)).encode())
    clips = sum(len(speaker.clips) for speaker in speakers)
    print(f"{arguments.output}: fitted on {clips} clips of {len(speakers)} speakers")


def read_speakers(folder: Path, cache: Path, repository: Path) -> list[Speaker]:
    """Read all clips of a folder; tracks that are not in the cache need a server for a while.

    Raises:
        ValueError: there are too few speakers, a clip cannot be used, or the server fails.
    """
    found = find_clips(folder)
    try:
        with open_server(None, repository, (MEDIAPIPE.model,)) as (url, _), TritonConnection(url) as connection:
            return [read_speaker(connection, name, paths, cache) for name, paths in found.items()]
    except (LipSyncError, ServerStartError) as error:
        raise ValueError(str(error)) from error


def without(speakers: list[Speaker], name: str) -> list[Speaker]:
    """Return the other speakers.

    Raises:
        ValueError: there is no speaker of this name.
    """
    others = [speaker for speaker in speakers if speaker.name != name]
    if len(others) == len(speakers):
        raise ValueError(f"--leave-out: expected one of {', '.join(s.name for s in speakers)}, got {name}")
    return others


def as_json(regressor: Regressor) -> str:
    """Return coefficients as the text of a file; a line for each list of numbers."""
    rows = {
        "weights": regressor.weights,
        "basis": regressor.basis.reshape(len(regressor.basis), -1),
        "closure_weights": regressor.closure_weights[None],
        "closure_bias": np.array([[regressor.closure_bias]]),
    }
    fields = [f'"{name}": [\n{_lines(numbers)}\n]' for name, numbers in rows.items()]
    return "{\n" + ",\n".join(fields) + "\n}\n"


def _lines(numbers: np.ndarray) -> str:
    return ",\n".join(json.dumps([float(f"{number:.{DIGITS}g}") for number in row]) for row in numbers.tolist())


COMMAND = Command(
    name="mouth-shapes",
    summary="fit the regressor from speech to lip shapes on clips of speaking people",
    add_arguments=add_arguments,
    run=run,
)
