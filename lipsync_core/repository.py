"""What a model repository holds: which models need which, and whose networks have been exported."""

from __future__ import annotations

from pathlib import Path

from lipsync_core.contract import CONFIG_FILE, EXPORT_PARAMETER, ModelContract, read_contract
from lipsync_core.weights import read_note

DEFAULT_REPOSITORY = Path(__file__).resolve().parents[1] / "model_repository"  # of a checkout
VERSION_FOLDER = "1"  # every model has one version
NETWORK_FILES = {"onnxruntime": "model.onnx", "torch": "model.pt2", "tensorrt": "model.plan"}  # by backend


def required_models(repository: Path, names: list[str]) -> list[str]:
    """List the given models and all models they need, each once, dependencies first.

    Raises:
        ValueError: A model is not in the repository.
    """
    ordered: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in ordered:
            return
        if not (repository / name / CONFIG_FILE).is_file():
            known = ", ".join(sorted(path.parent.name for path in repository.glob(f"*/{CONFIG_FILE}")))
            raise ValueError(f"model: expected one of {known or 'none'} in {repository}, got {name!r}")
        for needed in read_contract(repository / name).needs:
            visit(needed)
        ordered[name] = None

    for name in names:
        visit(name)
    return list(ordered)


def missing_networks(repository: Path, name: str, config_name: str | None = None) -> list[str]:
    """List the models that a model needs, itself included, whose network for a flavour has not been exported."""
    models = required_models(repository, [name])
    files = {model: NETWORK_FILES.get(read_contract(repository / model, config_name).backend) for model in models}
    paths = {model: repository / model / VERSION_FOLDER / file for model, file in files.items() if file}
    return [model for model, path in paths.items() if not path.is_file()]


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


def export_commands(repository: Path, models: list[str], config_name: str | None = None) -> list[str]:
    """List the commands that export the networks of models, each once."""
    contracts = [read_contract(repository / model, config_name) for model in models]
    return sorted(
        {f"python -m export {contract.parameters.get(EXPORT_PARAMETER, '')}".rstrip() for contract in contracts}
    )


def check_networks(repository: Path, models: list[str], config_name: str | None = None) -> None:
    """Check that the networks of models have been exported.

    Raises:
        ValueError: Some are missing; the message names the commands that export them.
    """
    missing = sorted({name for model in models for name in missing_networks(repository, model, config_name)})
    if missing:
        contracts = [read_contract(repository / model, config_name) for model in missing]
        files = sorted({NETWORK_FILES[contract.backend] for contract in contracts})
        commands = export_commands(repository, missing, config_name)
        raise ValueError(
            f"models: expected exported networks, got no {' or '.join(files)} of {', '.join(missing)}."
            f" Write them with: {', '.join(commands)} (see its --help)"
        )
