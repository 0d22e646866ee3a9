"""Reads model_repository/flavours.toml: what each flavour of a model changes. Does not know how it is written out."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

TABLE_FILE = "flavours.toml"  # at the root of the model repository, where Triton ignores plain files

Size = int | str | list[int | str]  # a number, "max_batch_size", "MODEL.PARAMETER", or a list of these
Sizes = Mapping[str, Size]
Axes = Mapping[str, list[int | str]]  # input -> what its free axes are, such as "frames", "pixels/8" or 320

RecordT = TypeVar("RecordT")


@dataclass(frozen=True)
class FlavourRules:
    """What a flavour does to every network that has it.

    Attributes:
        backend: The backend that serves the network.
        kind: The kind of its instances.
        command: The command that writes the network.
        network: The file that this command writes.
        parameters: The parameters of every network; they replace those of config.pbtxt.
    """

    backend: str
    kind: str
    command: str
    network: str
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelFlavour:
    """What one flavour of one model changes.

    Attributes:
        comment: A sentence for the file's head.
        instances: The number of instances; None for that of config.pbtxt.
        parameters: Parameters set on top of the flavour's, or of config.pbtxt's for a model without a network.
        shapes: Sizes of the shapes that the torch backend compiles.
        profile_min, profile_opt, profile_max: Sizes of TensorRT's optimization profile.
    """

    comment: str = ""
    instances: int | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    shapes: Sizes = field(default_factory=dict)
    profile_min: Sizes = field(default_factory=dict)
    profile_opt: Sizes = field(default_factory=dict)
    profile_max: Sizes = field(default_factory=dict)

    @property
    def sizes(self) -> dict[str, Sizes]:
        """The sizes by the name of the parameter that their shapes become."""
        keys = ("shapes", "profile_min", "profile_opt", "profile_max")
        return {key: getattr(self, key) for key in keys if getattr(self, key)}


@dataclass(frozen=True)
class FlavourTable:
    """The whole file.

    Attributes:
        rules: Rules by flavour.
        axes: Axes by model.
        models: Changes by model, then by flavour.
    """

    rules: Mapping[str, FlavourRules]
    axes: Mapping[str, Axes]
    models: Mapping[str, Mapping[str, ModelFlavour]]


def read_table(repository: Path) -> FlavourTable:
    """Read the table of a model repository.

    Raises:
        ValueError: The file is missing or malformed, or holds an unknown key.
    """
    path = repository / TABLE_FILE
    try:
        text = path.read_text(encoding="utf-8")
        return parse_table(text)
    except OSError as error:
        raise ValueError(f"{path}: expected the table of flavours, got {error.strerror}") from error
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path}: expected a valid table of flavours, got {error}") from error


def parse_table(text: str) -> FlavourTable:
    """Parse the text of a flavours.toml.

    Raises:
        ValueError: It is no TOML, or holds an unknown key.
        KeyError: It refers to a flavour or model that it does not have.
    """
    table = tomllib.loads(text)
    axes = {model: entry.pop("axes", {}) for model, entry in table["models"].items()}
    models = {
        model: {flavour: _model_flavour(table["models"], changes, flavour) for flavour, changes in entry.items()}
        for model, entry in table["models"].items()
    }
    return FlavourTable({name: _rules(table["flavours"], name) for name in table["flavours"]}, axes, models)


def _rules(flavours: Mapping[str, dict[str, Any]], name: str) -> FlavourRules:
    entry = dict(flavours[name])
    like = entry.pop("like", None)
    if like is None:
        return _record(FlavourRules, entry)
    rules = _rules(flavours, like)
    return replace(rules, parameters={**rules.parameters, **entry["parameters"]})


def _model_flavour(models: Mapping[str, dict[str, Any]], changes: dict[str, Any], flavour: str) -> ModelFlavour:
    other = changes.get("same_as")
    return _record(ModelFlavour, models[other][flavour] if other else changes)


def _record(cls: type[RecordT], entry: Mapping[str, Any]) -> RecordT:
    known = [field.name for field in fields(cls)]  # type: ignore[arg-type]
    for key in entry:
        if key not in known:
            raise ValueError(f"{key}: expected one of {', '.join(known)}")
    return cls(**entry)
