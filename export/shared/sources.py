"""Chooses the weights of each network of a command: a given checkpoint, a download, or synthetic weights.

Also refuses to replace a network that other pipelines use, if it holds other weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from export.shared.arguments import SYNTHETIC_LINE, ExportOptions, Format, Size
from export.shared.checkpoint import check_file
from export.shared.files import file_sha256
from export.shared.hub import HubFile, fetch
from export.shared.network import Network, find_checkpoint, load_checkpoint, load_synthetic
from lipsync_core.repository import NETWORK_FILES, VERSION_FOLDER
from lipsync_core.weights import WeightsNote, note_path, read_note

FORMAT_FILES: Mapping[Format, str] = {"onnx": NETWORK_FILES["onnxruntime"], "torch": NETWORK_FILES["torch"]}
REPLACE_HINT = "Pipelines share this network: give the same weights, or replace it for all of them with --replace"


@dataclass(frozen=True)
class Source:
    """Where a command gets a network's weights from.

    Attributes:
        network: The network.
        option: Option that takes its checkpoint, such as `--unet`.
        given: Value of that option, or None.
        published: File to download if none was given, or None where there is none.
        refused: SHA-256 -> reason, for checkpoints that fit the network but were not asked for.
        trained_resolution: Edge length of the faces in training, in pixels, or None where any will do.
    """

    network: Network
    option: str
    given: Path | None
    published: HubFile | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    trained_resolution: int | None = None


@dataclass(frozen=True)
class Choice:
    """A network to export, and its weights.

    Attributes:
        source: Where the weights come from.
        checkpoint: Checkpoint file, or None for synthetic weights.
        size: Size of the network.
        note: Description of the weights, to be written beside each exported file.
    """

    source: Source
    checkpoint: Path | None
    size: Size
    note: WeightsNote

    @property
    def license_line(self) -> str:
        """The licence of the weights, or a warning that they are synthetic."""
        return self.source.network.license_line if self.checkpoint else SYNTHETIC_LINE


def choose(sources: Sequence[Source], options: ExportOptions) -> list[Choice]:
    """Choose the weights of each network; networks without weights are left out.

    Args:
        sources: Networks of the command.
        options: Values of the shared options.

    Raises:
        ValueError: No weights were given, a checkpoint does not exist or is refused, or a download failed.
    """
    _check_given(sources, options)
    choices = []
    for source in sources:
        checkpoint = _find(source, download=options.download)
        if checkpoint is not None:
            note = WeightsNote(_checked_sha256(source, checkpoint), trained_resolution=source.trained_resolution)
            choices.append(Choice(source, checkpoint, "full", note))
        elif options.seed_shift is not None:
            size = options.size if options.size in source.network.sizes else "full"
            choices.append(Choice(source, None, size, WeightsNote(seed_shift=options.seed_shift, size=size)))
    return choices


def describe_checkpoints(choices: Sequence[Choice]) -> Iterator[str]:
    """Describe each checkpoint in a line: its hash, and whether it is the published one."""
    for choice in choices:
        if choice.checkpoint is not None:
            published = choice.source.published
            known = published is not None and published.sha256 == choice.note.checkpoint_sha256
            yield f"{choice.checkpoint}: sha256 {choice.note.checkpoint_sha256}{', as published' if known else ''}"


def load_choice(choice: Choice, sources: Sequence[Source]) -> nn.Module:
    """Build a network and fill it with its weights.

    Args:
        choice: The network and its weights.
        sources: Networks of the command, whose checkpoints may have been mixed up.

    Raises:
        ValueError: The checkpoint is damaged or belongs to another network.
    """
    network = choice.source.network
    if choice.checkpoint is None:
        return load_synthetic(network, size=choice.size, seed_shift=choice.note.seed_shift or 0)
    others = {source.option: source.network for source in sources if source.network is not network}
    return load_checkpoint(network, choice.checkpoint, others=others)


def check_shared(choice: Choice, options: ExportOptions) -> None:
    """Check that a shared network would not replace one with other weights.

    Args:
        choice: The network and its weights.
        options: Values of the shared options; `replace` skips the check.

    Raises:
        ValueError: A file that would be written holds other weights, or unknown ones.
    """
    network = choice.source.network
    if not network.shared or options.replace:
        return
    for model in network.models(network.build(choice.size)):
        for file_format in options.formats:
            _check_same_weights(network_path(options.repository, model.name, file_format), choice.note)


def network_path(repository: Path, model: str, file_format: Format) -> Path:
    """Return the path at which Triton looks for a model's network in a format."""
    return repository / model / VERSION_FOLDER / FORMAT_FILES[file_format]


def _check_given(sources: Sequence[Source], options: ExportOptions) -> None:
    given = any(source.given for source in sources)
    if options.size == "small" and (given or options.download):
        raise ValueError(
            "--size: expected full with real weights, got small. Small networks have synthetic weights only"
        )
    if not (given or options.download or options.seed_shift is not None):
        downloads = any(source.published for source in sources)
        names = [source.option for source in sources] + ["--download"] * downloads
        advice = "Give downloaded checkpoints, " + "let this command download them, " * downloads
        raise ValueError(
            f"expected {', '.join(names)} or --synthetic-weights, got none. {advice}or try synthetic weights"
        )


def _find(source: Source, *, download: bool) -> Path | None:
    if source.given:
        return find_checkpoint(source.network, source.given, source.option)
    return fetch(source.published, source.option) if download and source.published else None


def _checked_sha256(source: Source, checkpoint: Path) -> str:
    check_file(checkpoint)
    sha256 = file_sha256(checkpoint)
    if sha256 in source.refused:
        raise ValueError(f"{checkpoint}: {source.refused[sha256]}")
    return sha256


def _check_same_weights(path: Path, note: WeightsNote) -> None:
    if not path.is_file():
        return
    there = read_note(path)
    if there is None:
        raise ValueError(f"{path}: expected a note on its weights in {note_path(path).name}, got none. {REPLACE_HINT}")
    if there != note:
        raise ValueError(f"{path}: expected the weights that it holds, {there}, got {note}. {REPLACE_HINT}")
