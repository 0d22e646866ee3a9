"""Parsers of arguments that several commands have."""

from __future__ import annotations

import argparse


def whole_number(text: str) -> int:
    """Parse a whole number of at least 1.

    Raises:
        ArgumentTypeError: the text is something else.
    """
    if not (text.isdecimal() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)
