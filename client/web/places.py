"""The options of where records and files are kept, for several services and workers, and where jobs run."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from urllib.parse import urlsplit

from client.cli.ray_arguments import ray_place, with_variables
from client.errors import UsageError, ref
from client.running.ray_place import RayPlace

STORE_VARIABLE = "LIPSYNC_STORE"  # may hold a password, which a command line would show to others
RAY_VARIABLES = {"ray": "LIPSYNC_RAY", "ray_cpus": "LIPSYNC_RAY_CPUS", "ray_gpus": "LIPSYNC_RAY_GPUS"}


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


def ray_of(options: argparse.Namespace, environment: Mapping[str, str], store: str | None) -> RayPlace | None:
    """Return the cluster that runs the jobs, by the options or else the environment; None for this machine.

    Raises:
        UsageError: a value cannot be used, there are no jobs to run, or the records or files are out of the cluster's
            reach.
    """
    place = ray_place(with_variables(options, RAY_VARIABLES, environment))
    if place is None:
        return None
    if options.workers == 0:
        raise UsageError(option="workers", expected="1 or more, for the jobs of the cluster", got=0)
    if store is None:
        raise _out_of_reach("store", "postgresql://USER@HOST/DATABASE, which the machines of the cluster share")
    if options.media is None:
        raise _out_of_reach("media", "s3://BUCKET/PREFIX, or a folder that the machines of the cluster share")
    return place


def _out_of_reach(option: str, expected: str) -> UsageError:
    return UsageError(option=option, expected=expected, got="none", advice=f"Add it, or leave out {ref('ray')}")


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
