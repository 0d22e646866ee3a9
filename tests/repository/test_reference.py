"""The tables of pipelines and options in the documentation are those of the code."""

from __future__ import annotations

from client.cli.reference import MARKER, TABLES, schema_text, with_models, with_tables
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_tables_are_current() -> None:
    """Run `make docs` after a change of pipelines or options."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert text == with_tables(text), page.name


def test_every_table_is_shown_that_readers_choose_by() -> None:
    """The pipelines and the options are each in a page."""
    shown = {name for page in PAGES for _, name, _ in MARKER.findall(page.read_text(encoding="utf-8"))}
    assert {"pipelines", "options"} <= shown <= set(TABLES)


def test_the_schema_of_scripts_is_current() -> None:
    """Run `make docs` after a change of options or of scripts."""
    assert (ROOT / "docs" / "scene.schema.json").read_text(encoding="utf-8") == schema_text()


def test_the_dashboard_counts_every_pipeline() -> None:
    """The models that clients ask are those of the pipelines."""
    dashboard = (ROOT / "docker" / "chart" / "files" / "dashboard.json").read_text(encoding="utf-8")
    assert dashboard == with_models(dashboard)
    assert with_models('x model=~\\"none\\"') != 'x model=~\\"none\\"'
