"""Errors of storage, each a kind of the client's own."""

from __future__ import annotations

from client.errors import LipSyncError, MediaError


class StorageUnavailable(LipSyncError):
    """The storage does not answer, or refuses: trying again later may help."""

    title = "The storage of the files cannot be reached"


class StorageRefused(StorageUnavailable):
    """The storage refuses what it is asked, as the keys or the bucket are wrong: waiting does not help."""


class FileMissing(MediaError):
    """The storage has no such file."""


class AddressRefused(MediaError):
    """A web address that may not be connected to, does not answer, or has no file."""


class FileTooLarge(MediaError):
    """A file is larger than it may be."""


class DiskFull(LipSyncError):
    """The disk has no room for files that arrive."""

    title = "The disk is full"
