"""The embedded Triton: started for one job, or kept for many by `lipsync serve`."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from client.errors import ModelDied, ServerUnavailable, ref
from client.servers.access import ServerAccess
from client.servers.options import PoolOptions
from client.servers.pool import ServerPool
from lipsync_core.repository import required_models
from lipsync_core.serving.flavours import AUTO, choose_flavour
from lipsync_core.serving.gpus import visible_gpus
from lipsync_core.serving.runtime import NoServerHere, ServerStartError
from lipsync_core.serving.server import COMPILE_TIMEOUT_S, EmbeddedServer, ServerOptions

logger = logging.getLogger(__name__)
ENDING_S = 3.0  # within which a server whose model died, or that was killed, is seen to have ended


def start_error(error: ServerStartError) -> ServerUnavailable:
    """Return the client's error of a server that does not start."""
    advice = f"Or use a running server with {ref('url')}" if isinstance(error, NoServerHere) else ""
    return ServerUnavailable(str(error), advice=advice)


def own_server(repository: Path, models: tuple[str, ...], **options: Any) -> ServerOptions:
    """Describe a server on this machine: on a GPU if one is there and the networks are exported for it.

    Args:
        repository: the model repository.
        models: the models to serve.
        options: further fields of `ServerOptions`.
    """
    gpus = visible_gpus()
    choice = choose_flavour(AUTO, repository, models, gpus)
    if choice.warning:
        logger.warning("%s", choice.warning)
    if choice.flavour is None:
        return ServerOptions(repository, models, **options)
    return ServerOptions(
        repository,
        models,
        config_name=choice.flavour,
        gpu=gpus[0],  # a server has one; `lipsync serve` starts one for each
        startup_timeout_s=COMPILE_TIMEOUT_S,
        **options,
    )


@contextmanager
def open_server(
    url: str | None, repository: Path, models: tuple[str, ...]
) -> Generator[tuple[str, float | None], None, None]:
    """Give the URL of the user's server, or start one with these models, with its start time in seconds."""
    if url is not None:
        yield url, None
        return
    started = time.perf_counter()
    with EmbeddedServer(own_server(repository, models, ends_after_freeze=True)) as server:
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
            comeback_s=0, check_every_s=threading.TIMEOUT_MAX, stamp_of=cache(partial(files_stamp, repository))
        )
        with ServerPool(replace(access, urls=(url,)), patience) as pool:
            yield pool, start_s


def files_stamp(repository: Path, model: str) -> str:
    """Hash names, sizes and modification times of all files of a model and of what it needs."""
    folders = [repository / name for name in required_models(repository, [model])]
    files = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    facts = [(str(path.relative_to(repository)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def how_it_ended(server: EmbeddedServer) -> str:
    """Return how a server ended by itself, with the last lines of its log if they tell more."""
    log = "" if server.was_frozen() else server.log_excerpt()
    return server.how_it_ended() + (f". The last lines of its log:\n{log}" if log else "")
