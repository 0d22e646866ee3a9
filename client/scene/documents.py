"""Reads JSON from files strictly, and names the place of what is wrong. Knows nothing of scenes."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from client.errors import UsageError
from client.scene.limits import MAX_NESTING

MEGABYTE = 1_000_000
MAX_SHOWN = 60  # characters of a wrong value
PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TEXT_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*(?:"|$)|[\[\]{}]', re.DOTALL)


class _NotStrictError(ValueError):
    """What Python's parser accepts although it is no JSON, or is ambiguous."""


def read_content(path: Path, max_bytes: int) -> bytes:
    """Return a file's content.

    Raises:
        UsageError: it cannot be read or is too large.
    """
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise UsageError(about=path, expected="a readable file", got=error.strerror) from error
    if len(content) > max_bytes:
        raise UsageError(about=path, expected=f"at most {max_bytes // MEGABYTE} MB", got="a larger file")
    return content


def decoded(content: bytes, name: str) -> str:
    """Decode UTF-8, with or without a byte order mark.

    Args:
        content: the bytes.
        name: what messages call the file.

    Raises:
        UsageError: the bytes are something else.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        got = f"byte 0x{content[error.start]:02x} in line {line}"
        raise UsageError(about=name, expected="UTF-8 text", got=got, advice="Save the file as UTF-8") from None


def parse_json(text: str, name: str) -> object:
    """Parse JSON. NaN, infinite numbers and keys that occur twice are refused, as is deep nesting.

    Args:
        text: the document.
        name: what messages call it.

    Raises:
        UsageError: it breaks the rules.
    """
    if _nesting(text) > MAX_NESTING:
        raise UsageError(about=name, expected=f"lists and objects at most {MAX_NESTING} deep", got="deeper ones")
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        got = f"a mistake in line {error.lineno}, column {error.colno} ({error.msg[:1].lower()}{error.msg[1:]})"
        raise UsageError(about=name, expected="JSON", got=got) from None
    except _NotStrictError as error:
        raise UsageError(about=name, expected="strict JSON", got=error) from None
    except ValueError:  # Python's own limit of digits
        raise UsageError(about=name, expected="JSON", got="a number of thousands of digits") from None


def place(parts: Iterable[str | int]) -> str:
    """Return a place in a document as people write it: speakers[1].segments[3].end."""
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        elif PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{shown(part)}]"
    return text


def shown(value: object) -> str:
    """Return a value of a document in one line, shortened."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."
    return "".join(c if c.isprintable() else c.encode("unicode-escape", "surrogatepass").decode() for c in text)


def seconds(time_s: float) -> str:
    """Return a time for messages."""
    return f"{time_s:.10g} s"


def _nesting(text: str) -> int:
    brackets = (match for match in TEXT_OR_BRACKET.findall(text) if match[0] != '"')
    return max(itertools.accumulate(1 if bracket in "[{" else -1 for bracket in brackets), default=0)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise _NotStrictError(f"the key {shown(twice)} twice in one object")
    return found


def _no_constant(text: str) -> float:
    raise _NotStrictError(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _NotStrictError(f"the number {shown(text)}")
    return number
