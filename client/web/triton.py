"""The Triton behind the service: which models it has, and an embedded one that is started anew when it dies."""

from __future__ import annotations

import argparse
import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from client.cli.arguments import server_options
from client.errors import LipSyncError, RequestRejected, ServerUnavailable
from client.job import DETECTORS, MODELS, DetectorName, Model
from client.servers.addresses import Servers
from client.servers.connection import TritonConnection
from client.servers.embedded import STOP_GRACE_S, exported_models, weights_warnings, what_is_served
from client.servers.options import PoolOptions
from client.web.views import ModelList, ModelView
from lipsync_core.serving.runtime import ServerStartError
from lipsync_core.serving.server import EmbeddedServer, ServerOptions, free_port

KNOWN_FOR_S = 5.0  # how long an answer about models is believed
WATCH_EVERY_S = 1.0
RESTART_AFTER_S = 5.0
logger = logging.getLogger("client.web")
DESCRIPTIONS: dict[Model, tuple[str, str, tuple[str, ...]]] = {
    "mouth-motion": (
        "Mouth motion",
        "Moves the lips of the picture itself. Fast, needs no model download; a good preview.",
        (),
    ),
    "wav2lip": (
        "Wav2Lip",
        "Draws a new lower face. Quick, a little soft; for personal, research and non-commercial use only.",
        ("detector", "face_box", "pads", "blend"),
    ),
    "latentsync": (
        "LatentSync",
        "Draws the mouth by diffusion. The most natural result, and by far the slowest; wants a GPU.",
        ("speed", "steps", "guidance", "scheduler", "resolution", "seed"),
    ),
}


@dataclass(frozen=True)
class TritonAccess:
    """Where Triton is and how to reach it, here and in a process of a job.

    Attributes:
        servers: where they are.
        pool: how to deal with them.
        arguments: the same for another command line.
    """

    servers: Servers
    pool: PoolOptions
    arguments: tuple[str, ...]

    @classmethod
    def of(cls, options: argparse.Namespace) -> TritonAccess:
        """Read the servers' part of the command line.

        Raises:
            UsageError: it cannot be used.
        """
        servers, pool = server_options(options)
        assert servers is not None
        named = ("transport", "timeout", "tls_ca", "tls_cert", "tls_key", "token_file")
        arguments = [f"--url={url}" for url in options.url] + ["--tls"] * options.tls
        for name in named:
            value = getattr(options, name)
            if value is not None:
                arguments.append(f"--{name.replace('_', '-')}={value.resolve() if isinstance(value, Path) else value}")
        return cls(servers, pool, tuple(arguments))


class LoadedModels:
    """Asks Triton which generators it has, and believes the answer, or that there is none, for a moment."""

    def __init__(self, triton: TritonAccess) -> None:
        """Ask there."""
        self.triton = triton
        self._lock = threading.Lock()
        self._known: ModelList | LipSyncError | None = None
        self._asked_at = 0.0

    def get(self) -> ModelList:
        """Return the generators that a job can use now.

        Raises:
            ServerUnavailable: no server is ready.
        """
        with self._lock:
            if self._known is None or time.monotonic() - self._asked_at > KNOWN_FOR_S:
                try:
                    self._known = self._ask()
                except LipSyncError as error:
                    self._known = error
                self._asked_at = time.monotonic()
            known = self._known
        if isinstance(known, LipSyncError):
            raise ServerUnavailable(str(known)) from known
        return known

    def _ask(self) -> ModelList:
        loaded = self._loaded({*(name for needed in MODELS.values() for name in needed), *_DETECTOR_MODELS})
        detectors: list[DetectorName] = [name for name, detector in DETECTORS.items() if detector.model in loaded]
        models = [_view(model) for model, needed in MODELS.items() if detectors and loaded.issuperset(needed)]
        return ModelList(models=models, detectors=detectors)

    def _loaded(self, names: set[str]) -> set[str]:
        """Return which of these models the first server that answers has."""
        pool = self.triton.pool
        problem = ServerUnavailable("no server is known")
        for address in self.triton.servers.find():
            try:
                with TritonConnection(address, "grpc", pool.request_timeout_s, pool.security) as connection:
                    return {name for name in names if _has(connection, name)}
            except ServerUnavailable as error:
                problem = error
        raise problem


_DETECTOR_MODELS = tuple(detector.model for detector in DETECTORS.values())


def _view(model: Model) -> ModelView:
    title, description, settings = DESCRIPTIONS[model]
    return ModelView(id=model, title=title, description=description, settings=list(settings))


def _has(connection: TritonConnection, model: str) -> bool:
    try:
        connection.contract(model)
    except RequestRejected:
        return False
    return True


@contextmanager
def open_triton(options: argparse.Namespace) -> Iterator[TritonAccess]:
    """Reach the user's Triton, or start one that serves every exported model.

    Args:
        options: with the client's own options for servers.

    Raises:
        ServerStartError: the embedded one does not start.
        LipSyncError: nothing is exported, or the options cannot be used.
    """
    if server_options(options)[0] is not None:
        yield TritonAccess.of(options)
        return
    repository = options.model_repository
    models = tuple(exported_models(repository))
    if not models:
        raise LipSyncError(f"{repository}: expected exported models, got none. Run: make models")
    for line in [*what_is_served(repository, models), *weights_warnings(repository, models)]:
        print(line, file=sys.stderr, flush=True)
    server = EmbeddedServer(ServerOptions(repository, models, grpc_port=free_port(), stop_grace_s=STOP_GRACE_S))
    with _Keeper(server) as keeper:
        yield TritonAccess.of(argparse.Namespace(**vars(options) | {"url": [keeper.url]}))


class _Keeper:
    """Keeps an embedded Triton running, at the same address, until the context is left."""

    def __init__(self, server: EmbeddedServer) -> None:
        self._server = server
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="keep Triton", daemon=True)

    @property
    def url(self) -> str:
        return self._server.url

    def __enter__(self) -> _Keeper:
        self._server.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()
        self._server.stop()

    def _watch(self) -> None:
        while not self._stop.wait(WATCH_EVERY_S):
            if self._server.is_alive():
                continue
            logger.error("Triton ended by itself and is started anew. Its log:\n%s", self._server.log_excerpt())
            try:
                self._server.stop()
                self._server.__enter__()
            except (ServerStartError, OSError):  # the latter where a full disk has no room for its folder
                logger.exception("Triton does not start; trying again")
                self._stop.wait(RESTART_AFTER_S)
