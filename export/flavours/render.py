"""The text of a flavour's config: that of config.pbtxt, with the flavour's backend, instances and parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from export.flavours.shapes import shapes_text
from export.flavours.table import TABLE_FILE, FlavourTable, read_table
from lipsync_core.config_file import CONFIG_FILE, read_contract
from lipsync_core.contract import EXPORT_PARAMETER, ModelContract
from lipsync_core.network_files import NETWORK_FILES

MAX_BATCH_SIZE = "max_batch_size"
BACKEND = re.compile(r'^backend: "\w+"$', re.MULTILINE)
INSTANCES = re.compile(r"^instance_group \{ count: (\d+) kind: (\w+) \}$", re.MULTILINE)
BATCHING = re.compile(r"^dynamic_batching \{ \}\n", re.MULTILINE)
BATCH = re.compile(r"=(\d+)")  # of a shape, such as mel=1x80x16
PARAMETERS = re.compile(r"^parameters \{.*", re.MULTILINE | re.DOTALL)  # they end the file
PARAMETER_LINE = 'parameters {{ key: "{key}" value {{ string_value: "{text}" }} }}'


def render_flavours(repository: Path) -> dict[Path, str]:
    """Write every flavour of a model repository as text.

    Returns:
        The text by the path that it belongs at.

    Raises:
        ValueError: flavours.toml or a config.pbtxt cannot be read, or the two do not fit together.
    """
    table = read_table(repository)
    return {
        repository / model / "configs" / f"{flavour}.pbtxt": _render(repository, table, model, flavour)
        for model, flavours in table.models.items()
        for flavour in flavours
    }


def _render(repository: Path, table: FlavourTable, model: str, flavour: str) -> str:
    text = (repository / model / CONFIG_FILE).read_text(encoding="utf-8")
    contract, changes = read_contract(repository / model), table.models[model][flavour]
    found = INSTANCES.search(text)
    if found is None:
        raise ValueError(f"{model}: expected an instance_group with count and kind in {CONFIG_FILE}, got none")
    count, kind, comment = changes.instances or int(found[1]), found[2], changes.comment
    if contract.backend in NETWORK_FILES:
        rules = table.rules[flavour]
        command = rules.command.format(model=model, export=contract.parameters.get(EXPORT_PARAMETER, ""))
        comment, kind = f"{comment} `{command}` writes {rules.network}.".lstrip(), rules.kind
        text = BACKEND.sub(f'backend: "{rules.backend}"', text)
        parameters = _parameters(repository, table, model, flavour)
        text = PARAMETERS.sub("", text) + _parameters_text(parameters)
        if _largest_batch(parameters) == 1:
            text = BATCHING.sub("", text)  # joined requests would be split again
    else:
        text = _with_changes(text, contract, changes.parameters)
    text = INSTANCES.sub(f"instance_group {{ count: {count} kind: {kind} }}", text)
    lines = text.splitlines()
    head = next(index for index, line in enumerate(lines) if not line.startswith("#"))
    origin = f"# Generated from {TABLE_FILE} by `python -m export flavours`; do not edit."
    return "\n".join([*lines[:head], f"# {comment}", origin, *lines[head:]]) + "\n"


def _largest_batch(parameters: Mapping[str, str]) -> int | None:
    """Return the largest batch that a network is compiled for; None if it takes any."""
    shapes = parameters.get("shapes")
    return max(map(int, BATCH.findall(shapes))) if shapes else None


def _with_changes(text: str, contract: ModelContract, parameters: Mapping[str, str]) -> str:
    """Change some parameters of a model without a network."""
    for key, value in parameters.items():
        before = PARAMETER_LINE.format(key=key, text=contract.parameters.get(key, ""))
        if before not in text:
            raise ValueError(f"{contract.name}: expected the parameter {key} in a line of {CONFIG_FILE}, got none")
        text = text.replace(before, PARAMETER_LINE.format(key=key, text=value))
    return text


def _parameters(repository: Path, table: FlavourTable, model: str, flavour: str) -> dict[str, str]:
    """Collect the parameters of a network in one flavour, its shapes included."""
    contract, changes = read_contract(repository / model), table.models[model][flavour]

    def resolve(size: int | str) -> int:
        if isinstance(size, int):
            return size
        if size == MAX_BATCH_SIZE:
            return contract.max_batch_size
        other, _, key = size.partition(".")
        return int(_sent_by(repository, table, other, flavour)[key])

    axes = table.axes.get(model, {})
    shapes = {key: shapes_text(contract, axes, sizes, resolve) for key, sizes in changes.sizes.items()}
    export = contract.parameters.get(EXPORT_PARAMETER, "")
    common = {key: text.format(export=export) for key, text in table.rules[flavour].parameters.items()}
    return {**common, **changes.parameters, **shapes}


def _sent_by(repository: Path, table: FlavourTable, model: str, flavour: str) -> Mapping[str, str]:
    """Read the parameters of the model that sends the requests, in the same flavour where it has it."""
    changes = table.models.get(model, {}).get(flavour)
    parameters = read_contract(repository / model).parameters
    return {**parameters, **changes.parameters} if changes else parameters


def _parameters_text(parameters: Mapping[str, str]) -> str:
    return "".join(_parameter_text(key, text) for key, text in parameters.items())


def _parameter_text(key: str, text: str) -> str:
    """Write one parameter; one of several shapes has a line for each."""
    parts = text.split("; ")
    if len(parts) == 1:
        return PARAMETER_LINE.format(key=key, text=text) + "\n"
    lines = [*(f'"{part};"' for part in parts[:-1]), f'"{parts[-1]}"']
    values = "\n".join(f"      {line}" for line in lines)
    return f'parameters {{\n  key: "{key}"\n  value {{\n    string_value:\n{values}\n  }}\n}}\n'
