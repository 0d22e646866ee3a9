"""Where the code may name pipelines and options, checked on its syntax trees."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

from client.cli.run import build_parser
from client.options import OPTIONS
from client.pipelines import PIPELINES
from tests.conftest import ROOT

PACKAGES = ("client", "docker", "export", "lipsync_core", "perf")
NAMES = {pipeline.name for pipeline in PIPELINES}
ROOMS = re.compile(rf"client/pipelines/|(export|lipsync_core)/({'|'.join(sorted(NAMES))}|mouth)/")
COMMAND_LINES = re.compile(r"client/cli/|(client/lipsync|client/web/settings|perf/load/sweep_options|.*/__main__)\.py$")
API = re.compile(r"client/web/")  # options have their plain names there
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
FLAGS = {flag for action in build_parser()._actions for flag in action.option_strings} - {"--help"}  # of `lipsync`
OF_FIELD = re.compile(r"^ +\w+(?:, \w+)*: [Oo]f ", re.MULTILINE)
LONG_NAME = re.compile(rf"\b({'|'.join(option.name for option in OPTIONS if '_' in option.name)})\b")


@cache
def parsed(package: str) -> dict[str, ast.Module]:
    """Return the syntax tree of each module by its path in the checkout."""
    paths = sorted((ROOT / package).rglob("*.py"))
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def sources(*packages: str) -> Iterator[tuple[str, ast.Module]]:
    """Yield each module's path in the checkout and its syntax tree."""
    for package in packages:
        yield from parsed(package).items()


def strings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and text of every string below a node; those of f-strings too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def pipelines_named(path: str, tree: ast.Module) -> list[str]:
    """List the strings equal to a pipeline's name."""
    return [f"{path}:{line} {text}" for line, text in strings(tree) if text in NAMES]


def messages(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the line and text of every string of several words that is no docstring; `{X.name}` stays in f-strings."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            if " " in node.value.strip():
                yield node.lineno, node.value
        elif isinstance(node, ast.FormattedValue) and re.fullmatch(r"[A-Z_]+\.(name|flag)", ast.unparse(node.value)):
            yield node.lineno, f"{{{ast.unparse(node.value)}}}"


def flags_spelt(path: str, tree: ast.Module) -> list[str]:
    """List the messages that spell an option of a job as the command line does."""
    return [f"{path}:{line} {text}" for line, text in messages(tree) if FLAGS.intersection(FLAG.findall(text))]


def names_spelt(path: str, tree: ast.Module) -> list[str]:
    """List the messages that spell an option as the API does."""
    return [f"{path}:{line} {text}" for line, text in messages(tree) if text[0] == "{" or LONG_NAME.search(text)]


def test_pipelines_are_named_in_their_own_rooms_alone() -> None:
    """Everything else derives from the tuple in client/pipelines."""
    others = ((path, tree) for path, tree in sources(*PACKAGES) if not ROOMS.match(path))
    assert [found for path, tree in others for found in pipelines_named(path, tree)] == []


def test_messages_leave_the_spelling_of_options_to_front_ends() -> None:
    """Errors, warnings and help refer to options; the command line, the API and the page each spell them."""
    below = [(path, tree) for path, tree in sources("client", "lipsync_core", "perf") if not COMMAND_LINES.match(path)]
    assert [found for path, tree in below for found in flags_spelt(path, tree)] == []
    clients = [(path, tree) for path, tree in below if path.startswith("client/") and not API.match(path)]
    assert [found for path, tree in clients for found in names_spelt(path, tree)] == []


def test_docs_of_fields_begin_with_what_they_are() -> None:
    """No "seed: of all random numbers": what it is comes first."""
    texts = ((path, text) for path, tree in sources(*PACKAGES) for _, text in strings(tree))
    assert [(path, *OF_FIELD.findall(text)) for path, text in texts if OF_FIELD.search(text)] == []
    assert OF_FIELD.search("Args:\n    low, high: Of the range.")


def test_offenders_are_seen() -> None:
    """A comparison with a name, an error that spells an option, and warnings that do."""
    code = 'if name == "wav2lip":\n    raise ValueError(f"--crf: expected 0 to 51, got {crf}")\n'
    assert pipelines_named("a.py", ast.parse(code)) == ["a.py:1 wav2lip"]
    assert flags_spelt("a.py", ast.parse(code)) == ["a.py:2 --crf: expected 0 to 51, got "]
    code = (
        '"""See --crf and in_silence."""\nline = f"{name}: set {IN_SILENCE.name}"\nother = "see in_silence, or --help"'
    )
    assert flags_spelt("a.py", ast.parse(code)) == []
    assert names_spelt("a.py", ast.parse(code)) == ["a.py:3 see in_silence, or --help", "a.py:2 {IN_SILENCE.name}"]
