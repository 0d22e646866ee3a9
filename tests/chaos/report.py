"""The results, as a table for people, JSON or CSV."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.chaos.case import Result

COLOURS = {"as expected": "green", "DIFFERS": "bold red", "known": "yellow", "skipped": "cyan"}
PIPED_WIDTH = 200  # columns, where the table goes to a file


def print_table(results: Sequence[Result]) -> None:
    """Print every case, and how many came out how."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPED_WIDTH)
    table = Table("case", "what happened", "what was expected", "s", "verdict", show_lines=True)
    for result in results:
        colour = COLOURS[result.verdict]
        seconds, verdict = f"{result.seconds:.1f}", f"[{colour}]{result.verdict}[/]"
        table.add_row(*map(_plain, (result.name, result.happened, result.expected)), seconds, verdict)
    console.print(table)
    console.print(summary(results))


def summary(results: Sequence[Result]) -> str:
    """Count the verdicts in one line."""
    counts = Counter(result.verdict for result in results)
    return f"{len(results)} cases: {', '.join(f'{count} {verdict}' for verdict, count in sorted(counts.items()))}"


def write_json(results: Sequence[Result], path: Path) -> None:
    """Write a list of all results."""
    path.write_text(json.dumps([asdict(result) for result in results], indent=2, ensure_ascii=False) + "\n")


def write_csv(results: Sequence[Result], path: Path) -> None:
    """Write a line for each result."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Result)])
        writer.writeheader()
        writer.writerows(asdict(result) for result in results)


def _plain(text: str) -> str:
    """Keep brackets of file names from being read as colours."""
    return text.replace("[", r"\[")
