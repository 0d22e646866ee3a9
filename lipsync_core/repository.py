"""What a model repository holds: which models need which, and whose networks have been exported."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from lipsync_core.config_file import CONFIG_FILE, read_contract
from lipsync_core.contract import EXPORT_PARAMETER, ModelContract
from lipsync_core.network_files import NETWORK_FILES, VERSION_FOLDER
from lipsync_core.weights import read_note

DEFAULT_REPOSITORY = Path(__file__).resolve().parents[1] / "model_repository"  # of a checkout
VERSION_ADVICE = "Install the client from the checkout that the models are in"
REPOSITORY_ADVICE = "It is the folder model_repository of a checkout of this project: run there, or give that folder"


def holds_models(repository: Path) -> bool:
    """Check whether a folder is a model repository; an installed client without a checkout has none."""
    return any(repository.glob(f"*/{CONFIG_FILE}"))


def check_models(repository: Path, names: Sequence[str]) -> None:
    """Check that a model repository has some models, exported or not.

    Raises:
        ValueError: It lacks one, or there is no model repository.
    """
    for name in names:
        if not (repository / name / CONFIG_FILE).is_file():
            if not holds_models(repository):
                raise ValueError(
                    f"{repository}: expected a model repository with {name}, got none. {REPOSITORY_ADVICE}"
                )
            raise other_version(repository, f"one without {name}")


def other_version(repository: Path, got: str) -> ValueError:
    """Return the error of a model repository that does not fit this code."""
    return ValueError(f"{repository}: expected the models of this version, got {got}. {VERSION_ADVICE}")


def required_models(repository: Path, names: list[str]) -> list[str]:
    """List the given models and all models they need, each once, dependencies first.

    Models that are called only for some requests count if they have been exported, in any format.

    Raises:
        ValueError: A model is not in the repository.
    """
    return _with_needed(repository, names, lambda model: has_network(repository, model))


def served_models(repository: Path, names: list[str], config_name: str | None = None) -> list[str]:
    """List what a server of a flavour loads for the given models: these and all models they need, dependencies first.

    Models that are called only for some requests are left out where their networks have not been exported for it.

    Raises:
        ValueError: A model is not in the repository.
    """
    return _with_needed(repository, names, lambda model: not missing_networks(repository, model, config_name))


def _with_needed(repository: Path, names: list[str], is_wanted: Callable[[str], bool]) -> list[str]:
    """List models and all that they need; of those that they call for some requests only, the wanted ones."""
    ordered: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in ordered:
            return
        if not (repository / name / CONFIG_FILE).is_file():
            known = ", ".join(sorted(path.parent.name for path in repository.glob(f"*/{CONFIG_FILE}")))
            if not known:
                raise ValueError(f"{repository}: expected a model repository, got none. {REPOSITORY_ADVICE}")
            raise ValueError(f"model: expected one of {known} in {repository}, got {name!r}")
        contract = read_contract(repository / name)
        for needed in contract.needs:
            visit(needed)
        for wanted in contract.optional_calls:
            if is_wanted(wanted):
                visit(wanted)
        ordered[name] = None

    for name in names:
        visit(name)
    return list(ordered)


def has_network(repository: Path, name: str) -> bool:
    """Check whether a model's network has been exported, in any format."""
    return any((repository / name / VERSION_FOLDER / file).is_file() for file in NETWORK_FILES.values())


def missing_networks(repository: Path, name: str, config_name: str | None = None) -> list[str]:
    """List the models that a model needs, itself included, whose network for a flavour has not been exported.

    It is complete without those that it calls for some requests only.
    """
    models = _with_needed(repository, [name], lambda _: False)
    files = {model: NETWORK_FILES.get(read_contract(repository / model, config_name).backend) for model in models}
    paths = {model: repository / model / VERSION_FOLDER / file for model, file in files.items() if file}
    return [model for model, path in paths.items() if not path.is_file()]


def exported_models(repository: Path, config_name: str | None = None) -> list[str]:
    """List every model that has all networks it needs, for a flavour."""
    names = sorted(path.parent.name for path in repository.glob(f"*/{CONFIG_FILE}"))
    return [name for name in names if not missing_networks(repository, name, config_name)]


def synthetic_networks(repository: Path, names: list[str], config_name: str | None = None) -> list[str]:
    """List the models, among those given and their dependencies, whose network has synthetic weights.

    Args:
        repository: Model repository.
        names: Names of models.
        config_name: Flavour whose networks are looked at. A TensorRT engine has the weights of its ONNX graph.
    """
    contracts = [read_contract(repository / model, config_name) for model in required_models(repository, names)]
    return [contract.name for contract in contracts if _is_synthetic(repository, contract)]


def _is_synthetic(repository: Path, contract: ModelContract) -> bool:
    file = NETWORK_FILES.get("onnxruntime" if contract.backend == "tensorrt" else contract.backend)
    note = read_note(repository / contract.name / VERSION_FOLDER / file) if file else None
    return note is not None and note.synthetic


def export_commands(
    repository: Path, networks: Collection[str], config_name: str | None = None, needed_by: Sequence[str] = ()
) -> list[str]:
    """List the commands that export networks, each once.

    Args:
        repository: Model repository.
        networks: Names of the networks' models.
        config_name: Flavour whose networks are exported.
        needed_by: Models that need them. Where one names a family, such as `latentsync`, whose own network is on this
            list, that family's command exports the networks that the model shares with others too.
    """
    exports = {network: _export(repository, network, config_name) for network in networks}
    for model in needed_by:
        family = _export(repository, model, config_name)
        command = next((export for export in exports.values() if family and export.split()[:1] == [family]), None)
        if command is not None:
            needed = _with_needed(repository, [model], lambda _: False)
            exports |= dict.fromkeys(exports.keys() & set(needed), command)
    return sorted({f"python -m export {export}".rstrip() for export in exports.values()})


def _export(repository: Path, model: str, config_name: str | None) -> str:
    """Return the arguments of `python -m export` that a model names; empty if none."""
    return read_contract(repository / model, config_name).parameters.get(EXPORT_PARAMETER, "")


def check_networks(repository: Path, models: list[str], config_name: str | None = None) -> None:
    """Check that the networks of models have been exported.

    Raises:
        ValueError: Some are missing; the message names the commands that export them.
    """
    missing = sorted({name for model in models for name in missing_networks(repository, model, config_name)})
    if missing:
        contracts = [read_contract(repository / model, config_name) for model in missing]
        files = sorted({NETWORK_FILES[contract.backend] for contract in contracts})
        commands = export_commands(repository, missing, config_name, models)
        raise ValueError(
            f"models: expected exported networks, got no {' or '.join(files)} of {', '.join(missing)}."
            f" Write them with: {', '.join(commands)} (see its --help)"
        )
