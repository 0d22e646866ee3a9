"""Files of a job that URLs name: stand-ins in the job, copies of them where it runs. Knows nothing of batches.

A job handles paths alone. So whoever reads URLs puts a path that does not exist in the place of each, and the job's
process, on whichever machine it is, fetches the inputs into a temporary folder and stores the output from there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from client.errors import LipSyncError, OutputError
from client.job_options import JobOptions, job_from_json
from client.options import RESUME, WORK_DIR
from client.scene.files import FindFile, checked_path, files_beside
from client.storage import DiskFull
from client.storage.disk import DiskGuard
from client.storage.urls import (
    check_input_url,
    check_output_url,
    check_store,
    copy_name,
    fetch_url,
    is_s3,
    is_url,
    shown_url,
    store_url,
    url_digest,
)
from client.temporary import temporary_folder

MAX_INPUT_BYTES = 20_000_000_000  # of all copies of a job together
MIN_FREE_BYTES = 500_000_000  # on their disk, for the output
FOLDER_PREFIX = "lipsync-urls-"
OUTPUT_FOLDER = "output"  # in the temporary folder


@dataclass
class StandIns:
    """Paths in the places of URLs.

    Attributes:
        urls: stand-in -> URL.
        output: the stand-in of the output; None if that has a path.
    """

    urls: dict[str, str] = field(default_factory=dict)
    output: Path | None = None

    def input(self, text: str) -> Path:
        """Return the path that a text is, or the stand-in of the URL that it is.

        Raises:
            UsageError: neither a file nor an input can be named so.
            AddressRefused: it is no address of the public web.
            OutputError: it is the output.
        """
        path = checked_path(text)
        if not is_url(text):
            return path
        check_input_url(text)
        if _stand_in(text) == self.output:
            raise _is_an_input(text)
        return self._add(text)

    def result(self, text: str) -> Path:
        """Return the path of the output, or the stand-in of its URL.

        Raises:
            UsageError: neither a file nor an output can be named so.
            OutputError: it is one of the inputs.
        """
        path = checked_path(text)
        if not is_url(text):
            return path
        check_output_url(text)
        if str(_stand_in(text)) in self.urls:
            raise _is_an_input(text)
        self.output = self._add(text)
        return self.output

    def beside(self, script: Path) -> FindFile:
        """Return what finds the files that a script names: by URLs, or by paths from its folder on."""
        find_path = files_beside(script)
        return lambda name: self.input(name) if is_url(name) else find_path(name)

    def name_in(self, error: LipSyncError) -> None:
        """Have an error name URLs instead of stand-ins."""
        _rename(error, {path: shown_url(url) for path, url in self.urls.items()})

    def _add(self, url: str) -> Path:
        path = _stand_in(url)
        self.urls[str(path)] = url
        return path


class JobCopies:
    """Copies of the files that a job names by URL; a context manager that removes them.

    Attributes:
        tags: URL in S3 -> what changes with its file's content, of what was fetched and stored.
    """

    def __init__(self, job: JobOptions, urls: Mapping[str, str]) -> None:
        """Prepare; nothing is fetched yet.

        Args:
            job: the job, with stand-ins.
            urls: stand-in -> URL; empty for a job of this machine's own files.
        """
        self.tags: dict[str, str | None] = {}
        self._job, self._urls = job, urls
        self._names: dict[str, str] = {}  # what is on this machine -> what it is called
        self._output: Path | None = None
        self._stack = ExitStack()

    def __enter__(self) -> JobCopies:
        """Return the copies themselves."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove all copies."""
        self._stack.close()

    def fetch(self) -> JobOptions:
        """Fetch the inputs, and return the job on copies; a job of this machine's own files as it is.

        Raises:
            LipSyncError: one cannot be had; it is named by its URL.
        """
        if not self._urls:
            return self._job
        try:
            folder = self._stack.enter_context(temporary_folder(FOLDER_PREFIX))
        except OSError as error:
            raise DiskFull(f"no temporary folder can be created ({error.strerror})") from error
        copies = {stand_in: self._copy(Path(stand_in), url, folder) for stand_in, url in self._urls.items()}
        job = job_from_json(_replaced(self._job.as_json(), copies))
        if self._output is None or job.values.has(WORK_DIR):
            return job
        return job.with_options({RESUME.name: False})  # finished parts would go with the folder

    def store(self) -> None:
        """Store the output and what was written beside it, the output last; one that has a path is there already.

        Raises:
            StorageUnavailable: the storage does not answer, or refuses.
        """
        if self._output is None:
            return
        url = self._urls[str(self._job.output)]
        for path in self._output.parent.glob("[!.]*"):
            if path != self._output:
                store_url(path, url.removesuffix(self._output.name) + path.name)
        self.tags[url] = store_url(self._output, url)

    def name_in(self, error: LipSyncError) -> None:
        """Have an error name URLs instead of copies."""
        _rename(error, self._names)

    def named(self, report: dict[str, object]) -> dict[str, object]:
        """Return a report that names URLs instead of copies."""
        renamed: dict[str, object] = _renamed(report, self._names)
        return renamed

    def _copy(self, stand_in: Path, url: str, folder: Path) -> str:
        """Return the path of a file's copy, which is fetched unless it is the output's."""
        is_output = stand_in == self._job.output
        place = folder / (OUTPUT_FOLDER if is_output else str(len(self._names)))
        place.mkdir()
        path = place / stand_in.name
        self._names[str(path)] = shown_url(url)
        if is_output:
            check_store(url)
            self._output = path
        else:
            used = sum(copy.stat().st_size for copy in folder.glob("*/*"))
            tag = fetch_url(url, path, MAX_INPUT_BYTES - used, DiskGuard(folder, MIN_FREE_BYTES))
            if is_s3(url):
                self.tags[url] = tag
        return str(path)


def _is_an_input(url: str) -> OutputError:
    advice = "Choose another output name"
    return OutputError(about=shown_url(url), expected="a new file", got="one of the inputs", advice=advice)


def _stand_in(url: str) -> Path:
    """Return an absolute path for a URL where no file is."""
    return Path(os.sep).absolute() / f"lipsync-url-{url_digest(url)}" / copy_name(url)


def _replaced(value: Any, texts: Mapping[str, str]) -> Any:
    """Return JSON in which some texts are replaced."""
    return _each_text(value, lambda text: texts.get(text, text))


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """Return JSON in whose texts some words are replaced."""

    def rename(text: str) -> str:
        for path, name in names.items():
            text = text.replace(path, name)
        return text

    return _each_text(value, rename)


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _each_text(part, change) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_each_text(part, change) for part in value]
    return value


def _rename(error: LipSyncError, names: Mapping[str, str]) -> None:
    for name in ("message", "about", "expected", "got", "advice"):
        setattr(error, name, _renamed(getattr(error, name), names))
