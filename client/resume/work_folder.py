"""Keeps the answers of an unfinished job on disk, each checked by hash. Does not depend on Triton."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np

from client.errors import MediaError
from client.media import hidden_stem, output_error
from client.stored_arrays import pack_arrays, unpack_arrays
from lipsync_core.locks import lock_file

FORMAT = "1"  # of the folder; a folder of another format is emptied
JOB_FILE, LOCK_FILE, ANSWER_SUFFIX, PART_SUFFIX = "job.json", "lock", ".answer", ".answer-part"
MAX_BYTES = 20_000_000_000  # per folder
MIN_FREE_BYTES = 500_000_000  # on its disk, for the output
HASH = "blake2b"  # as fast as reading the file


def default_work_dir(output: Path) -> Path:
    """Return the hidden folder beside an output; it is the same for every run."""
    final = output.resolve()
    return final.with_name(f"{hidden_stem(final)}.work")


def file_digest(path: Path) -> str:
    """Hash a file's content.

    Raises:
        MediaError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, HASH).hexdigest()
    except OSError as error:
        raise MediaError(about=path, expected="a readable file", got=error.strerror, advice="Check the disk") from error


class WorkFolder:
    """Answers by key, used as a context: leaving it unlocks the folder. May be used by several threads at once.

    Attributes:
        path: The folder.
        is_ours: Whether this job has locked the folder; if not, nothing is loaded or saved.
        changed: Names of the facts that differ from the run that left the folder; its answers were dropped.
        warnings: What the user should know, one sentence each.
    """

    def __init__(self, path: Path, facts: Mapping[str, str], beside: Path | None = None) -> None:
        """Open or create the folder.

        Args:
            path: The folder.
            facts: What the answers depend on, by a name for people. If one differs from the run before, the folder is
                emptied.
            beside: Another folder in which answers are looked for, which nobody writes at the time.

        Raises:
            OutputError: The folder cannot be used.
        """
        self.path = path
        self.warnings: list[str] = []
        self.changed: list[str] = []
        self._beside = beside
        self._is_full = False
        self._stored_bytes = 0
        self._guard = threading.Lock()
        facts = {**facts, "the program": FORMAT}
        try:
            path.mkdir(parents=True, exist_ok=True)
            with ExitStack() as stack:
                self._lock = stack.enter_context((path / LOCK_FILE).open("w"))
                self.is_ours = self._take_lock()
                if self.is_ours:
                    self._open_job(facts)
                stack.pop_all()  # from here on `close` closes it
        except OSError as error:
            raise output_error(path, error) from error

    def __enter__(self) -> WorkFolder:
        """Return the folder itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Unlock the folder."""
        self.close()

    def __len__(self) -> int:
        """Count the answers that this job can load."""
        is_there = self.is_ours and self.path.is_dir()
        return sum(path.suffix == ANSWER_SUFFIX for path in self.path.iterdir()) if is_there else 0

    def load(self, key: str) -> dict[str, np.ndarray] | None:
        """Return a kept answer, arrays by name; None if there is none or its file is damaged."""
        if not self.is_ours:
            return None
        found = None
        for folder in filter(None, (self.path, self._beside)):
            with suppress(OSError):
                found = found or unpack_arrays(key, _file(folder, key).read_bytes())
        return found

    def take_over(self, other: WorkFolder) -> None:
        """Move the answers of another folder here, and remove it; one that is in use stays as it is."""
        if not (self.is_ours and other.is_ours):
            return
        with suppress(OSError):
            for path in other.path.glob(f"*{ANSWER_SUFFIX}"):
                path.replace(self.path / path.name)
        other.remove()

    def save(self, key: str, answer: Mapping[str, np.ndarray]) -> None:
        """Keep an answer. If the folder or its disk is full, add a warning and keep nothing more."""
        if not self.is_ours or self._is_full:
            return
        packed = pack_arrays(key, answer)
        part = _file(self.path, key).with_suffix(f".{threading.get_ident()}{PART_SUFFIX}")
        try:
            if not self._has_room(len(packed)):
                return
            part.write_bytes(packed)
            part.replace(_file(self.path, key))
        except OSError as error:
            with suppress(OSError):
                part.unlink()
            self._stop_keeping(error.strerror or str(error))

    def remove(self) -> None:
        """Remove what was kept once the job is complete, and the folder, unless it holds something else."""
        if self.is_ours:
            with suppress(OSError):
                self._drop(ANSWER_SUFFIX, PART_SUFFIX)
                (self.path / JOB_FILE).unlink()
                (self.path / LOCK_FILE).unlink()
                self.path.rmdir()
        self.close()

    def close(self) -> None:
        """Unlock the folder and keep what is in it; safe to call again."""
        self.is_ours = False
        self._lock.close()

    def _take_lock(self) -> bool:
        try:
            lock_file(self._lock.fileno())
            return True
        except BlockingIOError:
            reason = "another job is writing this output"
        except OSError as error:
            reason = f"this disk has no file locks ({error.strerror})"
        self.warnings.append(f"{self.path}: {reason}; finished parts of this job are not kept")
        return False

    def _open_job(self, facts: Mapping[str, str]) -> None:
        job = self.path / JOB_FILE
        before = _read_facts(job)
        self.changed = [] if before is None else _differing(before, facts)
        self._drop(PART_SUFFIX)
        if before is None or self.changed:
            self._drop(ANSWER_SUFFIX)
        _write_facts(job, facts)
        self._stored_bytes = sum(path.stat().st_size for path in self.path.iterdir())

    def _has_room(self, nbytes: int) -> bool:
        with self._guard:
            self._stored_bytes += nbytes
            stored = self._stored_bytes
        if stored > MAX_BYTES:
            self._stop_keeping(f"{MAX_BYTES // 10**9} GB are kept already")
        elif shutil.disk_usage(self.path).free - nbytes < MIN_FREE_BYTES:
            self._stop_keeping("the disk is nearly full")
        return not self._is_full

    def _stop_keeping(self, reason: str) -> None:
        with self._guard:
            if not self._is_full:
                self.warnings.append(f"{self.path}: {reason}; later parts of the job are not kept")
                self._is_full = True

    def _drop(self, *suffixes: str) -> None:
        for path in self.path.iterdir():
            if path.suffix in suffixes:
                path.unlink()


def _file(folder: Path, key: str) -> Path:
    return folder / f"{key}{ANSWER_SUFFIX}"


def _read_facts(job: Path) -> dict[str, str] | None:
    """Read the facts of the run before; None if there are none that can be read."""
    try:
        facts = json.loads(job.read_text())
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None


def _write_facts(job: Path, facts: Mapping[str, str]) -> None:
    """Write this run's facts; a power loss leaves the old file or the new one."""
    part = job.with_suffix(PART_SUFFIX)
    with part.open("w") as file:
        json.dump(dict(facts), file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    part.replace(job)


def _differing(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return [name for name in dict.fromkeys([*now, *before]) if before.get(name) != now.get(name)]
