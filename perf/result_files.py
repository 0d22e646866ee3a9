"""The files of measured results, of any kind: JSON with their conditions, and the same as a table in CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from client.errors import LipSyncError, ref

JSON_FILE, CSV_FILE = "results.json", "results.csv"


def save_results(
    folder: Path,
    kind: str,
    conditions: Mapping[str, Any],
    content: Mapping[str, Any],
    table: Sequence[Mapping[str, Any]],
) -> None:
    """Write the JSON and the CSV file, each whole or not at all.

    Args:
        folder: where they go; it is created.
        kind: what they are results of.
        conditions: how they were measured; they become columns of the CSV.
        content: what the JSON holds beside that.
        table: rows of the CSV, without the conditions.
    """
    folder.mkdir(parents=True, exist_ok=True)
    document = {"kind": kind, "conditions": conditions, **content}
    _write_text(folder / JSON_FILE, json.dumps(document, indent=1) + "\n")
    _write_text(folder / CSV_FILE, _csv_text([{**row, **_flat(conditions)} for row in table]))


@contextmanager
def reading(path: Path, kind: str) -> Iterator[dict[str, Any]]:
    """Read the JSON file of results of one kind, and give what it holds.

    Raises:
        ValueError: the file is missing, or holds something else, as far as the context finds.
    """
    document = read_json(path)
    if document.get("kind") != kind:
        raise ValueError(f"{path}: expected results of a {kind}, got those of a {document.get('kind')}")
    try:
        yield document
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected results of a {kind}, got {error}") from error


def read_kind(path: Path) -> str:
    """Return what a JSON file holds results of: a sweep, a benchmark or live streams.

    Raises:
        ValueError: the file is missing, or holds no results.
    """
    return str(read_json(path)["kind"])


def read_json(path: Path) -> dict[str, Any]:
    """Read the results in a folder, or a JSON file of results.

    Raises:
        ValueError: the file is missing, or holds no results.
    """
    file = path / JSON_FILE if path.is_dir() else path
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{file}: expected results, got {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{file}: expected results as JSON, got {error}") from error
    if not isinstance(document, dict) or "kind" not in document:
        raise ValueError(f"{file}: expected results of a sweep, a benchmark or live streams, got other JSON")
    return document


def check_identity(path: Path, old: Mapping[str, Any], new: Mapping[str, Any], names: Sequence[str]) -> None:
    """Check that new points may be added to old ones.

    Raises:
        LipSyncError: they were measured under other conditions.
    """
    for name in names:
        if old.get(name) != new[name]:
            raise LipSyncError(
                about=path,
                expected=f"results with {name} {new[name]!r}",
                got=repr(old.get(name)),
                advice=f"Choose another folder with {ref('output')}, or start over with {ref('restart')},"
                " which keeps the old files",
            )


def set_aside(folder: Path, conditions: Mapping[str, Any]) -> None:
    """Rename the results in a folder after the time at which they were started."""
    stamp = str(conditions.get("started", "old")).replace(":", "")
    for name in (JSON_FILE, CSV_FILE):
        if (folder / name).is_file():
            (folder / name).rename(folder / f"{stamp}-{name}")


def _flat(conditions: Mapping[str, Any]) -> dict[str, Any]:
    """Return conditions as columns; lists and mappings become JSON."""
    return {name: json.dumps(value) if isinstance(value, list | dict) else value for name, value in conditions.items()}


def _csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV, with all columns that any row has."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
