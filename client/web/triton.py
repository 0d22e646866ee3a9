"""The Triton behind the service: which pipelines it can run, and an embedded one that is restarted when it dies."""

from __future__ import annotations

import argparse
import logging
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from client.cli.serve import STOP_GRACE_S
from client.cli.server_arguments import server_access
from client.errors import LipSyncError, ServerUnavailable
from client.live.messages import MODEL as LIVE_MODEL
from client.offer import (
    Offer,
    models_on_server,
    models_to_serve,
    offers,
    offers_of_repository,
    weights_warnings,
)
from client.option import Option, flag
from client.option_kinds import Choice
from client.options import MODEL, OPTIONS, choices_for, pipelines_of
from client.pipelines import PIPELINES
from client.pipelines.face_options import DETECTOR
from client.pipelines.silence_options import IN_SILENCE
from client.servers.access import ServerAccess
from client.servers.embedded import how_it_ended, own_server
from client.web.problem_kinds import NOT_LOADED
from client.web.problems import ProblemError
from client.web.views import MissingModel, ModelList, ModelView
from lipsync_core.serving.ports import free_port
from lipsync_core.serving.runtime import ServerStartError
from lipsync_core.serving.server import EmbeddedServer

KNOWN_FOR_S = 5.0  # how long an answer about models is kept
WATCH_EVERY_S = 1.0
RESTART_AFTER_S = 5.0
KEEPER = "whoever runs this service can add it: lipsync models says how"
logger = logging.getLogger("client.web")


class LoadedModels:
    """Asks Triton which pipelines it can run, and caches the answer, or the lack of one, for a moment."""

    def __init__(self, access: ServerAccess) -> None:
        """Ask these servers."""
        self.access = access
        self._lock = threading.Lock()
        self._known: ModelList | LipSyncError | None = None
        self._asked_at = 0.0

    def get(self) -> ModelList:
        """Return the pipelines that a job can use now.

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

    def check(self, choices: Mapping[str, Any]) -> None:
        """Check that the server can run a job with these choices; whether a server answers is left to the queue.

        Raises:
            ProblemError: 422, the server lacks what the model, or a choice of it, needs.
        """
        try:
            known = self.get()
        except ServerUnavailable:
            return
        model = next((model for model in known.models if model.id == choices.get(MODEL.name)), None)
        if model is None:
            raise _not_loaded(MODEL, choices.get(MODEL.name), [model.id for model in known.models])
        for option in OPTIONS:
            lacking = model.unavailable.get(option.name, [])
            if option.name in choices and choices[option.name] in lacking:
                assert isinstance(option.kind, Choice)
                possible = [str(value) for value in option.kind.values if str(value) not in lacking]
                raise _not_loaded(option, choices[option.name], possible)

    def _ask(self) -> ModelList:
        loaded = models_on_server(self.access, (LIVE_MODEL,))
        offered = offers(loaded)
        found = [offer for offer in offered if offer.is_ready]
        detectors = dict.fromkeys(name for offer in found for name in offer.detectors)
        missing = [_missing(offer) for offer in offered if not offer.is_ready]
        return ModelList(
            models=[_view(offer) for offer in found],
            missing=missing,
            detectors=list(detectors),
            live=LIVE_MODEL in loaded,
        )


def _not_loaded(option: Option[Any], chosen: object, possible: Sequence[str]) -> ProblemError:
    titles = {pipeline.name: pipeline.title for pipeline in PIPELINES} if option is MODEL else {}
    shown = [titles.get(name, name) for name in possible]
    return ProblemError(
        NOT_LOADED,
        name=option.name,
        expected=f"one that the server has loaded ({', '.join(possible) or 'none'})",
        got=repr(chosen),
        advice=f"Choose another; {KEEPER}",
        people=f"{option.label} “{titles.get(str(chosen), chosen)}” is not loaded on this server. "
        + (f"Choose {' or '.join(shown)}, or {KEEPER}." if shown else f"It has none at present; {KEEPER}."),
    )


def _missing(offer: Offer) -> MissingModel:
    pipeline = offer.pipeline
    return MissingModel(
        id=pipeline.name,
        title=pipeline.title,
        description=pipeline.description,
        missing=[*offer.missing, *offer.missing_in_silence],
        advice=f"{offer.sentence()}; {KEEPER}",
    )


def _view(offer: Offer) -> ModelView:
    pipeline = offer.pipeline
    return ModelView(
        id=pipeline.name,
        title=pipeline.title,
        description=pipeline.description,
        settings=[option.name for option in pipeline.options],
        unavailable={option.name: lacking for option in OPTIONS if (lacking := _lacking(offer, option))},
    )


def _lacking(offer: Offer, option: Option[Any]) -> list[str]:
    """Return the choices of an option that a pipeline does not have, or that the server cannot serve for it."""
    pipeline, owners = offer.pipeline, pipelines_of(option)
    if not isinstance(option.kind, Choice) or (owners and pipeline not in owners):
        return []
    own = {DETECTOR: offer.detectors, IN_SILENCE: offer.silences}
    possible = set(own.get(option) or choices_for(pipeline, option)) - set(offer.unavailable.get(option.name, ()))
    return [str(value) for value in option.kind.values if value not in possible]


@contextmanager
def open_triton(options: argparse.Namespace) -> Iterator[ServerAccess]:
    """Use the user's Triton, or start one that serves every exported model.

    Args:
        options: holds the arguments of `add_server_arguments`.

    Raises:
        ServerStartError: the embedded server does not start.
        LipSyncError: nothing is exported, or the arguments cannot be used.
    """
    access = server_access(options)
    if access.urls:
        yield access
        return
    repository = options.model_repository
    models = tuple(models_to_serve(repository, None))
    offered = [offer.sentence(flag) for offer in offers_of_repository(repository, models)]
    for line in [*offered, *weights_warnings(repository, models)]:
        print(line, file=sys.stderr, flush=True)
    server = EmbeddedServer(
        own_server(repository, models, grpc_port=free_port(), ends_after_freeze=True, stop_grace_s=STOP_GRACE_S)
    )
    with _Keeper(server) as keeper:
        yield replace(access, urls=(keeper.url,))


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
            logger.error("Triton ended by itself, %s. It is restarted", how_it_ended(self._server))
            try:
                self._server.stop()
                self._server.__enter__()
            except (ServerStartError, OSError):  # the latter where a full disk has no room for its folder
                logger.exception("Triton does not start; trying again")
                self._stop.wait(RESTART_AFTER_S)
