"""Where the code may name pipelines and options, checked on its syntax trees."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from client.pipelines import PIPELINES
from tests.conftest import ROOT

PACKAGES = ("client", "docker", "export", "lipsync_core", "perf")
NAMES = {pipeline.name for pipeline in PIPELINES}
ROOMS = re.compile(rf"client/pipelines/|(export|lipsync_core)/({'|'.join(sorted(NAMES))}|mouth)/")
COMMAND_LINES = re.compile(r"client/cli/|.*__main__\.py$")
OPTION = re.compile(r"(?<!\w)--[a-z]")


def sources(*packages: str) -> Iterator[tuple[str, ast.Module]]:
    """Yield each module's path in the checkout and its syntax tree."""
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def strings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and text of every string below a node; those of f-strings too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def pipelines_named(path: str, tree: ast.Module) -> list[str]:
    """List the strings equal to a pipeline's name."""
    return [f"{path}:{line} {text}" for line, text in strings(tree) if text in NAMES]


def options_spelt(path: str, tree: ast.Module) -> list[str]:
    """List the raised messages that spell an option as one front end does."""
    raised = (node for node in ast.walk(tree) if isinstance(node, ast.Raise))
    return [f"{path}:{line} {text}" for node in raised for line, text in strings(node) if OPTION.search(text)]


def test_pipelines_are_named_in_their_own_rooms_alone() -> None:
    """Everything else derives from the tuple in client/pipelines."""
    others = ((path, tree) for path, tree in sources(*PACKAGES) if not ROOMS.match(path))
    assert [found for path, tree in others for found in pipelines_named(path, tree)] == []


def test_errors_spell_no_option() -> None:
    """Below the command line they name it plainly; each front end spells it in its own way."""
    below = ((path, tree) for path, tree in sources("client") if not COMMAND_LINES.match(path))
    assert [found for path, tree in below for found in options_spelt(path, tree)] == []


def test_offenders_are_seen() -> None:
    """A comparison with a name, and an f-string that spells an option."""
    code = 'if name == "wav2lip":\n    raise ValueError(f"--crf: expected 0 to 51, got {crf}")\n'
    assert pipelines_named("a.py", ast.parse(code)) == ["a.py:1 wav2lip"]
    assert options_spelt("a.py", ast.parse(code)) == ["a.py:2 --crf: expected 0 to 51, got "]
