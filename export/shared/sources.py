"""Chooses the weights of each network of a command: a given checkpoint, a download, or synthetic weights.

Also refuses to replace a network that other pipelines use, if it holds other weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from export.shared.arguments import SYNTHETIC_LINE, ExportOptions, Format, Size
from export.shared.checkpoint_file import check_file
from export.shared.files import file_sha256
from export.shared.hub import HubFile, fetch
from export.shared.network import Network, find_checkpoint, load_checkpoint, load_synthetic
from lipsync_core.network_files import NETWORK_FILES, VERSION_FOLDER
from lipsync_core.repository import check_models
from lipsync_core.weights import WeightsNote, note_path, read_note

FORMAT_FILES: Mapping[Format, str] = {"onnx": NETWORK_FILES["onnxruntime"], "torch": NETWORK_FILES["torch"]}
NOT_KNOWN_YET = ""  # hash of a file that is to be downloaded
REPLACE_HINT = "Pipelines share this network: give the same weights, or replace it for all of them with --replace"


def _no_remarks(_checkpoint: Path, _sha256: str) -> list[str]:
    return []


@dataclass(frozen=True)
class Source:
    """Where a command gets a network's weights from.

    Attributes:
        network: The network.
        option: Option that takes its checkpoint, such as `--unet`.
        given: Value of that option, or None.
        published: File to download if none was given, or None where there is none.
        refused: SHA-256, if it is known -> reason, for checkpoints that fit the network but were not asked for.
        trained_resolution: Edge length of the faces in training, in pixels, or None where any will do.
        version: Version of the weights, or None where there is one.
        sha256: Hash that the checkpoint must have, as the user trusts it, or None.
        remarks: Makes lines on a checkpoint that fits, from its path and hash, such as a warning.
        if_left_out: Line to print where the network gets no weights.
    """

    network: Network
    option: str
    given: Path | None
    published: HubFile | None = None
    refused: Mapping[str | None, str] = field(default_factory=dict)
    trained_resolution: int | None = None
    version: str | None = None
    sha256: str | None = None
    remarks: Callable[[Path, str], list[str]] = _no_remarks
    if_left_out: str = ""


@dataclass(frozen=True)
class Choice:
    """A network to export, and its weights.

    Attributes:
        source: Where the weights come from.
        checkpoint: Checkpoint file, or None for synthetic weights and for a file that is not downloaded yet.
        size: Size of the network.
        note: Description of the weights, to be written beside each exported file.
    """

    source: Source
    checkpoint: Path | None
    size: Size
    note: WeightsNote

    @property
    def pending(self) -> HubFile | None:
        """The file to download, with the hash that it must have, or None."""
        published = None if self.checkpoint or self.note.synthetic else self.source.published
        return published and replace(published, sha256=self.source.sha256 or published.sha256)


def choose(sources: Sequence[Source], options: ExportOptions) -> list[Choice]:
    """Choose the weights of each network; networks without weights are left out, and nothing is downloaded yet.

    Args:
        sources: Networks of the command.
        options: Values of the shared options.

    Raises:
        ValueError: No weights were given, or a checkpoint does not exist or is refused.
    """
    _check_given(sources, options)
    choices = []
    for source in sources:
        if source.given:
            checkpoint = find_checkpoint(source.network, source.given, source.option)
            choices.append(Choice(source, checkpoint, "full", _note(source, _checked_sha256(source, checkpoint))))
        elif options.download and source.published:
            sha256 = source.sha256 or source.published.sha256 or NOT_KNOWN_YET
            choices.append(Choice(source, None, "full", _note(source, sha256)))
        elif options.seed_shift is not None:
            size = options.size if options.size in source.network.sizes else "full"
            choices.append(Choice(source, None, size, WeightsNote(seed_shift=options.seed_shift, size=size)))
    return choices


def describe_left_out(sources: Sequence[Source], choices: Sequence[Choice]) -> Iterator[str]:
    """Yield what will not work without the networks that get no weights."""
    chosen = [choice.source for choice in choices]
    yield from (source.if_left_out for source in sources if source.if_left_out and source not in chosen)


def describe_licenses(choices: Sequence[Choice]) -> Iterator[str]:
    """Name the licence of each network's weights in a line, and where they are downloaded from."""
    for choice in choices:
        origin = f", from {choice.pending.name} on Hugging Face" if choice.pending else ""
        line = SYNTHETIC_LINE if choice.note.synthetic else choice.source.network.license_line
        yield f"{choice.source.network.title}: {line}{origin}"


def get_checkpoint(choice: Choice) -> Choice:
    """Download the checkpoint of a choice that has none yet.

    Raises:
        ValueError: The download failed.
    """
    if choice.pending is None:
        return choice
    checkpoint = fetch(choice.pending, choice.source.option)
    sha256 = choice.note.checkpoint_sha256 or file_sha256(checkpoint)
    return replace(choice, checkpoint=checkpoint, note=replace(choice.note, checkpoint_sha256=sha256))


def describe_checkpoints(choices: Sequence[Choice]) -> Iterator[str]:
    """Describe each checkpoint: its hash, whether it is the published one, and what else there is to say."""
    for choice in choices:
        source, sha256 = choice.source, choice.note.checkpoint_sha256
        if choice.checkpoint is not None and sha256 is not None:
            known = source.published is not None and source.published.sha256 == sha256
            yield f"{choice.checkpoint}: sha256 {sha256}{', as published' if known else ''}"
            yield from source.remarks(choice.checkpoint, sha256)


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


def check_target(choice: Choice, options: ExportOptions) -> None:
    """Check that a network's models have a place, and that a shared one would not replace other weights.

    Args:
        choice: The network and its weights.
        options: Values of the shared options; `replace` skips the check of the weights.

    Raises:
        ValueError: The repository lacks a model, or a file that would be written holds other weights, or unknown ones.
    """
    network = choice.source.network
    with torch.device("meta"):
        models = network.models(network.build(choice.size))
    for model in models:
        check_models(options.repository, [model.name])
        for file_format in options.formats:
            if network.shared and not options.replace:
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


def _note(source: Source, sha256: str) -> WeightsNote:
    return WeightsNote(sha256, trained_resolution=source.trained_resolution, version=source.version)


def _checked_sha256(source: Source, checkpoint: Path) -> str:
    check_file(checkpoint)
    sha256 = file_sha256(checkpoint)
    if sha256 in source.refused:
        raise ValueError(f"{checkpoint}: {source.refused[sha256]}")
    if source.sha256 not in (None, sha256):
        raise ValueError(
            f"{checkpoint}: expected sha256 {source.sha256}, as pinned, got {sha256}. Give the file that was pinned"
        )
    return sha256


def _check_same_weights(path: Path, note: WeightsNote) -> None:
    if not path.is_file():
        return
    there = read_note(path)
    if there is None:
        raise ValueError(f"{path}: expected a note on its weights in {note_path(path).name}, got none. {REPLACE_HINT}")
    if there != note:
        raise ValueError(f"{path}: expected the weights that it holds, {there}, got {note}. {REPLACE_HINT}")
