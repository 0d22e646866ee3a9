"""Notes which weights an exported network holds, in a JSON file beside it. Does not depend on Triton."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

NOTE_SUFFIX = ".weights.json"  # model.onnx.weights.json beside model.onnx


@dataclass(frozen=True)
class WeightsNote:
    """The weights of one exported network: a checkpoint's, or synthetic ones.

    Attributes:
        checkpoint_sha256: Hash of the checkpoint, or None for synthetic weights.
        seed_shift: Added to the random seed of synthetic weights, or None for a checkpoint.
        size: Size of the network: "full", or "small" as in the tests.
        trained_resolution: Edge length of the faces in training, in pixels, or None where it is unknown or any will do.
        version: Version of a checkpoint's weights as the user named it, or None where there is one only.
    """

    checkpoint_sha256: str | None = None
    seed_shift: int | None = None
    size: str = "full"
    trained_resolution: int | None = None
    version: str | None = None

    @property
    def synthetic(self) -> bool:
        """Whether the weights are synthetic."""
        return self.checkpoint_sha256 is None

    def __str__(self) -> str:
        """Describe the weights in a few words."""
        if self.checkpoint_sha256 is not None:
            return f"those of the checkpoint with sha256 {self.checkpoint_sha256}"
        return f"synthetic ones, seed {self.seed_shift}, size {self.size}"


def note_path(network: Path) -> Path:
    """Return the path of the note beside a network's file."""
    return network.with_name(network.name + NOTE_SUFFIX)


def write_note(network: Path, note: WeightsNote) -> None:
    """Write the note beside a network's file."""
    note_path(network).write_text(json.dumps(asdict(note), indent=2) + "\n", encoding="utf-8")


def read_note(network: Path) -> WeightsNote | None:
    """Read the note beside a network's file; None where there is no network or no note.

    Raises:
        ValueError: The note cannot be read.
    """
    path = note_path(network)
    if not (network.is_file() and path.is_file()):
        return None
    try:
        return WeightsNote(**json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected a note on weights, got {error}. Export the network again") from error


def read_trained_resolution(version_folder: Path) -> int | None:
    """Read the edge length of the faces that a network was trained on, in pixels; None where no note says it.

    Args:
        version_folder: Holds the network's files, one per format.

    Raises:
        ValueError: A note cannot be read, or the files hold weights of different resolutions.
    """
    networks = (path.with_name(path.name.removesuffix(NOTE_SUFFIX)) for path in version_folder.glob(f"*{NOTE_SUFFIX}"))
    notes = {network.name: read_note(network) for network in sorted(networks)}
    found = {name: note.trained_resolution for name, note in notes.items() if note and note.trained_resolution}
    if len(set(found.values())) > 1:
        files = ", ".join(f"{name} for {resolution}" for name, resolution in found.items())
        raise ValueError(
            f"{version_folder}: expected weights of one resolution, got {files}. Export the network again in both"
            " formats, or remove one file"
        )
    return next(iter(found.values()), None)
