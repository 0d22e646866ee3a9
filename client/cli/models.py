"""`lipsync models`: lists the pipelines with their options and licences, and what a server lacks for them."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence

from client.cli.parser import OneLineParser, help_text
from client.cli.server_arguments import add_server_arguments, server_access
from client.offer import Offer, models_on_server, offers, offers_of_repository
from client.option import flag
from lipsync_core.repository import exported_models

WIDTH = 100  # characters


def models_command(arguments: Sequence[str]) -> int:
    """List the pipelines; returns 0.

    Raises:
        LipSyncError: the servers cannot be reached, or arguments do not go together.
    """
    parser = OneLineParser(
        prog="lipsync models",
        description="List the pipelines with their options and the licences of their weights, and what a server lacks"
        " for them.",
    )
    add_server_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print a machine-readable list on stdout")
    namespace = parser.parse_args(arguments)
    access = server_access(namespace)
    repository = namespace.model_repository
    if access.urls:
        found = offers(models_on_server(access))
    else:
        found = offers_of_repository(repository, exported_models(repository))
    print(json.dumps([as_json(offer) for offer in found], indent=2) if namespace.json else as_text(found))
    return 0


def as_text(found: Sequence[Offer]) -> str:
    """Return a paragraph per pipeline."""
    return "\n\n".join("\n".join(_lines(offer)) for offer in found)


def as_json(offer: Offer) -> dict[str, object]:
    """Return one pipeline as JSON values."""
    pipeline = offer.pipeline
    return {
        "name": pipeline.name,
        "title": pipeline.title,
        "description": pipeline.description,
        "weights_licence": pipeline.weights_licence,
        "options": [option.name for option in pipeline.options],
        "detectors": list(offer.detectors),
        "unavailable": {option: list(choices) for option, choices in offer.unavailable.items()},
        "ready": offer.is_ready,
        "missing_models": list(offer.missing),
        "missing_models_in_silence": list(offer.missing_in_silence),
        "export_commands": list(offer.commands),
    }


def _lines(offer: Offer) -> list[str]:
    pipeline = offer.pipeline
    options = [f"{option.flag}: {help_text(option).replace('%%', '%')}" for option in pipeline.options]
    texts = [pipeline.description, f"Licence of the weights: {pipeline.weights_licence}.", *options]
    wrapped = [textwrap.fill(text, WIDTH, initial_indent="  ", subsequent_indent="    ") for text in texts]
    return [offer.sentence(flag), *wrapped]
