"""What the service may do, and where it keeps its jobs: read from the command line and the environment."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from client.cli.parser import OneLineParser
from client.cli.server_arguments import add_server_arguments
from client.errors import UsageError

HOST, PORT = "127.0.0.1", 8080
DEFAULT_DATA = Path(os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")) / "lipsync-web"
TOKENS_VARIABLE = "LIPSYNC_WEB_TOKENS"  # an environment variable: a command line can be read by others
MB = 1_000_000
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]", "::1")
ANY_ADDRESS = {"0.0.0.0", "::"}  # to listen on; no name of anything
MIN_TOKEN_LENGTH = 16


@dataclass(frozen=True)
class Settings:
    """Limits and switches of the service.

    Attributes:
        data: folder of the jobs, their files and the queue.
        max_upload_bytes: of one job's video and audio together.
        max_jobs_per_user: queued, running or being uploaded at once.
        max_jobs: the same, of all users together.
        min_free_bytes: left on the disk, or nothing is accepted.
        keep_s: how long an ended job and its files are kept.
        workers: jobs run at once by this process; 0 where workers run elsewhere.
        redis_url: the queue's server; None for a queue in the data folder.
        tokens: token by user's name; empty where everyone may come in.
        cors_origins: other sites' origins whose pages may call the service.
        allowed_hosts: names under which the service may be called; empty for any.
        trusted_proxies: addresses whose word on a caller's address and scheme is believed.
        allow_urls: whether media may be fetched from public web addresses.
    """

    data: Path
    max_upload_bytes: int = 2000 * MB
    max_jobs_per_user: int = 10
    max_jobs: int = 100
    min_free_bytes: int = 1000 * MB
    keep_s: float = 24 * 3600.0
    workers: int = 1
    redis_url: str | None = None
    tokens: Mapping[str, str] = field(default_factory=dict)
    cors_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = LOOPBACK_HOSTS
    trusted_proxies: tuple[str, ...] = ()
    allow_urls: bool = False

    @property
    def jobs_folder(self) -> Path:
        """Where accepted jobs lie, a folder each."""
        return self.data / "jobs"

    @property
    def uploads_folder(self) -> Path:
        """Where files lie while they come in; on the same disk."""
        return self.data / "uploads"

    def job_folder(self, job_id: str) -> Path:
        """Where one job's files lie."""
        return self.jobs_folder / job_id

    def create_folders(self) -> None:
        """Make the folders, readable by their owner alone.

        Raises:
            UsageError: they cannot be made.
        """
        try:
            for folder in (self.data, self.jobs_folder, self.uploads_folder):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"--data: expected a folder of our own, got {self.data} ({error.strerror})") from error


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = OneLineParser(
        prog="python -m client.web",
        description="Serve the web page and its API, with an embedded Triton, until interrupted.",
        epilog=f"{TOKENS_VARIABLE}=NAME:TOKEN[,NAME:TOKEN...] in the environment asks everyone for a bearer token.",
    )
    default = Settings(DEFAULT_DATA)
    parser.add_argument("--host", default=HOST, help="address to listen on (%(default)s, this machine only)")
    parser.add_argument("--port", type=int, default=PORT, help="port to listen on (%(default)s)")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, metavar="DIR", help="jobs and files (%(default)s)")
    parser.add_argument("--workers", type=int, default=default.workers, help="jobs run at once (%(default)s)")
    parser.add_argument("--worker-only", action="store_true", help="run jobs of the same --data folder; serve no page")
    parser.add_argument("--redis", metavar="URL", help="queue on this Redis, shared by several workers")
    _add_limits(parser, default)
    parser.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="name that people call the service by, beside this machine's own; again for more; * for any",
    )
    parser.add_argument(
        "--trusted-proxy",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="believe this proxy who calls, and whether with TLS; again for more; * where nobody else gets through",
    )
    parser.add_argument(
        "--cors-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="site whose pages may call the API, such as https://example.org (none); again for more",
    )
    parser.add_argument("--allow-urls", action="store_true", help="accept public web addresses of media (off)")
    add_server_arguments(parser)
    return parser


def _add_limits(parser: argparse.ArgumentParser, default: Settings) -> None:
    parser.add_argument(
        "--max-upload-mb", type=int, default=default.max_upload_bytes // MB, help="of one job's files (%(default)s)"
    )
    parser.add_argument(
        "--max-jobs-per-user", type=int, default=default.max_jobs_per_user, help="waiting or running (%(default)s)"
    )
    parser.add_argument("--max-jobs", type=int, default=default.max_jobs, help="waiting or running (%(default)s)")
    parser.add_argument(
        "--min-free-mb", type=int, default=default.min_free_bytes // MB, help="disk space left alone (%(default)s)"
    )
    parser.add_argument(
        "--keep-hours", type=float, default=default.keep_s / 3600, help="ended jobs are kept this long (%(default)s)"
    )


def settings_from(options: argparse.Namespace, environment: Mapping[str, str]) -> Settings:
    """Turn the command line and the environment into settings.

    Raises:
        UsageError: a number is out of range, or a token is no good.
    """
    for name in ("max_upload_mb", "max_jobs_per_user", "max_jobs", "keep_hours"):
        if not getattr(options, name) > 0:  # nor is NaN
            raise UsageError(f"--{name.replace('_', '-')}: expected more than 0, got {getattr(options, name)}")
    for name in ("workers", "min_free_mb"):
        if getattr(options, name) < 0:
            raise UsageError(f"--{name.replace('_', '-')}: expected 0 or more, got {getattr(options, name)}")
    return Settings(
        data=options.data.resolve(),
        max_upload_bytes=options.max_upload_mb * MB,
        max_jobs_per_user=options.max_jobs_per_user,
        max_jobs=options.max_jobs,
        min_free_bytes=options.min_free_mb * MB,
        keep_s=options.keep_hours * 3600,
        workers=options.workers,
        redis_url=options.redis,
        tokens=parse_tokens(environment.get(TOKENS_VARIABLE, "")),
        cors_origins=tuple(options.cors_origin),
        allowed_hosts=() if "*" in options.allowed_host else _hosts(options),
        trusted_proxies=tuple(options.trusted_proxy),
        allow_urls=options.allow_urls,
    )


def _hosts(options: argparse.Namespace) -> tuple[str, ...]:
    return tuple(sorted({*LOOPBACK_HOSTS, *options.allowed_host, options.host} - ANY_ADDRESS))


def parse_tokens(text: str) -> dict[str, str]:
    """Read NAME:TOKEN pairs, separated by commas.

    Raises:
        UsageError: a pair is incomplete, a token short or not plain, or a name comes twice.
    """
    tokens: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, colon, token = pair.partition(":")
        if not (name and colon and token.isascii() and token.isprintable() and len(token) >= MIN_TOKEN_LENGTH):
            raise UsageError(
                f"{TOKENS_VARIABLE}: expected NAME:TOKEN with at least {MIN_TOKEN_LENGTH} plain characters in the"
                f" token, got {name or 'no name'!r} with something else. Make one with: openssl rand -hex 16"
            )
        if name in tokens:
            raise UsageError(f"{TOKENS_VARIABLE}: expected each name once, got {name!r} twice")
        tokens[name] = token
    return tokens
