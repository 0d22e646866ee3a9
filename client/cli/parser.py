"""The parser of all commands: wrong usage ends in one line. Also the options of a job as arguments, from the table."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any, NoReturn

from client.errors import UsageError, spelled
from client.option import Option, flag
from client.option_kinds import Switch
from client.options import help_of, names_of, options_for_front_end, pipelines_of


class OneLineParser(argparse.ArgumentParser):
    """Reports wrong usage in one line, without the whole usage before it. Options cannot be abbreviated."""

    def __init__(self, **settings: Any) -> None:
        """Take what argparse takes."""
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """Print the message and end the program."""
        self.exit(UsageError.exit_code, f"{self.prog}: {message}. See {self.prog} --help\n")


def add_job_options(parser: argparse.ArgumentParser) -> None:
    """Declare every option of the table; see `add_options`."""
    add_options(parser, options_for_front_end("cli"))


def add_options(parser: argparse.ArgumentParser, options: Iterable[Option[Any]]) -> None:
    """Declare options of the table; those of some pipelines in groups of their own.

    Only options that are given appear in the namespace, as texts; `given_job_options` collects them.
    """
    groups: dict[str, argparse._ArgumentGroup] = {}
    for option in options:
        owners = names_of(pipelines_of(option))
        if owners and owners not in groups:
            groups[owners] = parser.add_argument_group(f"{owners} only")
        _add_option(groups[owners] if owners else parser, option)


def given_job_options(namespace: argparse.Namespace) -> dict[str, object]:
    """Return the options of the table that were given: name -> text or boolean."""
    names = {option.name for option in options_for_front_end("cli")}
    return {name: value for name, value in vars(namespace).items() if name in names}


def help_text(option: Option[Any]) -> str:
    """Return an option's help with its default, as the command line spells options."""
    text = f"{help_of(option).removesuffix('.')} (default: {option.default_words})"
    return spelled(text, flag).replace("%", "%%")


def _add_option(group: argparse._ActionsContainer, option: Option[Any]) -> None:
    if not isinstance(option.kind, Switch):
        group.add_argument(option.flag, default=argparse.SUPPRESS, metavar=option.kind.metavar, help=help_text(option))
    elif option.default is None:
        group.add_argument(
            option.flag,
            action=argparse.BooleanOptionalAction,
            default=argparse.SUPPRESS,
            help=help_text(option),
        )
    else:
        group.add_argument(
            option.flag, action="store_true", default=argparse.SUPPRESS, help=spelled(option.help, flag).rstrip(".")
        )
