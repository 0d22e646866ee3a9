"""Gets published weights from Hugging Face, pinned by revision and hash; each file is downloaded once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants, get_token, try_to_load_from_cache
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from export.shared.files import cache_folder, file_sha256
from export.shared.transfer import Kind, Patience, TransferError, Watch, download
from lipsync_core.locks import lock_file

WEIGHTS_FOLDER = "weights"
PART_SUFFIX = ".part"
KEPT_S = 14 * 24 * 3600.0  # how long an unfinished file waits for the next run
PATIENCE = Patience()

AGAIN = "Run the command again to resume"
ADVICE: Mapping[Kind, str] = {
    "expired": "The network may block that host: allow it, or run the command again later to resume",
    "unreachable": "Check the network and the proxy variables, name a mirror in HF_ENDPOINT",
    "broken": AGAIN,
    "page": "A proxy or the network may want a login first: log in there and run the command again",
    "space": "Free some space, name a folder on another disk in XDG_CACHE_HOME",
    "busy": "Wait until it has ended",
}
STATUS_ADVICE: Mapping[int, str] = {
    401: "It wants a token: log in with `hf auth login`, name a token in HF_TOKEN",
    403: "Accept its terms on {page} while logged in, and name your token in HF_TOKEN",
    404: "It was removed, or the mirror in HF_ENDPOINT does not have it: unset HF_ENDPOINT if it is set",
    407: "Give the proxy's user and password in the proxy variables",
    429: "Wait some minutes and run the command again, log in with `hf auth login` for a higher limit",
}
TOKEN_REFUSED = "Your token was refused: renew it with `hf auth login`, or unset HF_TOKEN"
SERVER_FAILED = "The server has a problem: run the command again later to resume"
OTHER_REFUSAL = "The server does not give it"


@dataclass(frozen=True)
class HubFile:
    """One file on Hugging Face.

    Attributes:
        repository: Owner and name, separated by a slash.
        revision: Commit, 40 hexadecimal digits.
        file: Path in the repository.
        sha256: Hash of the content, or None where no source tells it.
    """

    repository: str
    revision: str
    file: str
    sha256: str | None

    @property
    def name(self) -> str:
        """Repository and path, for messages."""
        return f"{self.repository}/{self.file}"


def fetch(file: HubFile, option: str) -> Path:
    """Return the path of a file, downloading it if no intact copy is there.

    Copies are looked for in this project's cache and in Hugging Face's. A damaged one is not used if its hash is known.
    Unfinished files that are no longer needed are removed from this project's cache.

    Args:
        file: File to get. An interrupted download is resumed, if it is not older than two weeks.
        option: Option that takes the file instead, for the message.

    Raises:
        ValueError: The download failed, or the content has another hash.
    """
    path = cache_folder() / WEIGHTS_FOLDER / (file.sha256 or file.revision) / Path(file.file).name
    part = path.with_name(path.name + PART_SUFFIX)
    _remove_old_parts()
    for copy in (path, _hugging_face_copy(file)):
        if copy is not None and copy.is_file() and file.sha256 in (None, file_sha256(copy)):
            _remove_part(part)
            return copy
    if constants.HF_HUB_OFFLINE:
        raise ValueError(
            f"{file.name}: expected a copy in {path.parent}, as HF_HUB_OFFLINE is set, got none."
            f" Unset it, or get the file elsewhere and give it with {option}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    _download(file, part, option)
    _check_hash(file, part, option)
    part.replace(path)
    return path


def _remove_old_parts() -> None:
    """Remove unfinished files that nobody resumed, such as those of an earlier revision."""
    for part in (cache_folder() / WEIGHTS_FOLDER).glob(f"*/*{PART_SUFFIX}"):
        with suppress(OSError):
            if part.stat().st_mtime < time.time() - KEPT_S:
                _remove_part(part)


def _remove_part(part: Path) -> None:
    """Remove an unfinished file and its empty folder, unless another process writes to it."""
    with suppress(OSError), part.open("rb") as file:
        lock_file(file.fileno())
        part.unlink()
        part.parent.rmdir()


def _hugging_face_copy(file: HubFile) -> Path | None:
    found = try_to_load_from_cache(file.repository, file.file, revision=file.revision)
    return Path(found) if isinstance(found, str) else None


def _download(file: HubFile, part: Path, option: str) -> None:
    endpoint = constants.ENDPOINT
    if not endpoint.startswith(("http://", "https://")):
        raise ValueError(f"HF_ENDPOINT: expected an address that begins with https://, got {endpoint!r}. Correct it")
    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    url = f"{endpoint}/{file.repository}/resolve/{file.revision}/{file.file}"
    try:
        with _shown(file.name) as watch:
            download(url, part, token=token, watch=watch, patience=PATIENCE)
    except TransferError as error:
        kept = part.stat().st_size
        if not kept and error.kind != "busy":
            part.unlink()
        resumed = f"; the first {kept:,} bytes are kept in {part}" if kept and error.kind != "busy" else ""
        raise ValueError(
            f"{file.name}: expected a download at revision {file.revision}, got: {error.got}{resumed}."
            f" {_advice(file, endpoint, error, token)}, or get the file elsewhere and give it with {option}"
        ) from error


def _check_hash(file: HubFile, part: Path, option: str) -> None:
    found = file_sha256(part)
    if file.sha256 not in (None, found):
        part.unlink()
        raise ValueError(
            f"{file.name}: expected sha256 {file.sha256}, got {found}. It was deleted: run the command again, or give"
            f" a file that you trust with {option}"
        )


def _advice(file: HubFile, endpoint: str, error: TransferError, token: str | None) -> str:
    if error.kind in ADVICE:
        return ADVICE[error.kind]
    assert error.status is not None, "a refusal has a status"
    if error.status == 401 and token:
        return TOKEN_REFUSED
    if error.status >= 500:
        return SERVER_FAILED
    return STATUS_ADVICE.get(error.status, OTHER_REFUSAL).format(page=f"{endpoint}/{file.repository}")


@contextmanager
def _shown(name: str) -> Iterator[Watch]:
    """Show a download's progress on stderr if that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(name, total=None)

        def watch(done: int, total: int | None) -> None:
            progress.update(task, completed=done, total=total)

        yield watch
