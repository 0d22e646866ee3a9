"""The report of a batch: a line per job that has ended, by which the next run knows what is done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from client.batch.jobs import BatchJob
from client.errors import OutputError, UsageError
from client.option_kinds import Json
from lipsync_core.locks import lock_file

DIGEST_BYTES = 16

Finished = dict[bytes, bytes]  # what was done for each output, both as digests: reports may have millions of lines


@contextmanager
def open_report(path: Path) -> Iterator[IO[str]]:
    """Open a report to append lines to it, for this batch alone.

    Raises:
        UsageError: another batch writes it.
        OutputError: it cannot be written.
    """
    try:
        file = path.open("a+", encoding="utf-8", errors="backslashreplace")  # lone surrogates become escapes
    except OSError as error:
        raise OutputError(about=path, expected="a report that can be written", got=error.strerror) from error
    with file:
        try:
            lock_file(file.fileno())
        except BlockingIOError:
            raise UsageError(
                about=path, expected="a report of its own", got="one that another batch is writing"
            ) from None
        except OSError:
            pass  # without locks it is up to people not to run one batch twice at a time
        file.truncate(_whole_bytes(path))
        yield file


def finished_jobs(path: Path, options: Mapping[str, Json]) -> Finished:
    """Read a report: which jobs were done last. A later entry replaces an earlier one.

    Args:
        path: the report.
        options: shared options; entries made with others do not count.
    """
    found: Finished = {}
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            with suppress(ValueError, KeyError, TypeError):  # not a line of a report
                entry = json.loads(line)
                output = _digest(str(entry["job"]["output"]))
                found.pop(output, None)
                if entry["options"] == options and entry["status"] == "done":
                    found[output] = _digest([entry["job"], entry["files"]])
    return found


def is_done(job: BatchJob, finished: Finished) -> bool:
    """Return whether the same job was done before, and neither its inputs nor its output have changed since."""
    before = finished.get(_digest(job.name))
    return before is not None and job.problem is None and before == _digest([job.choices, job.stamps()])


def _digest(value: object) -> bytes:
    """Hash what JSON can hold; the order of fields does not count."""
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=DIGEST_BYTES).digest()


def _whole_bytes(path: Path) -> int:
    """Return where a report's last whole line ends: one is cut off where a batch was killed while it wrote."""
    whole = 0
    with path.open("rb") as file:
        for line in file:
            whole += len(line) if line.endswith(b"\n") else 0
    return whole
