"""A PostgreSQL server of Debian's package for tests, as a user who is not root, with a password."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from lipsync_core.serving.ports import free_port
from tests.waiting import wait_until

PASSWORD = "a-password-for-tests"
USER = "nobody"  # PostgreSQL refuses root


def programs() -> Path | None:
    """Return the folder of the newest PostgreSQL's programs."""
    return max(Path("/usr/lib/postgresql").glob("*/bin/postgres"), default=None)


@contextmanager
def postgresql() -> Iterator[str]:
    """Run a server on loopback; gives its address, without a database's name."""
    found = programs()
    if found is None:
        pytest.skip("no PostgreSQL here; install the package postgresql")
    folder = Path(tempfile.mkdtemp(prefix="lipsync-postgresql-", dir="/tmp"))  # whose parents that user may enter
    as_user = []
    if os.geteuid() == 0:
        shutil.chown(folder, USER)
        as_user = ["setpriv", "--reuid", USER, "--regid", str(folder.stat().st_gid), "--clear-groups"]
    try:
        yield from _serving(found.parent, folder, as_user)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _serving(bin_folder: Path, folder: Path, as_user: list[str]) -> Iterator[str]:
    secret, data = folder / "password", folder / "data"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    init = [bin_folder / "initdb", "-D", data, "-U", "ann", f"--pwfile={secret}", "--auth=scram-sha-256"]
    subprocess.run([*as_user, *init, "--no-sync", "-E", "UTF8"], check=True, cwd=folder, stdout=subprocess.DEVNULL)
    port = free_port()  # only now, as others may take it
    settings = [f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={folder}", "fsync=off"]
    command = [*as_user, bin_folder / "postgres", "-D", data, *(word for each in settings for word in ("-c", each))]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL) as server:
        try:
            address = f"postgresql://ann:{PASSWORD}@127.0.0.1:{port}"
            wait_until(lambda: _answers(address), 60)
            yield address
        finally:
            server.terminate()  # children that are connected end too


def _answers(address: str) -> bool:
    try:
        execute(address, "select 1")
    except sa.exc.OperationalError:
        return False
    return True


def execute(address: str, statement: str, database: str = "postgres") -> None:
    """Run one statement in a database."""
    url = sa.make_url(f"{address}/{database}").set(drivername="postgresql+psycopg")
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as db:
        db.execute(sa.text(statement))
    engine.dispose()


def new_database(address: str, name: str) -> str:
    """Create an empty database; returns its address."""
    execute(address, f"create database {name}")
    return f"{address}/{name}"
