"""Downloads published weights from Hugging Face, pinned by revision and hash."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError

from export.shared.files import file_sha256


@dataclass(frozen=True)
class HubFile:
    """One file on Hugging Face.

    Attributes:
        repository: Owner and name, separated by a slash.
        revision: Commit, 40 hexadecimal digits.
        file: Path in the repository.
        sha256: Hash of the content.
    """

    repository: str
    revision: str
    file: str
    sha256: str


def fetch(file: HubFile, option: str) -> Path:
    """Return the path of a file in Hugging Face's cache, downloading it if needed.

    Args:
        file: File to get. A partial download is resumed.
        option: Option that takes the file instead, for the message.

    Raises:
        ValueError: The download failed, or the content has another hash.
    """
    name = f"{file.repository}/{file.file}"
    try:
        path = Path(hf_hub_download(file.repository, file.file, revision=file.revision))
    except (HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"{name}: expected a download at revision {file.revision}, got: {reason}. Run the command again to resume,"
            f" or get the file elsewhere and give it with {option}"
        ) from error
    found = file_sha256(path)
    if found != file.sha256:
        raise ValueError(
            f"{name}: expected sha256 {file.sha256}, got {found}. Delete {path} and run the command again, or give a"
            f" file that you trust with {option}"
        )
    return path
