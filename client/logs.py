"""Logs for machines: one JSON object a line on stderr. Without them, warnings are lines for people."""

from __future__ import annotations

import datetime
import json
import logging
import sys

LOGGER = "client"  # what the names of all our loggers begin with
PREFIX = "lipsync: "
# Fields that a line may bear beside its message; what else a record holds is logging's own.
FIELDS = ("job", "request", "model", "server", "seconds", "stage", "frames", "attempt", "error", "exit_code")


class JsonFormatter(logging.Formatter):
    """Turns a record into one line of JSON: time (UTC), level, logger, message, and the fields that it bears."""

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
        return json.dumps(line, ensure_ascii=False)


def set_up_logs(*, as_json: bool, quiet: bool) -> logging.Handler:
    """Send our logs to stderr: as JSON from debug up, else warnings as lines for people, or none.

    Returns:
        The handler, for `take_down_logs`.
    """
    handler = logging.StreamHandler(sys.stderr)
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


class LogProgress:
    """A job's progress as log lines: one for each stage."""

    def __init__(self, job_id: str) -> None:
        """Tell of this job."""
        self._job_id = job_id
        self._log = logging.getLogger(f"{LOGGER}.progress")

    def __enter__(self) -> LogProgress:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to end."""

    def stage(self, name: str, total_frames: int | None = None) -> None:
        """Say which stage begins."""
        extra: dict[str, object] = {"job": self._job_id, "stage": name}
        if total_frames is not None:
            extra["frames"] = total_frames
        self._log.info("%s", name, extra=extra)

    def advance(self, frames: int) -> None:
        """Say nothing: every request has a line of its own."""
