"""How close a pipeline's mouths are to real ones: python -m perf truth CLIP...

Each clip is lip-synced to its own speech and compared with itself: once as it is ("own"), and once with the speech half
a clip away, so that the lips in the picture cannot help ("fair"). Beside them stand baselines, bounds, sounds without
speech, and phones where a clip has alignments (CLIP.phones.json). Clips whose sound does not belong to their picture
are left out. Options of the command lipsync go to the jobs. What the figures mean: docs/specs/truth.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from client.cli.parser import add_job_options, given_job_options
from client.errors import LipSyncError, ServerUnavailable
from client.job_options import JobOptions
from client.servers.connection import TritonConnection
from client.servers.embedded import open_server
from client.tracking.finder import MEDIAPIPE
from lipsync_core.mouth.lips import openings
from lipsync_core.repository import DEFAULT_REPOSITORY
from perf.truth.belonging import Belonging
from perf.truth.clips import open_clip
from perf.truth.drawing import Pipeline
from perf.truth.judge import FAIR, OWN, ClipFigures, belonging, judge_clip
from perf.truth.likeness import summary_line
from perf.truth.phones import LipPhones
from perf.truth.plot import draw_openings
from perf.truth.silence import open_shares, protocols
from perf.truth.table import likeness_table, phones_table, silence_table

NAME = "perf truth"
DEFAULT_OUTPUT = DEFAULT_REPOSITORY.parent / "build" / "perf" / "truth"


def main(argv: Sequence[str] | None = None) -> int:
    """Judge every clip and print figures; returns 0 if at least one could be judged, else 1.

    Raises:
        LipSyncError: the server does not start, or an option cannot be used.
    """
    options = build_parser().parse_args(argv)
    given = given_job_options(options)
    models = JobOptions.read(options.clips[0], options.clips[0], options.output / "out.mp4", given).needed_models
    options.output.mkdir(parents=True, exist_ok=True)
    judged: list[ClipFigures] = []
    with (
        open_server(options.url, options.model_repository, tuple({MEDIAPIPE.model, *models})) as (url, _),
        TritonConnection(url) as connection,
    ):
        pipeline = Pipeline(connection, given, options.output if options.keep else None)
        for path in options.clips:
            figures = judge_file(pipeline, path, options.output, with_silence=options.silence and not judged)
            if figures is not None:
                judged.append(figures)
    if options.json:
        print(json.dumps({figures.name: figures.as_dict() for figures in judged}, indent=2))
    if not judged:
        raise ValueError("no clip could be judged; see above")
    if not options.json:
        print(conclusion(judged))
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {NAME}", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", nargs="+", type=Path, metavar="CLIP", help="a video of one speaker with its own sound")
    parser.add_argument(
        "--no-silence", dest="silence", action="store_false", help="leave out the sounds without speech (first clip)"
    )
    parser.add_argument("--keep", action="store_true", help="keep the results beside the plots")
    parser.add_argument(
        "--plots", type=Path, default=DEFAULT_OUTPUT, dest="output", metavar="DIR", help="folder (%(default)s)"
    )
    parser.add_argument("--url", metavar="HOST:PORT", help="a running Triton; without it, one is started")
    parser.add_argument("--model-repository", type=Path, default=DEFAULT_REPOSITORY, metavar="DIR")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_job_options(parser)
    return parser


def judge_file(pipeline: Pipeline, path: Path, folder: Path, *, with_silence: bool) -> ClipFigures | None:
    """Judge one clip and draw its openings; returns None for a clip that cannot be judged, and says why.

    Raises:
        ServerUnavailable: the server is gone.
    """
    try:
        clip = open_clip(pipeline.connection, path)
        checked = belonging(clip)
        if not checked.is_certain:
            _say(f"{path.name}: left out: its sound does not seem to belong to its picture ({_words(checked)})")
            return None
        _say(f"{path.name}: {clip.frames} frames, {_words(checked)}")
        figures = judge_clip(pipeline.draw, clip, checked)
        _say(as_text(figures))
        if with_silence:
            figures = replace(figures, silence=open_shares(pipeline.draw, clip, protocols(clip)))
            _say(f"\n{silence_table(figures.silence)}")
    except ServerUnavailable:
        raise
    except (LipSyncError, ValueError) as error:
        _say(f"{path.name}: left out: {error}")
        return None
    drawn = {name: openings(lips) for name, lips in figures.lips.items()}
    picture = draw_openings(clip.times_s, clip.openings, drawn, clip.energetic, path.name)
    (folder / f"{path.stem}.png").write_bytes(picture)
    _say(f"{folder / path.stem}.png: opening over time")
    return figures


def as_text(figures: ClipFigures) -> str:
    """Return a clip's tables of results."""
    tables = [likeness_table(figures.likeness)]
    if figures.phones:
        tables.append(phones_table(figures.phones))
    return "\n\n".join([f"\n{figures.name}", *tables])


def conclusion(judged: Sequence[ClipFigures]) -> str:
    """Return phones of all clips together, and one line for each result; the fair one is the last."""
    phones = {name: sum((clip.phones[name] for clip in judged if clip.phones), LipPhones()) for name in (OWN, FAIR)}
    lines = [f"{OWN}: {summary_line([clip.likeness[OWN] for clip in judged])}"]
    if phones[FAIR].recall is not None:
        lines.insert(0, phones_table(phones))
    return "\n".join([*lines, summary_line([clip.likeness[FAIR] for clip in judged])])


def _words(checked: Belonging) -> str:
    return f"r {checked.r:.2f} at {checked.lag_ms:.0f} ms, chance {checked.chance:.2f}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
