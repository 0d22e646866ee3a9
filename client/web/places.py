"""The options of where records and files are kept, for several services and workers."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from urllib.parse import urlsplit

from client.errors import UsageError, ref

STORE_VARIABLE = "LIPSYNC_STORE"  # may hold a password, which a command line would show to others


def add_place_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--store",
        metavar="URL",
        help="keep the records in this PostgreSQL, postgresql://USER@HOST/DATABASE, for several services;"
        f" addresses with a password go into {STORE_VARIABLE} (a file in --data)",
    )
    parser.add_argument(
        "--media",
        metavar="URL",
        help="keep the jobs' files in this storage, s3://BUCKET/PREFIX, for workers on other machines; endpoint and"
        " keys come from AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and so on (in --data)",
    )


def store_of(option: str | None, environment: Mapping[str, str]) -> str | None:
    """Return the address of the records: the option's, else that of the environment.

    Raises:
        UsageError: the option has a password.
    """
    if option is None:
        return environment.get(STORE_VARIABLE) or None
    try:
        has_password = urlsplit(option).password is not None
    except ValueError:
        has_password = False
    if has_password:
        raise UsageError(
            option="store",
            expected="an address without a password, as others can read the command line",
            got="one with a password",
            advice=f"Put the address into the environment variable {STORE_VARIABLE}, without {ref('store')}",
        )
    return option
