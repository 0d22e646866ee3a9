"""Where files are kept, in a folder or in S3-compatible storage, and how the web's are fetched. Knows no jobs."""

from client.storage.errors import (
    AddressRefused,
    DiskFull,
    FileMissing,
    FileTooLarge,
    StorageRefused,
    StorageUnavailable,
)
from client.storage.folder import FolderStorage
from client.storage.opening import open_storage
from client.storage.storage import Storage, StoredFacts

__all__ = [
    "AddressRefused",
    "DiskFull",
    "FileMissing",
    "FileTooLarge",
    "FolderStorage",
    "Storage",
    "StorageRefused",
    "StorageUnavailable",
    "StoredFacts",
    "open_storage",
]
