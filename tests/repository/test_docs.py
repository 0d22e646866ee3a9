"""README and docs/: links lead somewhere, and what is written twice for a reason is the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from client.cli.run import EPILOG, build_parser
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "docker" / "README.md"]
SPECS = ROOT / "docs" / "specs"
SOURCES = [
    path
    for folder in ("client", "export", "lipsync_core", "model_repository", "perf", "tests")
    for path in (ROOT / folder).rglob("*.py")
]
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE_BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
NAMED_FILE = re.compile(r"`((?:client|docker|export|lipsync_core|model_repository|perf|tests)/[a-z0-9_./-]+)`")
CODE_ROW = re.compile(r"^\| ([\d, ]+) \| (.+) \|$", re.MULTILINE)
CODE_LINE = re.compile(r"^  ([\d, ]+?)  (.+)$", re.MULTILINE)
CITED_PAGE = re.compile(r"docs/specs/([a-z0-9-]+\.md)((?:(?:,| and| or)?\s+#?\s*\"[^\"]+\")*)")
PRIVATE_SOURCE = re.compile(r"reference/\w+/(?:SPEC|RECIPE)")
MAKE_TARGET = re.compile(r"\bmake ([a-z]+(?:-[a-z]+)*)")


def anchors(page: Path) -> set[str]:
    """Name a page's headings as its links do."""
    headings = re.findall(r"^#+ (.+)$", CODE_BLOCK.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, *sorted(SPECS.glob("*.md"))], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every file that a page names is there, and has the heading that is named."""
    for link in LINK.findall(CODE_BLOCK.sub("", page.read_text(encoding="utf-8"))):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", [*PAGES, *sorted(SPECS.glob("*.md"))], ids=lambda page: str(page.relative_to(ROOT)))
def test_named_files_are_there(page: Path) -> None:
    """Every file or folder of ours that a page names exists."""
    for name in NAMED_FILE.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / name).exists(), name


def test_cited_sections_are_there() -> None:
    """A source in the code that is one of our pages exists, with the sections that are named."""
    cited = 0
    for path in SOURCES:
        for name, sections in CITED_PAGE.findall(path.read_text(encoding="utf-8")):
            headings = re.findall(r"^#+ (.+)$", (SPECS / name).read_text(encoding="utf-8"), re.MULTILINE)
            unknown = set(re.findall(r"\"([^\"]+)\"", sections)) - set(headings)
            assert not unknown, f"{path}: {name}: {unknown}"
            cited += 1
    assert cited > 20


def test_sources_are_open_to_readers() -> None:
    """No file cites a specification that is not part of the repository."""
    for path in SOURCES:
        assert not PRIVATE_SOURCE.search(path.read_text(encoding="utf-8")), path


def test_every_page_is_in_the_readme() -> None:
    """None is found only by those who know of it."""
    linked = {link.partition("#")[0] for link in LINK.findall(PAGES[0].read_text(encoding="utf-8"))}
    assert {str(page.relative_to(ROOT)) for page in PAGES[1:]} <= linked


def test_exit_codes_are_those_of_the_command() -> None:
    """The page's table has the codes of --help; it may explain them further."""
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    told, listed = dict(CODE_ROW.findall(page)), dict(CODE_LINE.findall(EPILOG))
    assert list(told) == list(listed)
    assert all(told[code].startswith(meaning) for code, meaning in listed.items())


def test_options_of_a_job_are_told() -> None:
    """Each option of the command is in a page for its users."""
    pages = [ROOT / "docs" / name for name in ("command-line.md", "options.md")]
    told = set(re.findall(r"--[a-z][a-z0-9-]*", "".join(page.read_text(encoding="utf-8") for page in pages)))
    known = {option for action in build_parser()._actions for option in action.option_strings}
    assert {option for option in known if option.startswith("--")} <= told


def test_make_targets_are_there() -> None:
    """Every `make` command of a page has its rule."""
    rules = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in PAGES:
        assert set(MAKE_TARGET.findall(" ".join(re.findall(r"`[^`]+`", page.read_text(encoding="utf-8"))))) <= rules
