"""The command `mouth-cover`: fits the judge of covered mouths, and writes its coefficients."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np

from client.errors import LipSyncError
from client.servers.connection import TritonConnection
from client.servers.embedded import open_server
from client.tracking.finder import MEDIAPIPE
from export.faces.cover import COEFFICIENTS
from export.mouth_cover.fit import CoverJudge, Sample, as_table, fit_judge, leave_one_out
from export.mouth_cover.samples import open_features, read_clip
from export.mouth_shapes.corpus import find_clips
from export.shared.arguments import Command, add_repository
from export.shared.files import write_whole
from lipsync_core.serving.runtime import ServerStartError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "--fit", type=Path, required=True, metavar="FOLDER", help="clips of uncovered mouths to fit on, as SPEAKER/CLIP"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of the drawn covers (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, default=COEFFICIENTS, metavar="FILE", help="(default: %(default)s)")
    add_repository(parser)


def run(arguments: argparse.Namespace) -> None:
    """Draw covers, print how speakers are judged by fits on the others, and write the fit on all of them.

    Raises:
        ValueError: there are too few speakers, a clip cannot be used, or the server fails.
    """
    samples = read_samples(arguments.fit, arguments.repository, arguments.seed)
    print(as_table(samples, leave_one_out(samples)))
    write_whole(arguments.output, as_npz(fit_judge(samples)))
    speakers = len({sample.speaker for sample in samples})
    print(
        f"{arguments.output}: fitted on {len(samples)} pictures of {speakers} speakers; python -m export faces uses it"
    )


def read_samples(folder: Path, repository: Path, seed: int) -> list[Sample]:
    """Read all clips of a folder; needs a server for a while.

    Raises:
        ValueError: there are too few speakers, a clip cannot be used, or the server fails.
    """
    clips = [(speaker, path) for speaker, paths in find_clips(folder).items() for path in paths]
    features = open_features(repository)
    try:
        with open_server(None, repository, (MEDIAPIPE.model,)) as (url, _), TritonConnection(url) as connection:
            return [sample for clip in clips for sample in read_clip(connection, *clip, features, seed)]
    except (LipSyncError, ServerStartError) as error:
        raise ValueError(str(error)) from error


def as_npz(judge: CoverJudge) -> bytes:
    """Return coefficients as the bytes of a file, the same for the same numbers."""
    file = io.BytesIO()
    np.savez(file, weights=judge.weights.astype(np.float32), bias=np.float32(judge.bias))
    return file.getvalue()


COMMAND = Command(
    name="mouth-cover",
    summary="fit the judge of covered mouths on clips of speaking people, with drawn covers",
    add_arguments=add_arguments,
    run=run,
)
