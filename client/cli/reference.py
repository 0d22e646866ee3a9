"""The tables of pipelines and options in the documentation, and the dashboard's models: `make docs` writes them.

`python -m client.cli.reference FILE...` rewrites what stands between the markers of a table in these files, the models
that a dashboard (.json) counts as pipelines, and the schema of scripts (.schema.json).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from client.errors import spelled
from client.option import Option, flag
from client.options import OPTIONS, help_of, pipelines_of
from client.pipelines import DEFAULT_PIPELINE, PIPELINES
from client.scene.schema import scene_schema
from client.web.problem_kinds import KINDS

BAR = "\\|"  # a bar within a cell
SCHEMA_SUFFIX = ".schema.json"
DASHBOARD_MODELS = re.compile(r'model=~\\"[a-z0-9_|]+\\"')
MARKER = re.compile(r"(<!-- (\w+): written by make docs -->\n).*?(<!-- end of \2 -->)", re.DOTALL)


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrite the tables of the named files; returns 0."""
    for name in sys.argv[1:] if arguments is None else arguments:
        path = Path(name)
        path.write_text(_written(path), encoding="utf-8")
    return 0


def with_tables(page: str) -> str:
    """Return a page with its tables as they are now."""
    return MARKER.sub(lambda match: f"{match[1]}\n{TABLES[match[2]]()}\n\n{match[3]}", page)


def with_models(dashboard: str) -> str:
    """Return a dashboard that counts the requests of all pipelines."""
    models = "|".join(pipeline.models[0] for pipeline in PIPELINES)
    return DASHBOARD_MODELS.sub(rf'model=~\\"{models}\\"', dashboard)


def schema_text() -> str:
    """Return the schema of scripts as the documentation publishes it."""
    return json.dumps(scene_schema(), indent=2, ensure_ascii=False) + "\n"


def pipelines_table() -> str:
    """Return a row per pipeline: what it generates and what it needs."""
    rows = []
    for pipeline in PIPELINES:
        default = ", the default" if pipeline is DEFAULT_PIPELINE else ""
        rows.append((f"`{pipeline.name}`{default}", pipeline.summary, pipeline.needs))
    return table(("`--model`", "what it generates", "what it needs"), rows)


def licences_table() -> str:
    """Return a row per pipeline: what its weights may be used for."""
    return table(("pipeline", "licence of its weights"), [(p.title, p.weights_licence) for p in PIPELINES])


def options_table() -> str:
    """Return a row per option of all pipelines, then those of single pipelines."""
    shared = [option for option in OPTIONS if not pipelines_of(option)]
    owned = [(pipeline.name, pipeline.options) for pipeline in PIPELINES if pipeline.options]
    return "\n\n".join([_table_of(shared), *(f"## For {name} only\n\n{_table_of(options)}" for name, options in owned)])


def problems_table() -> str:
    """Return a row per kind of problem that the API answers with."""
    rows = [(str(kind.status), f"`{kind.type}`", kind.title, kind.advice) for kind in KINDS.values()]
    return table(("status", "`type`", "title", "what to do"), rows)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    head, *body = [f"| {' | '.join(cell.replace('|', BAR) for cell in line)} |" for line in (header, *rows)]
    return "\n".join([head, "|---" * len(header) + "|", *body])


def _written(path: Path) -> str:
    """Return what a file is to hold."""
    if path.name.endswith(SCHEMA_SUFFIX):
        return schema_text()
    write = with_models if path.suffix == ".json" else with_tables
    return write(path.read_text(encoding="utf-8"))


def _table_of(options: Iterable[Option[Any]]) -> str:
    return table(("option", "value", "default", "what it does"), [_row(option) for option in options])


def _row(option: Option[Any]) -> tuple[str, str, str, str]:
    spelling = f"`{option.flag}`" if "cli" in option.front_ends else f"`{option.name}` (API)"
    return spelling, option.kind.summary, option.default_words, spelled(help_of(option), flag)


TABLES: Mapping[str, Callable[[], str]] = {
    "pipelines": pipelines_table,
    "licences": licences_table,
    "options": options_table,
    "problems": problems_table,
}


if __name__ == "__main__":
    sys.exit(main())
