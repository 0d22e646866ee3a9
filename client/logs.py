"""Sets up logging on stderr: JSON lines for machines, or warnings as text for people."""

from __future__ import annotations

import datetime
import json
import logging
import sys

from client.errors import LipSyncError
from client.option import flag

LOGGER = "client"  # parent of all our loggers
PREFIX = "lipsync: "
# Extra fields of a record that a JSON line may contain.
FIELDS = ("job", "request", "model", "server", "seconds", "stage", "frames", "attempt", "error", "exit_code")


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON: time (UTC), level, logger, message, extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "time": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def set_up_logs(*, as_json: bool, quiet: bool) -> logging.Handler:
    """Send our logs to stderr: JSON from DEBUG up, or text from WARNING up (ERROR if quiet).

    Returns:
        The handler, for `take_down_logs`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_spell_options)
    handler.setFormatter(JsonFormatter() if as_json else logging.Formatter(f"{PREFIX}%(message)s"))
    logger = logging.getLogger(LOGGER)
    logger.setLevel(logging.DEBUG if as_json else logging.ERROR if quiet else logging.WARNING)
    logger.propagate = False
    logger.addHandler(handler)
    return handler


def take_down_logs(handler: logging.Handler) -> None:
    """Undo `set_up_logs`."""
    logger = logging.getLogger(LOGGER)
    logger.removeHandler(handler)
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


def _spell_options(record: logging.LogRecord) -> bool:
    """Spell options as the command line does, in errors that are a message's arguments or its field `error`."""
    if isinstance(record.args, tuple):
        record.args = tuple(map(_as_flags, record.args))
    if hasattr(record, "error"):
        record.error = _as_flags(record.error)
    return True


def _as_flags(value: object) -> object:
    """Return an error as a line of the command line; other values as they are."""
    return value.text(flag) if isinstance(value, LipSyncError) else value


class LogProgress:
    """Logs the progress of a job, one line per stage."""

    def __init__(self, job_id: str) -> None:
        """Log for this job."""
        self._job_id = job_id
        self._log = logging.getLogger(f"{LOGGER}.progress")

    def __enter__(self) -> LogProgress:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing."""

    def stage(self, name: str, total_frames: int | None = None) -> None:
        """Log which stage starts."""
        extra: dict[str, object] = {"job": self._job_id, "stage": name}
        if total_frames is not None:
            extra["frames"] = total_frames
        self._log.info("%s", name, extra=extra)

    def advance(self, frames: int) -> None:
        """Do nothing: every request has a log line already."""
