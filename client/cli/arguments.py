"""The options of the command `lipsync`: described, parsed, and turned into a job's. Does nothing with them."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TypeVar, get_args

from client.cli.parser import OneLineParser
from client.errors import UsageError
from client.job import MODELS, DetectorName, JobOptions, Model
from client.media import PRESETS, IfAudioLonger, IfAudioShorter, VideoCodec
from client.pipelines.wav2lip import Blend
from client.servers.addresses import Servers, parse_urls
from client.servers.connection import REQUEST_TIMEOUT_S
from client.servers.options import PoolOptions
from client.servers.security import TOKEN_VARIABLE, Security, read_token
from client.tracking.faces import parse_face_choice
from lipsync_core.latentsync.options import RESOLUTIONS, SCHEDULERS, SPEEDS, DiffusionOptions, options_for
from lipsync_core.repository import DEFAULT_REPOSITORY
from lipsync_core.wav2lip.boxes import Pads

Value = TypeVar("Value")

# Options that other models know nothing of.
MODEL_OPTIONS: Mapping[Model, tuple[str, ...]] = {
    "wav2lip": ("pads", "blend"),
    "latentsync": ("steps", "guidance", "seed", "scheduler", "speed", "resolution"),
}
# What the command line calls the settings of diffusion.
DIFFUSION_OPTIONS = {"num_inference_steps": "--steps", "guidance_scale": "--guidance", "seed": "--seed"}
MAX_FPS = 240
MAX_SECONDS = 1_000_000
EPILOG = """\
exit codes:
  0  the output is complete
  1  an error of the program itself
  2  wrong usage
  3  the video or the audio cannot be used
  4  no usable face in any frame
  5  no server: it does not start, cannot be reached, or went away
  6  the server refused or failed in a request
  7  the output cannot be written
  8  jobs of a batch failed; its report says which
  130, 143  interrupted (Ctrl-C, SIGTERM)
With any code but 0 nothing is left under the output's name, and a file that was there before stays as it was.

other commands:
  lipsync serve      start the server alone, for many jobs with --url (see lipsync serve --help)
  lipsync --batch    run the jobs of a file (see lipsync --batch --help)
"""


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = OneLineParser(
        prog="lipsync",
        description="Make the speaker of a video say another speech.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--video", type=Path, required=True, help="video, or a still image, that shows the speaker")
    parser.add_argument("--audio", type=Path, required=True, help="the speech: an audio file, or a video's sound")
    parser.add_argument("--output", type=Path, required=True, help="file to write: .mp4, .mov, .mkv or .webm")
    parser.add_argument("--model", choices=sorted(MODELS), default=JobOptions.model, help="generator (%(default)s)")
    _add_span_options(parser)
    _add_box_options(parser)
    _add_diffusion_options(parser)
    _add_encoding_options(parser)
    add_server_options(parser)
    parser.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        help="keep finished parts in a hidden folder beside the output until the job is complete, and go on with"
        " those of an interrupted run (for latentsync, and where such a folder is)",
    )
    parser.add_argument(
        "--work-dir",
        type=Path,
        metavar="DIR",
        help="the folder for finished parts; implies --resume (.OUTPUT.work beside the output)",
    )
    parser.add_argument("--json", action="store_true", help="print a machine-readable report on stdout")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors (and the report of --json)")
    parser.add_argument("--log-json", action="store_true", help="log to stderr as JSON, a line for every request")
    parser.add_argument("--verbose", action="store_true", help="show the traceback of an error")
    return parser


def _add_span_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--face",
        type=_typed(parse_face_choice),
        default=JobOptions.face,
        metavar="largest|left|right|INDEX|X,Y",
        help="which of several faces: INDEX counts from the left, 0 first; X,Y is a point in pixels (largest)",
    )
    parser.add_argument(
        "--start",
        type=_typed(_seconds),
        default=JobOptions.start_s,
        metavar="S",
        help="begin the video at this second (0)",
    )
    parser.add_argument("--end", type=_typed(_seconds), metavar="S", help="end the video at this second (its end)")
    parser.add_argument(
        "--fps",
        type=_typed(_frame_rate),
        metavar="N",
        help="show the video at this constant rate, such as 25 or 30000/1001 (the source's own times)",
    )
    parser.add_argument(
        "--if-audio-longer",
        choices=get_args(IfAudioLonger),
        default=JobOptions.if_audio_longer,
        help="speech longer than the video: play the video back and forth, from its start again, hold its last"
        " frame, or cut the speech (%(default)s)",
    )
    parser.add_argument(
        "--if-audio-shorter",
        choices=get_args(IfAudioShorter),
        default=JobOptions.if_audio_shorter,
        help="speech shorter than the video: keep the whole video, its mouth closed after the speech, or cut the"
        " video (%(default)s)",
    )


def _add_box_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("wav2lip only")
    group.add_argument(
        "--detector",
        choices=get_args(DetectorName),
        default=JobOptions.detector,
        help="what finds faces; s3fd is the original's, far slower (%(default)s)",
    )
    group.add_argument(
        "--face-box",
        type=_typed(_numbers_of("--face-box", 4)),
        metavar="X1,Y1,X2,Y2",
        help="where the face is in every frame, in pixels, instead of looking for it",
    )
    group.add_argument(
        "--pads",
        type=_typed(_numbers_of("--pads", 4)),
        default=tuple(JobOptions.pads),
        metavar="TOP,BOTTOM,LEFT,RIGHT",
        help="how far found boxes are moved outwards, in pixels (0,10,0,0)",
    )
    group.add_argument(
        "--blend",
        choices=get_args(Blend),
        default=JobOptions.blend,
        help="soft: the lower face, without a visible edge; box: the original's whole rectangle (%(default)s)",
    )


def _add_diffusion_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("latentsync only")
    default = JobOptions.diffusion
    group.add_argument(
        "--speed",
        choices=SPEEDS,
        default=default.speed,
        help="exact: the original; cached: the original with DeepCache; fast, preview: fewer and lighter steps"
        " (%(default)s)",
    )
    group.add_argument("--steps", type=int, help="of diffusion (20; fast 8, preview 4)")
    group.add_argument(
        "--guidance",
        type=float,
        default=default.guidance_scale,
        help="weight of the speech, 1 to 3 (%(default)s)",
    )
    group.add_argument(
        "--resolution",
        type=int,
        choices=RESOLUTIONS.values(),
        help="pixels of the face's edge (as the weights were trained: 256 for 1.5, 512 for 1.6)",
    )
    group.add_argument("--seed", type=int, default=default.seed, help="of all noise (%(default)s)")
    group.add_argument("--scheduler", choices=SCHEDULERS, help="ddim as the original (ddim; fast and preview unipc)")


def _add_encoding_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--codec",
        choices=get_args(VideoCodec),
        default=JobOptions.codec,
        help="auto: h264, hevc for sources of more than 8 bits, vp9 in webm (%(default)s)",
    )
    parser.add_argument(
        "--crf",
        type=int,
        default=JobOptions.crf,
        metavar="N",
        help="quality: less is better and larger (%(default)s)",
    )
    parser.add_argument(
        "--preset", choices=PRESETS, default=JobOptions.preset, help="the encoder's time against size (%(default)s)"
    )
    parser.add_argument("--lossless", action="store_true", help="encode without any loss")


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Describe where the servers are and how to reach them; `server_options` reads it."""
    parser.add_argument(
        "--url",
        action="append",
        metavar="HOST:PORT",
        help="use this running Triton (gRPC) instead of starting one; several, separated by commas or given one by"
        " one, share the work, as do all that dns:///NAME:PORT stands for",
    )
    parser.add_argument(
        "--transport",
        choices=["auto", "shm", "grpc"],
        default="auto",
        help="how frames travel: shared memory, message bodies, or memory where the server is local (%(default)s)",
    )
    parser.add_argument(
        "--timeout",
        type=_typed(_timeout),
        default=REQUEST_TIMEOUT_S,
        metavar="S",
        help="give a server this long for one request, then ask again (%(default)g)",
    )
    _add_security_options(parser)
    parser.add_argument(
        "--model-repository",
        type=Path,
        default=DEFAULT_REPOSITORY,
        metavar="DIR",
        help="models for the server that is started (the project's own)",
    )


def _add_security_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("with --url only")
    group.add_argument("--tls", action="store_true", help="encrypt, and believe only servers with a valid certificate")
    group.add_argument("--tls-ca", type=Path, metavar="PEM", help="certificates to believe (the public ones)")
    group.add_argument("--tls-cert", type=Path, metavar="PEM", help="the client's certificate, for servers that ask")
    group.add_argument("--tls-key", type=Path, metavar="PEM", help="its private key")
    group.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help=f"holds a token that is sent with each request as 'authorization: Bearer' (or in ${TOKEN_VARIABLE})",
    )


def server_options(options: argparse.Namespace) -> tuple[Servers | None, PoolOptions]:
    """Take the servers' part of the command line; no servers where one is to be started.

    Raises:
        UsageError: an address or a file cannot be used, or the options do not go together.
    """
    security = Security(options.tls, options.tls_ca, options.tls_cert, options.tls_key, read_token(options.token_file))
    if options.url is None and (options.tls or options.token_file):
        raise UsageError("--tls, --token-file: expected --url beside them, got none. Name the servers")
    repository = options.model_repository
    if options.url is None and repository != DEFAULT_REPOSITORY and not repository.is_dir():
        raise UsageError(f"--model-repository: expected a folder of models, got {repository}, which is none")
    servers = None if options.url is None else parse_urls(options.url)
    return servers, PoolOptions(options.transport, options.timeout, security)


def job_options(options: argparse.Namespace) -> JobOptions:
    """Take the job's part of the command line.

    Raises:
        UsageError: an option of another model, or a value outside its limits.
    """
    _refuse_other_models_options(options)
    return JobOptions(
        video=options.video,
        audio=options.audio,
        output=options.output,
        model=options.model,
        face=options.face,
        detector=options.detector,
        face_box=options.face_box,
        pads=Pads(*(round(pad) for pad in options.pads)),
        blend=options.blend,
        diffusion=_diffusion_options(options),
        resolution=options.resolution,
        start_s=options.start,
        end_s=options.end,
        fps=options.fps,
        if_audio_longer=options.if_audio_longer,
        if_audio_shorter=options.if_audio_shorter,
        codec=options.codec,
        crf=options.crf,
        preset=options.preset,
        lossless=options.lossless,
        resume=options.resume,
        work_dir=options.work_dir,
    )


def _refuse_other_models_options(options: argparse.Namespace) -> None:
    parser = build_parser()
    for model, names in MODEL_OPTIONS.items():
        given = [name for name in names if getattr(options, name) != parser.get_default(name)]
        if given and options.model != model:
            raise UsageError(f"--{given[0]}: expected it with --model {model} alone, got --model {options.model}")


def _diffusion_options(options: argparse.Namespace) -> DiffusionOptions:
    try:
        return options_for(options.speed, options.steps, options.scheduler, options.guidance, options.seed)
    except ValueError as error:
        name, _, rule = str(error).partition(":")
        raise UsageError(f"{DIFFUSION_OPTIONS.get(name, name)}:{rule}") from error


def _typed(parse: Callable[[str], Value]) -> Callable[[str], Value]:
    """Let argparse show a parser's own message instead of the parser's name."""

    def convert(text: str) -> Value:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return convert


def _numbers_of(name: str, count: int) -> Callable[[str], tuple[float, ...]]:
    """Make a parser of that many finite numbers, separated by commas."""

    def parse(text: str) -> tuple[float, ...]:
        try:
            numbers = tuple(float(part) for part in text.split(","))
        except ValueError:
            numbers = ()
        if len(numbers) != count or not all(math.isfinite(number) for number in numbers):
            raise ValueError(f"{name}: expected {count} numbers separated by commas, got {text!r}")
        return numbers

    return parse


def _frame_rate(text: str) -> Fraction:
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 1 <= rate <= MAX_FPS:
        raise ValueError(f"--fps: expected 1 to {MAX_FPS} frames per second, got {text!r}")
    return rate


def _timeout(text: str) -> float:
    seconds = _seconds(text)
    if seconds < 1:
        raise ValueError(f"--timeout: expected at least 1 second, got {text!r}")
    return seconds


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= MAX_SECONDS:
        raise ValueError(f"expected 0 to {MAX_SECONDS} seconds, got {text!r}")
    return seconds
