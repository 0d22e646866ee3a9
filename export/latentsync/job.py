"""What the `latentsync` command does once its options are known: find the weights, load all, export each model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from export.latentsync import download as hub
from export.latentsync.graph import export
from export.latentsync.networks import NETWORKS, UNET, VAE, WHISPER, checkpoint_file, load
from export.shared.external_data import file_sha256
from export.shared.model_file import note_weights
from export.shared.torch_onnx import Format, GraphPlan, Precision
from export.shared.torch_program import write_program
from export.wav2lip.command import SYNTHETIC_LINE
from lipsync_core.latentsync.options import RESOLUTION_FILE, RESOLUTIONS
from lipsync_core.repository import VERSION_FOLDER


def find_checkpoints(given: Mapping[str, Path | None], *, download: bool, version: hub.Version) -> dict[str, Path]:
    """Say which file each network is loaded from, by its option, and print the files' hashes.

    Args:
        given: option -> the user's file or folder, if any.
        download: get the others from Hugging Face.
        version: of the UNet.

    Raises:
        ValueError: no such file, a failed download, or a UNet of the other version.
    """
    files = {UNET.option: hub.UNETS[version], VAE.option: hub.VAE, WHISPER.option: hub.WHISPER}
    paths: dict[str, Path] = {}
    for network in NETWORKS:
        path = given[network.option]
        if path:
            paths[network.option] = checkpoint_file(path, network)
        elif download:
            paths[network.option] = hub.fetch(files[network.option], network.option)
    for option, path in paths.items():
        if path.is_file():  # else loading says what is missing
            sha256 = file_sha256(path)
            if option == UNET.option:
                hub.check_version(path, sha256, version)
            print(f"{path}: sha256 {sha256}{', as published' if sha256 == files[option].sha256 else ''}", flush=True)
    return paths


def export_all(
    paths: Mapping[str, Path],
    *,
    seed_shift: int | None,
    small: bool,
    version: hub.Version,
    precision: Precision,
    repository: Path,
    formats: Sequence[Format] = ("onnx",),
) -> Iterator[str]:
    """Load every network, then export its models one by one; each line says what was written.

    Args:
        paths: option -> checkpoint.
        seed_shift: of made-up weights for the networks without checkpoint; None leaves these out.
        small: build the tests' small networks.
        version: of the UNet that is loaded; its resolution is noted beside it.
        precision: of an ONNX graph's weights and computing; inputs and outputs stay float32.
        repository: the model repository.
        formats: what is written of each model.

    Raises:
        ValueError: a wrong checkpoint, before anything is written; a graph unlike torch or its config.pbtxt.
    """
    chosen = [network for network in NETWORKS if network.option in paths or seed_shift is not None]
    modules = [load(network, paths.get(network.option), small=small, seed_shift=seed_shift or 0) for network in chosen]
    for network, module in zip(chosen, modules, strict=True):
        for part in network.parts(module):
            if "onnx" in formats:
                yield export(part, precision, repository)
            if "torch" in formats:
                plan = GraphPlan(part.trial(2), part.free_axes, part.outputs)
                yield write_program(repository, part.model, part.module, plan, part.trial)
            for to_format in formats:
                note_weights(repository, part.model, to_format, synthetic=network.option not in paths)
        if network is UNET:
            note_resolution(repository / "latentsync_unet" / VERSION_FOLDER, version if UNET.option in paths else None)
        yield f"  {network.license_line if network.option in paths else SYNTHETIC_LINE}"


def note_resolution(folder: Path, version: hub.Version | None) -> None:
    """Note in the UNet's version folder what its weights were trained on; made-up ones, None, serve any resolution."""
    path = folder / RESOLUTION_FILE
    path.unlink(missing_ok=True)
    if version is not None:
        path.write_text(f"{RESOLUTIONS[version]}\n", encoding="utf-8")
