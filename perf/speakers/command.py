"""How often the right person is found to speak, on composed scenes: python -m perf speakers FOLDER...

Each FOLDER has clips of one speaker, of 25 frames per second, with the speaker's own sound. Two speakers at a time are
put side by side, one heard and the other one listening, or saying something else without a sound; or each is shown in
shots, as in a dialogue, with cuts to the listener in the last kind. Beside the share of frames that are assigned right
stands that of the largest face. Frames without speech do not count.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from client.active.speakers import find_active_speakers
from client.active.speaking import Speaking
from client.chunks import chunk_frames
from client.media import VideoSource, timeline
from client.pipelines.voice import VOICE_MODEL
from client.progress import SilentProgress
from client.report import StageClock
from client.scene.scene import TimeSpan
from client.servers.calls import TritonCalls
from client.servers.connection import TritonConnection
from client.servers.embedded import open_server
from client.syncnet.served import syncnet_to_serve
from client.tracking.consecutive import open_finder
from client.tracking.finder import MEDIAPIPE
from lipsync_core.repository import DEFAULT_REPOSITORY
from perf.arguments import whole_number
from perf.speakers.clips import read_people
from perf.speakers.judging import Assigned, judge, mean_of
from perf.speakers.scenes import KINDS, Scene, compose, write_scene

NAME = "perf speakers"
WHOLE = (TimeSpan(0.0),)


def main(argv: Sequence[str] | None = None) -> int:
    """Compose scenes, find who speaks, and print the shares; returns 0.

    Raises:
        LipSyncError: the server does not start or fails.
        ValueError: there are clips of fewer than two speakers.
    """
    options = build_parser().parse_args(argv)
    people = read_people(options.folders, options.clips)
    pairs = list(itertools.permutations(people, 2))
    judged: dict[str, list[Assigned]] = {kind: [] for kind in KINDS}
    optional = syncnet_to_serve(options.model_repository) if options.speaking == "syncnet" else ()
    with (
        tempfile.TemporaryDirectory() as folder,
        open_server(options.url, options.model_repository, (MEDIAPIPE.model, VOICE_MODEL, *optional)) as (url, _),
        TritonConnection(url) as triton,
    ):
        for number, kind in itertools.product(range(options.scenes), KINDS):
            rng = np.random.default_rng([options.seed, number, KINDS.index(kind)])
            chosen = pairs[int(rng.integers(len(pairs)))]
            scene = compose(kind, [people[name] for name in chosen], options.turns, rng)
            judged[kind].append(judge_scene(triton, scene, Path(folder) / "scene.mkv", options.speaking))
            print(f"{kind}, {' and '.join(chosen)}: {judged[kind][-1].right:.3f}", file=sys.stderr, flush=True)
    means = {kind: mean_of(scenes) for kind, scenes in judged.items()}
    print(json.dumps({k: dataclasses.asdict(m) for k, m in means.items()}, indent=2) if options.json else table(means))
    return 0


def judge_scene(triton: TritonCalls, scene: Scene, path: Path, speaking: Speaking) -> Assigned:
    """Write a scene, find who speaks in it, and judge that.

    Raises:
        LipSyncError: the server fails.
    """
    video = VideoSource(write_scene(scene, path))
    active = find_active_speakers(
        triton,
        open_finder(triton, StageClock(), MEDIAPIPE, every_face=True),
        video,
        [WHOLE],
        window_frames=chunk_frames(video.frame_bytes),
        progress=SilentProgress(),
        speaking=speaking,
    )
    return judge(scene, active, list(timeline(video, 0.0, "cut", "keep")), video.width)


def table(means: dict[str, Assigned]) -> str:
    """Return the means of each kind as a table."""
    width = max(map(len, means))
    lines = [
        f"{kind:{width}}  {m.right:6.3f} {m.largest:8.3f} {m.identity:9.3f} {m.frames:7}" for kind, m in means.items()
    ]
    return "\n".join([f"{'scenes':{width}}  {'right':>6} {'largest':>8} {'identity':>9} {'frames':>7}", *lines])


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {NAME}", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="clips of one speaker")
    parser.add_argument("--scenes", type=whole_number, default=6, metavar="N", help="scenes of each kind (%(default)s)")
    parser.add_argument("--turns", type=whole_number, default=6, metavar="N", help="turns in a scene (%(default)s)")
    parser.add_argument("--clips", type=whole_number, default=10, metavar="N", help="clips per speaker (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the choice of clips (%(default)s)")
    parser.add_argument("--speaking", choices=("lips", "syncnet"), default="lips", help="what tells it (%(default)s)")
    parser.add_argument("--url", metavar="HOST:PORT", help="a running Triton; without it, one is started")
    parser.add_argument("--model-repository", type=Path, default=DEFAULT_REPOSITORY, metavar="DIR")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
