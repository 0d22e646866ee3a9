"""Where files are kept: a folder, or S3-compatible storage. Knows nothing of jobs."""

from client.storage.errors import FileMissing, StorageUnavailable
from client.storage.folder import FolderStorage
from client.storage.opening import open_storage
from client.storage.storage import Storage, StoredFacts

__all__ = [
    "FileMissing",
    "FolderStorage",
    "Storage",
    "StorageUnavailable",
    "StoredFacts",
    "open_storage",
]
