"""Exports networks to the model repository: each model compared with torch, with a note on its weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from export.shared.arguments import ExportOptions, Format, Precision
from export.shared.batch_norms import fold_batch_norms
from export.shared.comparison import difference_unit
from export.shared.graph_file import write_graph
from export.shared.network import ServedModel
from export.shared.onnx_graph import compare_graph, to_graph
from export.shared.sources import (
    Source,
    check_target,
    choose,
    describe_checkpoints,
    describe_left_out,
    describe_licenses,
    get_checkpoint,
    load_choice,
    network_path,
)
from export.shared.torch_program import write_program
from lipsync_core.config_file import read_contract
from lipsync_core.weights import note_path, write_note

COMPARED_ROWS = 3


def export_networks(sources: Sequence[Source], options: ExportOptions) -> Iterator[str]:
    """Load all networks that have weights, then export their models one by one.

    Args:
        sources: Networks of the command.
        options: Values of the shared options.

    Yields:
        Lines with the licences of the weights, before any are downloaded, and with what was read and written.

    Raises:
        ValueError: No weights were given, a checkpoint is wrong, or a shared network holds other weights, all before
            anything is written; or an exported model differs from torch or from its config.pbtxt.
    """
    choices = choose(sources, options)
    for choice in choices:  # before gigabytes are downloaded
        check_target(choice, options)
    yield from describe_licenses(choices)
    yield from describe_left_out(sources, choices)
    choices = [get_checkpoint(choice) for choice in choices]
    yield from describe_checkpoints(choices)
    modules = [load_choice(choice, sources) for choice in choices]
    for choice, module in zip(choices, modules, strict=True):
        for model in choice.source.network.models(module):
            for file_format in options.formats:
                path = network_path(options.repository, model.name, file_format)
                note_path(path).unlink(missing_ok=True)  # until the new network is complete
                yield export_model(model, options.repository, file_format, options.precision)
                write_note(path, choice.note)


def export_model(
    model: ServedModel, repository: Path, file_format: Format = "onnx", precision: Precision = "fp32"
) -> str:
    """Export one model, compare it with torch, and write it to the model repository.

    Args:
        model: The model.
        repository: Model repository.
        file_format: Format to write.
        precision: Precision of an ONNX graph.

    Returns:
        Lines with the size and SHA-256 of what was written, and with the difference from torch.

    Raises:
        ValueError: The difference exceeds the model's bound, or inputs or outputs are not those of config.pbtxt.
    """
    folded = fold_batch_norms(model.module)
    if file_format == "torch":
        return write_program(repository, model, folded)
    bound, unit = model.bounds[precision], difference_unit(read_contract(repository / model.name))
    differences: list[float] = []

    def check(path: Path) -> None:
        difference = compare_graph(path, model.module, model.trial(COMPARED_ROWS))
        if not difference <= bound:  # NaN included
            raise ValueError(
                f"{model.name}: expected ONNX within {bound:g} {unit} of torch, got {difference:.2g}."
                + (" Export it with --precision fp32" if precision == "fp16" else "")
            )
        differences.append(difference)

    written = write_graph(to_graph(model, folded, precision), repository, model.name, check)
    return (
        f"{written}\n  {precision}, largest difference from torch in fp32 {differences[0]:.2g} {unit}, bound {bound:g}"
    )
