from __future__ import annotations

from pathlib import Path

import pytest

from lipsync_core.config_file import read_contract
from lipsync_core.contract import EnsembleStep, ModelContract

REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"
MODELS = sorted(path for path in REPOSITORY.iterdir() if path.is_dir())
CONTRACTS = {path.name: read_contract(path) for path in MODELS}
FLAVOURS = sorted(REPOSITORY.glob("*/configs/*.pbtxt"))
ENSEMBLES = [contract for contract in CONTRACTS.values() if contract.steps]


@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.name)
def test_every_folder_is_a_model(model: Path) -> None:
    """Each has a config, a version folder that git keeps, a two-line comment, and no second name."""
    tracked = [*(model / "1").glob(".gitkeep"), *(model / "1").glob("model.py")]
    assert tracked, f"{model.name}/1 is empty in a fresh clone"
    lines = (model / "config.pbtxt").read_text().splitlines()
    assert [line.startswith("#") for line in lines[:3]] == [True, True, False]
    assert not any(line.startswith("name:") for line in lines)
    assert CONTRACTS[model.name].inputs
    assert CONTRACTS[model.name].outputs


@pytest.mark.parametrize("flavour", FLAVOURS, ids=lambda path: f"{path.parent.parent.name}-{path.stem}")
def test_a_flavour_takes_and_gives_the_same(flavour: Path) -> None:
    """Clients and ensembles can't tell which one is served."""
    model = flavour.parent.parent
    plain, other = CONTRACTS[model.name], read_contract(model, flavour.stem)
    assert (other.backend, other.parameters) != (plain.backend, plain.parameters)
    assert (other.inputs, other.outputs) == (plain.inputs, plain.outputs)
    assert other.max_batch_size == plain.max_batch_size


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=lambda contract: contract.name)
def test_needed_models_are_there(contract: ModelContract) -> None:
    """What an ensemble chains and what a model calls exists in the repository."""
    assert {*contract.needs, *contract.optional_calls} <= set(CONTRACTS)


@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.name)
def test_only_slow_entrances_have_a_queue_policy(model: Path) -> None:
    """LatentSync's chunks take seconds; there two levels are worth it, and a bound: each request holds its frames.

    With a policy Triton may notice only after half a second that an instance is free (see docs/serving.md), which
    fast models would pay at each request. Behind the entrance a refusal would waste the work before it.
    """
    policy = "priority_levels: 2 default_priority_level: 1 default_queue_policy { max_queue_size: 32 }"
    for path in [model / "config.pbtxt", *model.glob("configs/*.pbtxt")]:
        text = path.read_text()
        assert (f"dynamic_batching {{ {policy} }}" in text) is (model.name == "latentsync"), path
        assert ("queue_policy" in text) is (model.name == "latentsync"), path


def test_requests_of_streams_wait_in_the_batchers_queue() -> None:
    """Where more than 1,000 wait outside of it, Triton frees memory that other models' batchers use (docs/serving.md).

    `python -m perf live --pace fast --sessions 2` then ends within minutes.
    """
    assert "dynamic_batching { }" in (REPOSITORY / "live" / "config.pbtxt").read_text()


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=lambda contract: contract.name)
def test_no_output_carries_an_inputs_name(contract: ModelContract) -> None:
    """In an ensemble that takes the server down at the first request; elsewhere it confuses readers."""
    assert not {spec.name for spec in contract.inputs} & {spec.name for spec in contract.outputs}


@pytest.mark.parametrize("ensemble", ENSEMBLES, ids=lambda contract: contract.name)
def test_ensemble_wiring_closes(ensemble: ModelContract) -> None:
    """Every tensor is an input of the ensemble or made by a step, and has one dtype at both ends."""
    dtypes = {spec.name: spec.dtype for spec in ensemble.inputs}
    for step in ensemble.steps:
        outputs = {spec.name: spec for spec in CONTRACTS[step.model].outputs}
        dtypes |= {tensor: outputs[name].dtype for name, tensor in step.output_map.items()}
    for step in ensemble.steps:
        inputs = {spec.name: spec for spec in CONTRACTS[step.model].inputs}
        required = {name for name, spec in inputs.items() if not spec.optional}
        assert required <= set(step.input_map)
        for name, tensor in step.input_map.items():
            assert inputs[name].dtype == dtypes[tensor]
    for spec in ensemble.outputs:
        assert dtypes[spec.name] == spec.dtype


@pytest.mark.parametrize("ensemble", ENSEMBLES, ids=lambda contract: contract.name)
def test_an_ensembles_steps_run_one_after_another(ensemble: ModelContract) -> None:
    """Of two steps that start at once, one that fails at once can end all of tritonserver (seen on 2.51).

    The failing step answers the client while another thread still starts the other step. Then both answer, the second
    with what the first one freed, or each waits for the lock that the other holds.
    """
    known = {spec.name for spec in ensemble.inputs}
    for step in ensemble.steps:
        ready = [other.model for other in ensemble.steps if _is_ready(other, known)]
        assert ready == [step.model]
        known |= set(step.output_map.values())


def _is_ready(step: EnsembleStep, known: set[str]) -> bool:
    return set(step.input_map.values()) <= known and not set(step.output_map.values()) <= known


@pytest.mark.parametrize("ensemble", ENSEMBLES, ids=lambda contract: contract.name)
def test_optional_inputs_are_optional_where_they_arrive(ensemble: ModelContract) -> None:
    """A step can only miss an ensemble's optional input if it marks it optional itself."""
    optional = {spec.name for spec in ensemble.inputs if spec.optional}
    for step in ensemble.steps:
        inputs = {spec.name: spec for spec in CONTRACTS[step.model].inputs}
        for name, tensor in step.input_map.items():
            if tensor in optional:
                assert inputs[name].optional, f"{step.model}: {name}"
