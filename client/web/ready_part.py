"""Finds what is ready of a running job's result: the progressive file that its process writes on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from client.media.playable import media_type_with_codecs
from client.web.job_media import JobMedia
from client.web.job_record import JobRecord
from client.web.job_settings import PROGRESSIVE_FILE
from client.web.store import LIP_SYNCING
from client.web.stored_file import is_stored

HEAD_BYTES = 65_536  # hold the header of such a file
OLDER_S = 10.0  # by how much the clocks of this machine and of the records may differ


@dataclass(frozen=True)
class ReadyPart:
    """A progressive file that can be played.

    Attributes:
        path: the file.
        media_type: its type with the codecs, as browsers ask for them.
    """

    path: Path
    media_type: str


def find_ready_part(media: JobMedia, record: JobRecord) -> ReadyPart | None:
    """Return the progressive file of a job; None if there is none to play, or the job runs on another machine."""
    if record.state != "running" or record.stage != LIP_SYNCING:
        return None
    path = media.folder(record.id) / PROGRESSIVE_FILE
    try:
        if not is_stored(path) or path.stat().st_mtime < (record.stage_started_at or 0) - OLDER_S:
            return None  # the latter: left by a worker that was killed, before another machine took the job over
        with path.open("rb") as file:
            media_type = media_type_with_codecs(file.read(HEAD_BYTES))
    except OSError:  # the job has just ended
        return None
    return None if media_type is None else ReadyPart(path, media_type)
