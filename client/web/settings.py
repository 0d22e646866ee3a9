"""Settings of the service, read from the command line and the environment."""

from __future__ import annotations

import argparse
import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from client.cli.parser import OneLineParser
from client.cli.ray_arguments import add_ray_arguments
from client.cli.server_arguments import add_server_arguments
from client.errors import UsageError
from client.live.clips import CLIPS_VARIABLE
from client.running.ray_place import MAX_IN_FLIGHT, RayPlace
from client.web.places import RAY_VARIABLES, STORE_VARIABLE, add_place_arguments, ray_of, store_of
from client.web.signing import add_signing_arguments

HOST, PORT = "127.0.0.1", 8080
DEFAULT_DATA = Path(os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")) / "lipsync-web"
SECRETS_VARIABLE = "LIPSYNC_WEB_CALLBACK_SECRETS"
TOKENS_VARIABLE = "LIPSYNC_WEB_TOKENS"  # an environment variable: a command line can be read by others
MB = 1_000_000
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]", "::1")
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # can be listened on, but not called -> can be called
MIN_TOKEN_LENGTH = 16
SECRET_PREFIX = "whsec_"  # of secrets in base64, as Standard Webhooks writes them
NULL_ORIGIN = "null"  # what browsers call the origin of a page that was opened from a file
LEGACY_PATHS = ("/submit", "/status/", "/result/")  # the predecessor's routes


@dataclass(frozen=True)
class Settings:
    """Settings of the service.

    Attributes:
        data: folder of the jobs and their files.
        max_upload_bytes: size limit of one job's video and audio together.
        max_jobs_per_user: maximum number of jobs that are queued, running or being uploaded.
        max_jobs: the same for all users together.
        min_free_bytes: disk space that must stay free; uploads that need it are refused.
        max_duration_s: longest speech, and longest chosen part of a video, that a job may have, in seconds.
        max_plan_s: the same of a request to find out who speaks, and the longest video that is checked.
        keep_s: how long an ended job and its files are kept, in seconds.
        workers: number of jobs that this process runs at a time; 0 if workers run elsewhere.
        drain_s: how long running jobs may go on when this process is asked to end, in seconds; then they are queued
            again.
        store: address of the PostgreSQL database of the records; None for a file in the data folder.
        media: address of the storage of the jobs' files; None for the data folder.
        ray: the Ray cluster that runs the jobs; None for processes of this machine.
        tokens: user name -> token; empty if no token is needed.
        cors_origins: origins of other sites whose pages may call the service; NULL_ORIGIN for pages opened from files,
            which may call the predecessor's routes alone.
        allowed_hosts: host names that requests may use; empty for any.
        trusted_proxies: addresses of proxies whose forwarded client address and scheme are used.
        allow_urls: whether files may be downloaded from public web addresses.
        callback_secrets: user name -> secret that signs the user's callbacks; users without one get none.
        callback_secret: the same for a service without tokens; None for no callbacks.
        makes_example: whether the first start makes an example to try.
        progressive: whether jobs can be watched while they are made, unless they say otherwise.
        clips: folder of the prepared clips for live streams, the same as the server's; None without live streams.
        max_live_per_user: maximum number of live streams of a user at once.
        max_live: the same for all users together.
    """

    data: Path
    max_upload_bytes: int = 2000 * MB
    max_jobs_per_user: int = 10
    max_jobs: int = 100
    min_free_bytes: int = 1000 * MB
    max_duration_s: float = 3600.0
    max_plan_s: float = 600.0
    keep_s: float = 24 * 3600.0
    workers: int = 1
    drain_s: float = 0.0
    store: str | None = field(default=None, repr=False)
    media: str | None = None
    ray: RayPlace | None = None
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)  # no secret is to get into a log
    cors_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = LOOPBACK_HOSTS
    trusted_proxies: tuple[str, ...] = ()
    allow_urls: bool = False
    makes_example: bool = True
    progressive: bool = True
    clips: Path | None = None
    max_live_per_user: int = 2
    max_live: int = 8
    callback_secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    callback_secret: str | None = field(default=None, repr=False)

    def callback_secret_of(self, user: str) -> str | None:
        """Return the secret that signs a user's callbacks; None if they get none."""
        return self.callback_secrets.get(user) if self.tokens else self.callback_secret

    @property
    def jobs_folder(self) -> Path:
        """Folder of accepted jobs, which have a folder each."""
        return self.data / "jobs"

    @property
    def uploads_folder(self) -> Path:
        """Folder of files that are being uploaded; on the same disk."""
        return self.data / "uploads"

    @property
    def shown_folder(self) -> Path:
        """Folder of copies of files that somebody looks at, if a storage has the files themselves."""
        return self.data / "shown"

    @property
    def leftovers_folder(self) -> Path:
        """Folder of the names of jobs that were not accepted and whose files the storage may still have."""
        return self.data / "leftovers"

    @property
    def example_folder(self) -> Path:
        """Folder of the example that the page offers to try."""
        return self.data / "example"

    def job_folder(self, job_id: str) -> Path:
        """Folder of one job's files."""
        return self.jobs_folder / job_id

    def create_folders(self) -> None:
        """Create the folders, readable by their owner only.

        Raises:
            UsageError: they cannot be created.
        """
        try:
            for folder in (self.data, self.jobs_folder, self.uploads_folder):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                option="data", expected="a folder that can be created", got=f"{self.data} ({error.strerror})"
            ) from error


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = OneLineParser(
        prog="python -m client.web",
        description="Serve the web page and its API, with an embedded Triton, until interrupted.",
        epilog=f"{TOKENS_VARIABLE}=NAME:TOKEN[,NAME:TOKEN...] in the environment requires a bearer token of callers;"
        f" {SECRETS_VARIABLE}=NAME:SECRET[,...] lets them ask for callbacks."
        f" {STORE_VARIABLE} is --store with a password; {', '.join(RAY_VARIABLES.values())} are the options of those"
        f" names; {CLIPS_VARIABLE}=DIR names the clips of live streams.",
    )
    default = Settings(DEFAULT_DATA)
    parser.add_argument("--host", default=HOST, help="address to listen on (%(default)s, this machine only)")
    parser.add_argument("--port", type=int, default=PORT, help="port to listen on (%(default)s)")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, metavar="DIR", help="jobs and files (%(default)s)")
    parser.add_argument(
        "--workers", type=int, help=f"jobs run at a time ({default.workers}; with --ray as many as have room)"
    )
    parser.add_argument(
        "--drain",
        type=float,
        default=default.drain_s,
        metavar="SECONDS",
        help="when asked to end, take no more jobs and let those that run go on for so long; a second signal ends them"
        " (%(default)s)",
    )
    parser.add_argument(
        "--worker-only", action="store_true", help="only run jobs of the same --data folder or --store; serve no page"
    )
    add_place_arguments(parser)
    add_ray_arguments(parser, "this service")
    _add_limits(parser, default)
    parser.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="further host name that requests may use; may be given several times; * for any",
    )
    parser.add_argument(
        "--trusted-proxy",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="use the client address and scheme that this proxy forwards; may be given several times; * for any proxy,"
        " if nobody else can reach the service",
    )
    parser.add_argument(
        "--cors-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="site whose pages may call the API, such as https://example.org (none); may be given several times; null"
        " for pages opened from files, which may call /submit, /status and /result alone",
    )
    parser.add_argument("--allow-urls", action="store_true", help="accept public web addresses instead of files (off)")
    parser.add_argument(
        "--callback-secret-file",
        type=Path,
        metavar="FILE",
        help="accept callback_url, and sign callbacks with the secret in this file; with tokens, use"
        f" {SECRETS_VARIABLE} instead",
    )
    parser.add_argument("--no-example", action="store_true", help="offer no example to try on the page")
    parser.add_argument(
        "--no-progressive", action="store_true", help="have no job watched while it is made, unless it asks for that"
    )
    add_signing_arguments(parser)
    add_server_arguments(parser)
    return parser


def _add_limits(parser: argparse.ArgumentParser, default: Settings) -> None:
    parser.add_argument(
        "--max-upload-mb",
        type=int,
        default=default.max_upload_bytes // MB,
        help="size limit of one job's files (%(default)s)",
    )
    parser.add_argument(
        "--max-duration",
        type=float,
        default=default.max_duration_s,
        metavar="SECONDS",
        help="longest speech, and longest chosen part of a video (%(default)s)",
    )
    parser.add_argument(
        "--max-plan-duration",
        type=float,
        default=default.max_plan_s,
        metavar="SECONDS",
        help="the same where somebody asks who speaks when or has a video checked (%(default)s)",
    )
    parser.add_argument(
        "--max-jobs-per-user",
        type=int,
        default=default.max_jobs_per_user,
        help="unfinished jobs of one user (%(default)s)",
    )
    parser.add_argument(
        "--max-jobs", type=int, default=default.max_jobs, help="unfinished jobs of all users (%(default)s)"
    )
    parser.add_argument(
        "--max-live-per-user",
        type=int,
        default=default.max_live_per_user,
        help="live streams of one user at once (%(default)s)",
    )
    parser.add_argument(
        "--max-live",
        type=int,
        default=default.max_live,
        help="live streams of all users at once, 0 for none (%(default)s)",
    )
    parser.add_argument(
        "--min-free-mb", type=int, default=default.min_free_bytes // MB, help="disk space that stays free (%(default)s)"
    )
    parser.add_argument(
        "--keep-hours", type=float, default=default.keep_s / 3600, help="how long ended jobs are kept (%(default)s)"
    )


def settings_from(options: argparse.Namespace, environment: Mapping[str, str]) -> Settings:
    """Turn the command line and the environment into settings.

    Raises:
        UsageError: a number is out of range, or a token cannot be used.
    """
    for name in ("max_upload_mb", "max_jobs_per_user", "max_jobs", "max_duration", "max_plan_duration", "keep_hours"):
        if not getattr(options, name) > 0:  # nor is NaN
            raise UsageError(option=name, expected="more than 0", got=getattr(options, name))
    for name in ("workers", "drain", "min_free_mb", "max_live_per_user", "max_live"):
        if not (getattr(options, name) or 0) >= 0:
            raise UsageError(option=name, expected="0 or more", got=getattr(options, name))
    tokens = parse_tokens(environment.get(TOKENS_VARIABLE, ""))
    clips = environment.get(CLIPS_VARIABLE)
    store = store_of(options.store, environment)
    ray = ray_of(options, environment, store)
    return Settings(
        data=options.data.resolve(),
        max_upload_bytes=options.max_upload_mb * MB,
        max_jobs_per_user=options.max_jobs_per_user,
        max_jobs=options.max_jobs,
        min_free_bytes=options.min_free_mb * MB,
        max_duration_s=options.max_duration,
        max_plan_s=options.max_plan_duration,
        keep_s=options.keep_hours * 3600,
        workers=_workers(options.workers, ray),
        drain_s=options.drain,
        store=store,
        ray=ray,
        media=options.media,
        tokens=tokens,
        cors_origins=tuple(options.cors_origin),
        allowed_hosts=() if "*" in options.allowed_host else _hosts(options),
        trusted_proxies=tuple(options.trusted_proxy),
        allow_urls=options.allow_urls,
        callback_secrets=_callback_secrets(environment.get(SECRETS_VARIABLE, ""), tokens),
        callback_secret=_callback_secret(options.callback_secret_file, tokens),
        makes_example=not options.no_example,
        clips=Path(clips).absolute() if clips else None,
        max_live_per_user=options.max_live_per_user,
        max_live=options.max_live,
        progressive=not options.no_progressive,
    )


def _workers(chosen: int | None, ray: RayPlace | None) -> int:
    if chosen is None:
        return Settings.workers if ray is None else MAX_IN_FLIGHT
    return chosen


def _hosts(options: argparse.Namespace) -> tuple[str, ...]:
    return tuple(sorted({*LOOPBACK_HOSTS, *options.allowed_host, options.host} - ANY_ADDRESS.keys()))


def _callback_secrets(text: str, tokens: Mapping[str, str]) -> dict[str, str]:
    secrets = parse_tokens(text, SECRETS_VARIABLE)
    for name in secrets:
        if name not in tokens:
            raise UsageError(about=SECRETS_VARIABLE, expected=f"names that {TOKENS_VARIABLE} has", got=repr(name))
    return secrets


def _callback_secret(file: Path | None, tokens: Mapping[str, str]) -> str | None:
    if file is None:
        return None
    if tokens:
        advice = f"Give each user a secret with {SECRETS_VARIABLE}=NAME:SECRET"
        raise UsageError(
            option="callback_secret_file", expected="it where there are no tokens", got=str(file), advice=advice
        )
    try:
        secret = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeError) as error:
        raise UsageError(
            option="callback_secret_file", expected="a file with a secret", got=f"{file} ({error})"
        ) from error
    if not is_secret(secret):
        raise UsageError(
            option="callback_secret_file",
            expected=f"at least {MIN_TOKEN_LENGTH} printable ASCII characters",
            got="something else",
            advice="Make a secret with: openssl rand -hex 32",
        )
    return secret


def is_secret(text: str) -> bool:
    """Return whether a text can be a token or a secret; what follows `whsec_` must be base64."""
    try:
        base64.b64decode(text.removeprefix(SECRET_PREFIX) if text.startswith(SECRET_PREFIX) else "", validate=True)
    except ValueError:
        return False
    return text.isascii() and text.isprintable() and len(text) >= MIN_TOKEN_LENGTH


def parse_tokens(text: str, variable: str = TOKENS_VARIABLE) -> dict[str, str]:
    """Read the NAME:TOKEN pairs of an environment variable, separated by commas.

    Raises:
        UsageError: a pair is incomplete, a token is too short or not ASCII, or a name is repeated.
    """
    tokens: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, colon, token = pair.partition(":")
        if not (name and colon and is_secret(token)):
            raise UsageError(
                about=variable,
                expected=f"NAME:TOKEN with at least {MIN_TOKEN_LENGTH} printable ASCII characters in the token",
                got=f"{name or 'no name'!r} with something else",
                advice="Make a token with: openssl rand -hex 16",
            )
        if name in tokens:
            raise UsageError(about=variable, expected="each name once", got=f"{name!r} twice")
        tokens[name] = token
    return tokens
