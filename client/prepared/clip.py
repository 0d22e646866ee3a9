"""A prepared clip: one folder with the video, its faces, its speaker's mouth, and what a pipeline knows of each frame.

Arrays are kept in parts of some frames each. Every part is checked by hash when it is read, and belongs to one clip: a
part of another one counts as damaged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from client.errors import MediaError
from client.option_kinds import Json
from client.resume.work_folder import file_digest
from client.stored_arrays import pack_arrays, unpack_arrays
from lipsync_core.mouth import MouthProfile

FORMAT = 1  # of the folder; raised whenever what is kept changes its meaning
MANIFEST, VIDEO_STEM, PART_SUFFIX = "clip.json", "clip", ".arrays"
FACES, ANALYSIS, MOUTH = "faces", "analysis", "mouth"  # kinds of parts
FACES_PER_PART = 64  # frames
AGAIN = "Prepare the clip again"
WANTED = "a folder that lipsync prepare wrote"
DIGEST_BYTES = 16


@dataclass(frozen=True)
class Manifest:
    """What a folder says about itself.

    Attributes:
        options: option name -> value as JSON, of all options that the analysis depends on.
        video: name of the video in the folder.
        video_digest: hash of its content.
        weights: model -> hash of the notes on its weights, of the models that were asked; empty where they are not
            known.
        frames: number of frames.
        analysed: frames per part of the pipeline's own analysis; 0 without one.
        has_mouth: whether the speaker's mouth was learned.
    """

    options: Mapping[str, Json]
    video: str
    video_digest: str
    weights: Mapping[str, str]
    frames: int = 0
    analysed: int = 0
    has_mouth: bool = False

    @property
    def id(self) -> str:
        """Hash of all that the parts depend on."""
        return _hash([FORMAT, self.options, self.video_digest, self.weights])

    @property
    def digest(self) -> str:
        """Hash of all that the manifest says."""
        return _hash([FORMAT, vars(self)])

    def as_json(self) -> str:
        """Return the text of the manifest."""
        return json.dumps({"format": FORMAT, **vars(self), "digest": self.digest}, indent=1) + "\n"


class PreparedClip:
    """A prepared clip as it is on disk; its parts are read when they are asked for."""

    def __init__(self, folder: Path) -> None:
        """Read the manifest.

        Raises:
            MediaError: the folder is no prepared clip, or one of another format.
        """
        self.folder = folder
        self.manifest = _read_manifest(folder)

    @property
    def video(self) -> Path:
        """The clip's video."""
        return self.folder / self.manifest.video

    def check_video(self) -> None:
        """Check that the video is the one that was analysed.

        Raises:
            MediaError: it is another one, or cannot be read.
        """
        if file_digest(self.video) != self.manifest.video_digest:
            raise MediaError(
                about=self.video, expected="the video that was prepared", got="another content", advice=AGAIN
            )

    def faces(self, number: int) -> dict[str, np.ndarray]:
        """Return all faces of FACES_PER_PART frames, see `client.prepared.known`."""
        return self._part(FACES, number)

    def analysis(self, number: int) -> dict[str, np.ndarray]:
        """Return what the pipeline knows of the next `manifest.analysed` frames, see `client.prepared.known`."""
        return self._part(ANALYSIS, number)

    def mouth_profile(self) -> MouthProfile | None:
        """Return the speaker's mouth; None where no sample showed it."""
        return MouthProfile(**self._part(MOUTH, 0)) if self.manifest.has_mouth else None

    def _part(self, kind: str, number: int) -> dict[str, np.ndarray]:
        path = self.folder / part_name(kind, number)
        try:
            arrays = unpack_arrays(part_key(self.manifest, kind, number), path.read_bytes())
        except OSError as error:
            self._check_unchanged()
            raise MediaError(about=path, expected="a readable file", got=error.strerror, advice=AGAIN) from error
        if arrays is None:
            self._check_unchanged()
            raise MediaError(about=path, expected="a part of this clip", got="a damaged one", advice=AGAIN)
        return arrays

    def _check_unchanged(self) -> None:
        """Check that the folder was not replaced since it was opened.

        Raises:
            MediaError: it was.
        """
        if _read_manifest(self.folder).digest != self.manifest.digest:
            raise MediaError(
                about=self.folder,
                expected="the clip that the job began with",
                got="one that was prepared since",
                advice="Run the job again",
            )


def part_name(kind: str, number: int) -> str:
    """Return the file name of a part."""
    return f"{kind}-{number:06d}{PART_SUFFIX}"


def part_key(manifest: Manifest, kind: str, number: int) -> str:
    """Return the key that a part is packed under."""
    return f"{manifest.id}/{part_name(kind, number)}"


def pack_part(manifest: Manifest, kind: str, number: int, arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return the content of a part's file."""
    return pack_arrays(part_key(manifest, kind, number), arrays)


def is_own_file(path: Path) -> bool:
    """Say whether a file has a name that a prepared clip's files have."""
    return path.name == MANIFEST or path.suffix == PART_SUFFIX or path.stem == VIDEO_STEM


def _hash(facts: object) -> str:
    content = json.dumps(facts, sort_keys=True).encode()
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).hexdigest()


def _read_manifest(folder: Path) -> Manifest:
    try:
        fields = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        got = f"no {MANIFEST} in it" if isinstance(error, FileNotFoundError) else f"an unreadable {MANIFEST}"
        raise MediaError(about=folder, expected=WANTED, got=got) from error
    found = fields.pop("format", None) if isinstance(fields, dict) else None
    if found != FORMAT:
        raise MediaError(about=folder, expected=f"{WANTED}, of format {FORMAT}", got=found, advice=AGAIN)
    digest = fields.pop("digest", None)
    try:
        manifest = Manifest(**fields)
        if manifest.digest == digest:
            return manifest
    except TypeError:  # other fields
        pass
    raise MediaError(about=folder, expected=WANTED, got=f"a damaged {MANIFEST}", advice=AGAIN)
