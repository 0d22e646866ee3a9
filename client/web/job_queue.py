"""The durable queue of job ids: huey on SQLite, or on Redis for workers of several services."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from huey import Huey, RedisHuey, SqliteHuey
from huey.consumer import Consumer
from huey.registry import Message
from huey.serializer import Serializer

from client.web.settings import Settings
from client.web.store import BUSY_TIMEOUT_S

QUEUE_NAME = "lipsync"
POLL_S, MAX_POLL_S = 0.1, 0.5
logger = logging.getLogger("client.web")


class JobQueue:
    """Job ids, first in, first out. An id that is queued twice runs once, because running it claims its record."""

    def __init__(self, settings: Settings) -> None:
        """Open the queue."""
        self._huey = _open_huey(settings)
        self._run: Callable[[str], None] | None = None
        self._task = self._huey.task(name="run_job")(self._run_job)

    def put(self, job_id: str) -> None:
        """Add a job at the end."""
        self._task(job_id)

    def waiting(self) -> set[str]:
        """Return the ids in the queue."""
        return {task.args[0] for task in self._huey.pending()}

    def consumer(self, run: Callable[[str], None], workers: int) -> Consumer:
        """Prepare threads that take jobs from the queue and run them."""
        self._run = run
        return _Consumer(
            self._huey,
            workers=workers,
            periodic=False,
            initial_delay=POLL_S,
            max_delay=MAX_POLL_S,
            worker_type="thread",
        )

    def _run_job(self, job_id: str) -> None:
        assert self._run is not None
        self._run(job_id)


class _Consumer(Consumer):  # type: ignore[misc]  # huey carries no types
    def _set_signal_handlers(self) -> None:
        """Leave signals to the service."""


class _JsonSerializer(Serializer):  # type: ignore[misc]  # huey carries no types
    """Messages as JSON, so that data from a queue server is never run as code."""

    def _serialize(self, data: Message) -> bytes:
        return json.dumps(data._asdict()).encode()

    def _deserialize(self, data: bytes) -> Message:
        fields = json.loads(data)
        return Message(**fields | {"args": tuple(fields["args"])})


def _open_huey(settings: Settings) -> Huey:
    if settings.redis_url is not None:
        return RedisHuey(QUEUE_NAME, url=settings.redis_url, results=False, serializer=_JsonSerializer())
    file = settings.data / "queue.sqlite3"
    _remove_damaged(file)
    return SqliteHuey(
        QUEUE_NAME, filename=str(file), results=False, strict_fifo=True, fsync=True, serializer=_JsonSerializer()
    )


def _remove_damaged(file: Path) -> None:
    """Move a damaged queue away; it is filled again from the jobs' records."""
    with closing(sqlite3.connect(file, timeout=BUSY_TIMEOUT_S)) as db:
        try:
            is_good = db.execute("pragma quick_check(1)").fetchone() == ("ok",)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            is_good = False
    if not is_good:
        file.replace(file.with_suffix(".damaged"))
        logger.warning("the queue in %s was damaged; it is filled again from the jobs' records", file)
