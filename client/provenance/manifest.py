"""What a manifest says: the actions, the inputs, and an assertion of ours. No path, user name, token or picture."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from client.errors import MediaError

PRODUCT = "lipsync-triton"
ASSERTION = "org.lipsync-triton.job"
FORMAT = 1  # of the assertion
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
MAX_SPANS = 1000

Role = Literal["source", "voice"]
RELATIONS: dict[Role, str] = {"source": "parentOf", "voice": "inputTo"}


@dataclass(frozen=True)
class Input:
    """A file that the result was made from.

    Attributes:
        path: the file; its base name enters the manifest.
        role: what it gives.
        sha256: hash of its content, hexadecimal.
        nbytes: its size.
    """

    path: Path
    role: Role
    sha256: str
    nbytes: int

    @classmethod
    def read(cls, path: Path, role: Role) -> Input:
        """Hash a file.

        Raises:
            MediaError: it cannot be read.
        """
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            return cls(path, role, digest, path.stat().st_size)
        except OSError as error:
            raise MediaError(about=path, expected="a readable file", got=error.strerror) from error

    @property
    def id(self) -> str:
        """What names it within the manifest, and tells which content is meant."""
        return f"urn:sha256:{self.sha256}:{self.role}"

    @property
    def ingredient(self) -> dict[str, object]:
        """The ingredient's definition for c2pa-python."""
        return {"title": self.path.name, "relationship": RELATIONS[self.role], "instance_id": self.id}


@dataclass(frozen=True)
class Statement:
    """What is said of one result.

    Attributes:
        title: base name of the result.
        pipeline: name of the pipeline.
        models: model on the server -> which version answered.
        seed: seed of the random numbers; None where none were drawn.
        inputs: the files that it was made from.
        changed: [start, end] of changed spans in seconds of the result.
        changed_frames, frames: how many frames were changed, of how many.
        duration_s: duration of the result, in seconds.
        size: width and height of the picture, in pixels.
        is_marked: whether changed regions carry the mark.
        pictures: digests of the encoded pictures, see `client.provenance.packets`.
        made_at: when, by this machine's clock.
    """

    title: str
    pipeline: str
    models: dict[str, str]
    seed: int | None
    inputs: Sequence[Input]
    changed: Sequence[Sequence[float]]
    changed_frames: int
    frames: int
    duration_s: float
    size: tuple[int, int]
    is_marked: bool
    pictures: dict[str, object]
    made_at: datetime.datetime

    def definition(self) -> dict[str, object]:
        """Return the manifest's definition for c2pa-python."""
        assertions = [
            {"label": "c2pa.actions", "data": {"actions": list(self._actions())}},
            {"label": ASSERTION, "data": self._job()},
        ]
        return {
            "claim_generator_info": [{"name": PRODUCT, "version": program_version()}],
            "title": self.title,
            "assertions": assertions,
        }

    def _actions(self) -> list[dict[str, object]]:
        of_role = {role: [item.id for item in self.inputs if item.role == role] for role in RELATIONS}
        edited: dict[str, object] = {
            "action": "c2pa.edited",
            "when": self.made_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "digitalSourceType": SOURCE_TYPE,
            "parameters": {"ingredientIds": of_role["voice"], "description": "mouth generated from speech"},
        }
        return [{"action": "c2pa.opened", "parameters": {"ingredientIds": of_role["source"]}}, edited]

    def _job(self) -> dict[str, object]:
        return {
            "format": FORMAT,
            "version": program_version(),
            "pipeline": self.pipeline,
            "models": self.models,
            "seed": self.seed,
            "inputs": [
                {"name": item.path.name, "role": item.role, "sha256": item.sha256, "bytes": item.nbytes}
                for item in self.inputs
            ],
            "changed_spans": [list(span) for span in self.changed],
            "changed_frames": self.changed_frames,
            "frames": self.frames,
            "duration_s": self.duration_s,
            "size": list(self.size),
            "marked": self.is_marked,
            "pictures": self.pictures,
        }


def program_version() -> str:
    """Return the version of this program."""
    try:
        return version(PRODUCT)
    except PackageNotFoundError:
        return "0"
