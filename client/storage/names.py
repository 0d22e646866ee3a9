"""Names of files that come from elsewhere."""

from __future__ import annotations

MAX_NAME_LENGTH = 200  # characters that are kept


def shown_name(name: str) -> str:
    """Return the part of a file name that is displayed: the last part, printable, not too long."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(letter for letter in last if letter.isprintable()).strip()[:MAX_NAME_LENGTH]
