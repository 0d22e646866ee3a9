"""The embedded Triton: started for one job, or kept for many by `lipsync serve`."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from client.errors import ModelDied, ServerUnavailable, ref
from client.servers.access import ServerAccess
from client.servers.options import PoolOptions
from client.servers.pool import ServerPool
from lipsync_core.repository import required_models
from lipsync_core.serving.runtime import NoServerHere, ServerStartError
from lipsync_core.serving.server import EmbeddedServer, ServerOptions

ENDING_S = 3.0  # within which a server whose model died, or that was killed, is seen to have ended


def start_error(error: ServerStartError) -> ServerUnavailable:
    """Return the client's error of a server that does not start."""
    advice = f"Or use a running server with {ref('url')}" if isinstance(error, NoServerHere) else ""
    return ServerUnavailable(str(error), advice=advice)


@contextmanager
def open_server(
    url: str | None, repository: Path, models: tuple[str, ...]
) -> Generator[tuple[str, float | None], None, None]:
    """Give the URL of the user's server, or start one with these models, with its start time in seconds."""
    if url is not None:
        yield url, None
        return
    started = time.perf_counter()
    with EmbeddedServer(ServerOptions(repository, models, ends_after_freeze=True)) as server:
        try:
            yield server.url, round(time.perf_counter() - started, 3)
        except (ServerUnavailable, ModelDied) as error:
            if not server.ends_within(ENDING_S):
                raise
            advice = "Run it again" if server.was_frozen() else ""
            raise ServerUnavailable(
                f"the server ended during the job, {how_it_ended(server)}", advice=advice
            ) from error


@contextmanager
def open_pool(
    access: ServerAccess, repository: Path, models: tuple[str, ...]
) -> Generator[tuple[ServerPool, float | None], None, None]:
    """Connect to the user's servers, or to one started with these models, with its start time in seconds."""
    if access.urls:
        with ServerPool(access) as pool:
            yield pool, None
        return
    with open_server(None, repository, models) as (url, start_s):
        # an embedded server is never dropped for being slow, and does not come back once it is gone
        patience = PoolOptions(
            comeback_s=0, check_every_s=threading.TIMEOUT_MAX, models_stamp=files_stamp(repository, models)
        )
        with ServerPool(replace(access, urls=(url,)), patience) as pool:
            yield pool, start_s


def files_stamp(repository: Path, models: tuple[str, ...]) -> str:
    """Hash names, sizes and modification times of all files of some models and of what they need."""
    folders = [repository / name for name in required_models(repository, list(models))]
    files = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    facts = [(str(path.relative_to(repository)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def how_it_ended(server: EmbeddedServer) -> str:
    """Return how a server ended by itself, with the last lines of its log if they tell more."""
    log = "" if server.was_frozen() else server.log_excerpt()
    return server.how_it_ended() + (f". The last lines of its log:\n{log}" if log else "")
