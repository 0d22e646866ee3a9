"""The files of jobs: in the jobs' folders, or in a storage that services and workers share."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from client.errors import UsageError
from client.flushing import flush
from client.storage import Storage, StorageUnavailable, StoredFacts, open_storage
from client.web.job_settings import PARTS_FOLDER, PROGRESSIVE_FILE
from client.web.settings import Settings
from client.web.store import JobStore
from client.web.stored_file import is_stored

DATA_FOLDER = "the data folder"
MEDIA_NAME = "media"  # of the files' address, in what the services agree on
WAIT_FIRST_S, WAIT_MOST_S = 0.5, 10.0  # between attempts while a storage does not answer
logger = logging.getLogger("client.web")


class JobMedia:
    """The files of jobs. With a storage, the folders on this machine are only copies."""

    def __init__(self, settings: Settings) -> None:
        """Use the folders and the storage that the settings name.

        Raises:
            UsageError: the storage cannot be used.
        """
        self._settings = settings
        self.storage: Storage | None = None
        if settings.media is not None:
            try:
                self.storage = open_storage(settings.media)
            except UsageError as error:
                error.options = ("media",)
                raise

    @property
    def address(self) -> str:
        """Where the files are; a data folder with records of its own may move."""
        if self.storage is not None:
            return self.storage.address
        return DATA_FOLDER if self._settings.store is None else str(self._settings.data)

    def check(self) -> None:
        """Check that the storage can be used, before anything is served.

        Raises:
            UsageError: it cannot.
        """
        try:
            if self.storage is not None:
                self.storage.check()
        except StorageUnavailable as error:
            raise UsageError(
                option="media",
                expected="a storage that can be used",
                got=str(error),
                advice="Check the address, and the keys in the environment",
            ) from error

    def folder(self, job_id: str) -> Path:
        """Return the folder on this machine of a job's files or, with a storage, of copies."""
        return self._settings.job_folder(job_id)

    def facts(self, job_id: str, name: str) -> StoredFacts | None:
        """Return what is known of a file in the storage; None if there is none.

        Raises:
            StorageUnavailable: the storage does not answer.
        """
        assert self.storage is not None
        return self.storage.facts(f"{job_id}/{name}")

    def has(self, job_id: str, name: str) -> bool:
        """Return whether a job has a file.

        Raises:
            StorageUnavailable: the storage does not answer.
        """
        if self.storage is None:
            return is_stored(self.folder(job_id) / name)
        return self.facts(job_id, name) is not None

    def is_gone(self, job_id: str) -> bool:
        """Return whether the files of a job are known to be gone; with a storage, its worker will see."""
        return self.storage is None and not self.folder(job_id).is_dir()

    def keep(self, job_id: str) -> None:
        """Put all files of a job's folder into the storage, and remove the copies.

        Raises:
            StorageUnavailable: the storage does not answer; the files are still here.
        """
        if self.storage is not None:
            for path in sorted(self.folder(job_id).iterdir()):
                self.put(job_id, path)
            self.drop_copies(job_id)

    def put(self, job_id: str, path: Path) -> None:
        """Put a file of a job into the storage; without one, it stays where it is.

        Raises:
            StorageUnavailable: the storage does not answer.
        """
        if self.storage is not None:
            self.storage.put(path, f"{job_id}/{path.name}")

    def fetch(self, job_id: str, names: Iterable[str], folder: Path | None = None) -> Path:
        """Copy files of a job from the storage to a folder, if they are not there already; returns the folder.

        Raises:
            FileMissing: the storage lacks one.
            StorageUnavailable: the storage does not answer.
        """
        target = folder or self.folder(job_id)
        if self.storage is None:
            return self.folder(job_id)
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in names:
            if not is_stored(target / name):
                self.storage.get(f"{job_id}/{name}", target / name)
        return target

    def show(self, job_id: str, name: str) -> Path:
        """Return the path of a file to look at on this machine: the job's own, or a copy for a while.

        Raises:
            FileMissing: the storage lacks it.
            StorageUnavailable: the storage does not answer.
        """
        return self.fetch(job_id, [name], self._settings.shown_folder / job_id) / name

    def take(self, upload: Path, job_id: str) -> None:
        """Turn a folder of uploads into a job's; it survives a power cut once this returns.

        Raises:
            StorageUnavailable: the storage does not answer; nothing of the job is left.
        """
        os.utime(upload)  # it may have taken long, and old folders without a job are removed
        upload.rename(self.folder(job_id))
        flush(self._settings.jobs_folder)
        try:
            self.keep(job_id)
        except BaseException:
            self.forget(job_id)  # its first files may be stored already
            raise

    def drop_unfinished(self, job_id: str) -> None:
        """Remove what an unfinished run of a job left on this machine."""
        shutil.rmtree(self.folder(job_id) / PARTS_FOLDER, ignore_errors=True)
        with suppress(OSError):
            (self.folder(job_id) / PROGRESSIVE_FILE).unlink()

    def drop_copies(self, job_id: str) -> None:
        """Remove a job's folder of this machine, if a storage has the files."""
        if self.storage is not None:
            shutil.rmtree(self.folder(job_id), ignore_errors=True)

    def remove(self, job_id: str) -> None:
        """Remove all files of a job.

        Raises:
            StorageUnavailable: the storage does not answer; some may be left.
        """
        shutil.rmtree(self.folder(job_id), ignore_errors=True)
        if self.storage is not None:
            shutil.rmtree(self._settings.shown_folder / job_id, ignore_errors=True)
            self.storage.remove(job_id)

    def forget(self, job_id: str) -> None:
        """Remove all files of a job that is not recorded; if the storage does not answer, `remove_leftovers` does."""
        try:
            self.remove(job_id)
        except StorageUnavailable:
            with suppress(OSError):
                self._settings.leftovers_folder.mkdir(mode=0o700, exist_ok=True)
                (self._settings.leftovers_folder / job_id).touch()

    def remove_leftovers(self) -> None:
        """Remove what could not be removed before, as far as the storage answers."""
        folder = self._settings.leftovers_folder
        with suppress(StorageUnavailable):
            for name in folder.iterdir() if folder.is_dir() else ():
                self.remove(name.name)
                name.unlink(missing_ok=True)


def check_same_files(store: JobStore, media: JobMedia) -> None:
    """Check that all services and workers of the records keep the files in one place; the first to start says where.

    Raises:
        UsageError: this one would look elsewhere, and not find the files of the others' jobs.
    """
    known = store.shared_bytes(MEDIA_NAME, media.address.encode()).decode()
    if known != media.address:
        raise UsageError(
            option="media",
            expected=f"{known}, where the jobs of these records have their files",
            got=media.address,
            advice="Give all services and workers the same address",
        )


def wait_for_storage(step: Callable[[], None], what: str) -> None:
    """Do what needs the storage, however long that does not answer; a signal ends the wait."""
    wait_s, is_told = WAIT_FIRST_S, False
    while True:
        try:
            return step()
        except StorageUnavailable as error:
            if not is_told:
                logger.warning("%s waits for the storage: %s", what, error)
            is_told = True
        time.sleep(wait_s)
        wait_s = min(2 * wait_s, WAIT_MOST_S)
