"""What servers and model repositories offer: which pipelines can run, and what the others lack."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from client.errors import RequestRejected, ServerUnavailable, Spell, UsageError, by_name
from client.pipeline import Pipeline
from client.pipelines import PIPELINES
from client.pipelines.silence_options import IN_SILENCE, InSilence
from client.pipelines.voice import VOICE_MODEL
from client.servers.access import ServerAccess
from client.servers.connection import TritonConnection
from client.silence import silence_models
from client.tracking.finder import DETECTORS
from lipsync_core.repository import (
    REPOSITORY_ADVICE,
    check_models,
    export_commands,
    exported_models,
    holds_models,
    missing_networks,
    required_models,
    served_models,
    synthetic_networks,
)
from lipsync_core.syncnet.models import without_synthetic_syncnet


@dataclass(frozen=True)
class Offer:
    """One pipeline, and what keeps it from running.

    Attributes:
        pipeline: which one.
        missing: models that the server lacks for it; empty if it can run.
        detectors: names of the detectors that can run.
        silences: values of the option in_silence that jobs can have.
        unavailable: option name -> choices that need a model which the server lacks.
        missing_in_silence: models that the server lacks for that option's default.
        commands: commands that export the missing networks; empty if unknown.
    """

    pipeline: Pipeline
    missing: tuple[str, ...]
    detectors: tuple[str, ...]
    silences: tuple[str, ...]
    unavailable: Mapping[str, tuple[str, ...]]
    missing_in_silence: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()

    @property
    def is_ready(self) -> bool:
        """Whether jobs can use it now."""
        return not self.missing

    def sentence(self, spell: Spell = by_name) -> str:
        """Return one line for people, options spelled as a front end calls them."""
        name, export = self.pipeline.name, f"{', '.join(self.commands)} (see --help)"
        if self.is_ready and self.missing_in_silence:
            lacks = f"the server has no {', '.join(self.missing_in_silence)}"
            only = f"{name}: ready, but only with {spell(IN_SILENCE.name)} {' or '.join(self.silences)}: {lacks}"
            return f"{only}. Export what is missing with: {export}" if self.commands else only
        if self.is_ready:
            return f"{name}: ready"
        if self.commands:
            return f"{name}: not exported. Export its networks with: {export}"
        return f"{name}: the server has no {', '.join((*self.missing, *self.missing_in_silence))}"


def models_of_pipelines() -> set[str]:
    """Return the names of all models that pipelines and detectors call."""
    detectors = {detector.model for detector in DETECTORS}
    of_choices = {model for pipeline in PIPELINES for model in _choice_models(pipeline)}
    return {VOICE_MODEL} | detectors | of_choices | {model for pipeline in PIPELINES for model in pipeline.models}


def offers(loaded: Collection[str]) -> list[Offer]:
    """Return an offer for every pipeline, for a server with these models."""
    return [_offer(pipeline, loaded) for pipeline in PIPELINES]


def offers_of_repository(repository: Path, models: Iterable[str], config_name: str | None = None) -> list[Offer]:
    """Return an offer for every pipeline, for a server of these models of a repository.

    Raises:
        UsageError: the folder is no model repository, or that of another version.
    """
    if not holds_models(repository):
        raise no_exported_models(repository)
    try:
        check_models(repository, sorted(models_of_pipelines()))
    except ValueError as error:
        raise UsageError(str(error)) from error
    served = served_models(repository, list(models), config_name)
    found = []
    for pipeline in PIPELINES:
        offer = _offer(pipeline, served)
        commands: set[str] = set()
        if not offer.is_ready:
            lacks = _networks(repository, pipeline.models, config_name)
            if lacks:
                offer = replace(offer, missing=tuple(lacks))
                commands.update(export_commands(repository, lacks, config_name, pipeline.models))
        lacks = _networks(repository, offer.missing_in_silence, config_name)
        commands.update(export_commands(repository, lacks, config_name))
        offer = replace(offer, commands=tuple(sorted(commands)))
        found.append(offer)
    return found


def models_on_server(access: ServerAccess, further: Iterable[str] = ()) -> set[str]:
    """Return which of the pipelines' models, and of further ones, the first server that answers has loaded.

    Raises:
        ServerUnavailable: no server is ready.
    """
    problem = ServerUnavailable("no server is known")
    for address in access.servers.find() if access.servers else ():
        try:
            with TritonConnection(address, "grpc", access.request_timeout_s, access.security) as connection:
                return {name for name in (*models_of_pipelines(), *further) if _has(connection, name)}
        except ServerUnavailable as error:
            problem = error
    raise problem


def models_to_serve(repository: Path, chosen: Sequence[str] | None, config_name: str | None = None) -> list[str]:
    """Return the chosen models, or all that are exported; SyncNet with synthetic weights only if it is chosen.

    Raises:
        UsageError: no such flavour or model, or none is exported.
    """
    if not holds_models(repository):
        raise no_exported_models(repository)
    flavours = sorted({path.stem for path in repository.glob("*/configs/*.pbtxt")})
    if config_name is not None and config_name not in flavours:
        known = ", ".join(flavours) or "none"
        raise UsageError(option="model_config_name", expected=f"one of {known}", got=repr(config_name))
    exported = exported_models(repository, config_name)
    models = list(chosen or without_synthetic_syncnet(repository, exported, config_name))
    if not models:
        raise no_exported_models(repository)
    try:
        required_models(repository, models)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return models


def no_exported_models(repository: Path) -> UsageError:
    """Return the error for a repository without exported models, or for a folder that is no repository."""
    if not holds_models(repository):
        return UsageError(
            option="model_repository",
            expected="a model repository",
            got=f"none in {repository}",
            advice=REPOSITORY_ADVICE,
        )
    return UsageError(
        option="model_repository", expected="exported models", got=f"none in {repository}", advice="Run: make models"
    )


def weights_warnings(repository: Path, models: Sequence[str], config_name: str | None = None) -> list[str]:
    """Return a line that names the networks with synthetic weights that these models run on; none without such."""
    synthetic = synthetic_networks(repository, list(models), config_name)
    if not synthetic:
        return []
    commands = ", ".join(export_commands(repository, synthetic))
    return [
        f"synthetic weights in {', '.join(synthetic)}: the pictures are noise."
        f" Export real weights with: {commands} (see --help)"
    ]


def _offer(pipeline: Pipeline, loaded: Collection[str]) -> Offer:
    detectors = tuple(detector.name for detector in pipeline.detectors if detector.model in loaded)
    missing = [model for model in pipeline.models if model not in loaded]
    if not detectors:
        missing.append(pipeline.detectors[0].model)
    needed = {rule: silence_models(rule, pipeline) for rule in get_args(InSilence)}
    silences = tuple(rule for rule, models in needed.items() if set(models) <= set(loaded))
    missing_in_silence = tuple(
        model for model in needed[IN_SILENCE.default] if model not in loaded and model not in missing
    )
    return Offer(pipeline, tuple(missing), detectors, silences, _unavailable(pipeline, loaded), missing_in_silence)


def _choice_models(pipeline: Pipeline) -> list[str]:
    """List the models that single choices of a pipeline's options need."""
    return [model for choices in pipeline.choice_models.values() for models in choices.values() for model in models]


def _unavailable(pipeline: Pipeline, loaded: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return option name -> choices whose models are not all loaded."""
    lacking = {
        option: tuple(choice for choice, models in choices.items() if not set(models) <= set(loaded))
        for option, choices in pipeline.choice_models.items()
    }
    return {option: choices for option, choices in lacking.items() if choices}


def _networks(repository: Path, models: Iterable[str], config_name: str | None) -> list[str]:
    """List the networks that models need, and that have not been exported."""
    return [name for model in models for name in missing_networks(repository, model, config_name)]


def _has(connection: TritonConnection, model: str) -> bool:
    try:
        connection.contract(model)
    except RequestRejected:
        return False
    return True
