"""The parser that all commands of the client use: wrong options end in one line."""

from __future__ import annotations

import argparse
import re
from typing import Any, NoReturn

from client.errors import UsageError


class OneLineParser(argparse.ArgumentParser):
    """Says in one line what is wrong with the options, without the whole usage before it.

    Options have one spelling: what looks for one in the raw arguments, or names it in a batch, finds it.
    """

    def __init__(self, **settings: Any) -> None:
        """Take what argparse takes."""
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """Print the message and end the program."""
        text = re.sub(r"^argument \S+: (?=--)", "", message)  # our own parsers name the option themselves
        self.exit(UsageError.exit_code, f"{self.prog}: {text}. See {self.prog} --help\n")
