"""Settings that sign and mark the results of all jobs: checked when the service starts, and told to its jobs.

Jobs run in processes of their own, which read them from the environment. Files are named there, never their content.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

from client.option import Option, OptionValues, flag
from client.provenance.credentials import find_credentials
from client.provenance.options import (
    CERTIFICATE_VARIABLE,
    KEY_VARIABLE,
    MARK,
    MARK_VARIABLE,
    SIGN_CERT,
    SIGN_KEY,
    TIMESTAMP_URL,
    TIMESTAMP_VARIABLE,
    marks_by_default,
)

VARIABLES: dict[Option[Any], str] = {
    SIGN_CERT: CERTIFICATE_VARIABLE,
    SIGN_KEY: KEY_VARIABLE,
    TIMESTAMP_URL: TIMESTAMP_VARIABLE,
}


def add_signing_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the settings."""
    group = parser.add_argument_group("signing the results of all jobs")
    for option, variable in VARIABLES.items():
        group.add_argument(option.flag, metavar=option.kind.metavar, help=f"{option.help} (${variable})")
    group.add_argument(flag(MARK.name), action="store_true", help=f"{MARK.help} (${MARK_VARIABLE}=1)")


def set_up_signing(options: argparse.Namespace, environment: MutableMapping[str, str]) -> str | None:
    """Check the settings and put them into the environment of jobs.

    Args:
        options: the command line.
        environment: the variables of this process, which its jobs inherit.

    Returns:
        Whom the certificate names; None if results are not signed.

    Raises:
        UsageError: the credentials or variables cannot be used.
    """
    given = {option.name: getattr(options, option.name) for option in VARIABLES}
    values = OptionValues(
        {option.name: option.read(given[option.name]) for option in VARIABLES if given[option.name] is not None}
    )
    found = find_credentials(values)
    for option, variable in VARIABLES.items():
        if values[option] is not None:
            environment[variable] = str(values[option])
    if options.mark:
        environment[MARK_VARIABLE] = "1"
    marks_by_default(environment)
    return None if found is None else found.signer


def signing_of_jobs(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that `set_up_signing` has put there, for jobs on other machines: files must be there too."""
    found = {name: environment[name] for name in (*VARIABLES.values(), MARK_VARIABLE) if name in environment}
    files = {name: str(Path(found[name]).absolute()) for name in (CERTIFICATE_VARIABLE, KEY_VARIABLE) if name in found}
    return found | files
