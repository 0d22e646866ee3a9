"""What servers and model repositories offer: which pipelines can run, and what the others lack."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from client.errors import RequestRejected, ServerUnavailable, UsageError
from client.pipeline import Pipeline
from client.pipelines import PIPELINES
from client.servers.access import ServerAccess
from client.servers.connection import TritonConnection
from client.tracking.finder import DETECTORS
from lipsync_core.contract import CONFIG_FILE
from lipsync_core.repository import (
    export_commands,
    missing_networks,
    required_models,
    synthetic_networks,
)


@dataclass(frozen=True)
class Offer:
    """One pipeline, and what keeps it from running.

    Attributes:
        pipeline: which one.
        missing: models that the server lacks for it; empty if it can run.
        detectors: names of the detectors that can run.
        commands: commands that export the missing networks; empty if unknown.
    """

    pipeline: Pipeline
    missing: tuple[str, ...]
    detectors: tuple[str, ...]
    commands: tuple[str, ...] = ()

    @property
    def is_ready(self) -> bool:
        """Whether jobs can use it now."""
        return not self.missing

    def sentence(self) -> str:
        """Return one line for people."""
        if self.is_ready:
            return f"{self.pipeline.name}: ready"
        if self.commands:
            return (
                f"{self.pipeline.name}: not exported. Export its networks with: {', '.join(self.commands)} (see --help)"
            )
        return f"{self.pipeline.name}: the server has no {', '.join(self.missing)}"


def models_of_pipelines() -> set[str]:
    """Return the names of all models that pipelines and detectors call."""
    detectors = {detector.model for detector in DETECTORS}
    return detectors | {model for pipeline in PIPELINES for model in pipeline.models}


def offers(loaded: Collection[str]) -> list[Offer]:
    """Return every pipeline with what it lacks on a server that has these models."""
    return [_offer(pipeline, loaded) for pipeline in PIPELINES]


def offers_of_repository(repository: Path, models: Iterable[str], config_name: str | None = None) -> list[Offer]:
    """Return every pipeline with what it lacks where these models of a repository are served."""
    served = required_models(repository, list(models))
    found = []
    for pipeline in PIPELINES:
        lacks = [name for model in pipeline.models for name in missing_networks(repository, model, config_name)]
        offer = _offer(pipeline, served)
        if lacks and not offer.is_ready:
            offer = Offer(
                pipeline, tuple(lacks), offer.detectors, tuple(export_commands(repository, lacks, config_name))
            )
        found.append(offer)
    return found


def models_on_server(access: ServerAccess) -> set[str]:
    """Return which of the pipelines' models the first server that answers has loaded.

    Raises:
        ServerUnavailable: no server is ready.
    """
    problem = ServerUnavailable("no server is known")
    for address in access.servers.find() if access.servers else ():
        try:
            with TritonConnection(address, "grpc", access.request_timeout_s, access.security) as connection:
                return {name for name in models_of_pipelines() if _has(connection, name)}
        except ServerUnavailable as error:
            problem = error
    raise problem


def exported_models(repository: Path, config_name: str | None = None) -> list[str]:
    """Return every model of a repository that has all networks it needs."""
    names = sorted(path.parent.name for path in repository.glob(f"*/{CONFIG_FILE}"))
    return [name for name in names if not missing_networks(repository, name, config_name)]


def models_to_serve(repository: Path, chosen: Sequence[str] | None, config_name: str | None = None) -> list[str]:
    """Return the chosen models, or all that are exported.

    Raises:
        UsageError: no such flavour or model, or none is exported.
    """
    flavours = sorted({path.stem for path in repository.glob("*/configs/*.pbtxt")})
    if config_name is not None and config_name not in flavours:
        known = ", ".join(flavours) or "none"
        raise UsageError(option="model_config_name", expected=f"one of {known}", got=repr(config_name))
    models = list(chosen or exported_models(repository, config_name))
    if not models:
        raise no_exported_models(repository)
    try:
        required_models(repository, models)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return models


def no_exported_models(repository: Path) -> UsageError:
    """Return the error of a repository without any exported model."""
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
    return Offer(pipeline, tuple(missing), detectors)


def _has(connection: TritonConnection, model: str) -> bool:
    try:
        connection.contract(model)
    except RequestRejected:
        return False
    return True
