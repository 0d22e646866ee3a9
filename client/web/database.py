"""The database of the service's records: SQLite in a file, or PostgreSQL; opened and completed."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.pool import NullPool

from client.errors import UsageError
from client.web.tables import jobs, metadata, revisions, shared
from lipsync_core.extras import install_advice

FORMAT = 5  # version of the records; increase it with every change of the tables
BUSY_TIMEOUT_S = 30.0  # longest wait for another process's change of a SQLite file
CONNECT_TIMEOUT_S = 10  # of PostgreSQL
POOL_SIZE, MAX_OVERFLOW = 5, 15  # connections to PostgreSQL that a process keeps, and may open beside them
FORMAT_NAME = "format"  # in the table `shared`; SQLite has a field of the file for it
SETUP_LOCK = 0x6C697073  # advisory lock of PostgreSQL, held while the tables are created
POSTGRESQL = "postgresql"
DRIVER = "postgresql+psycopg"
AUTOCOMMIT = "AUTOCOMMIT"
ADDED: dict[int, tuple[str, ...]] = {  # version of a SQLite file -> columns that the next one added
    1: ("jobs.duration_s real",),
    2: (
        "jobs.idempotency_key text",
        "jobs.fingerprint text",
        "jobs.callback_url text",
        "jobs.sources text",
        "jobs.fetching integer not null default 0",
        "jobs.furthest integer not null default 0",
    ),
    3: ("jobs.voices text",),
    4: (
        "jobs.number integer not null default 0",
        "jobs.owner text",
        "jobs.process text",
        "jobs.lease_ends_at real",
        "callbacks.number integer not null default 0",
    ),
}


class Database:
    """The records; several threads and processes can use them at once."""

    def __init__(self, place: Path | str) -> None:
        """Open the records, and create what is missing.

        Args:
            place: a SQLite file, or the address of a PostgreSQL database.

        Raises:
            UsageError: another version of the service wrote them, they are damaged, or cannot be reached.
        """
        self.place = place
        self.engine = _sqlite_engine(place) if isinstance(place, Path) else _postgresql_engine(place)
        try:
            if isinstance(place, Path):
                self._open_file(place)
            else:
                self._open_server()
        except sa.exc.DBAPIError as error:
            raise self._cannot_open(error) from error

    @property
    def is_sqlite(self) -> bool:
        """Whether the records are in a file of this machine."""
        return isinstance(self.place, Path)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Connect briefly, to read."""
        with self.engine.connect().execution_options(isolation_level=AUTOCOMMIT) as db:
            yield db

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Connect to make changes: all of them, or none."""
        with self.engine.begin() as db:
            yield db

    def clock(self, db: Connection) -> float:
        """Return the time by the database's clock, in seconds since 1970, so that the nodes' clocks do not matter."""
        if self.is_sqlite:
            return time.time()
        return float(db.execute(sa.select(sa.func.extract("epoch", sa.func.clock_timestamp()))).scalar_one())

    def close(self) -> None:
        """Close the connections that are kept."""
        self.engine.dispose()

    def _cannot_open(self, error: sa.exc.DBAPIError) -> UsageError:
        if not isinstance(self.place, Path):
            shown = self.engine.url.render_as_string(hide_password=True)
            reason = str(error.orig).strip().splitlines()
            return UsageError(
                option="store",
                expected=f"a database at {shown} that can be opened",
                got=reason[0] if reason else type(error.orig).__name__,
                advice="Check that it runs, and the user's rights",
            )
        is_damaged = not isinstance(error.orig, sqlite3.OperationalError)
        way_out = f"To start without the old jobs, move them away: mv {self.place} {self.place}.damaged"
        return UsageError(
            option="data",
            expected=f"job records in {self.place} that can be read",
            got=str(error.orig),
            advice=way_out if is_damaged else "Check the folder and its disk",
        )

    def _open_file(self, path: Path) -> None:
        with self.transaction() as db:
            found = db.exec_driver_sql("pragma quick_check(1)").scalar_one()
            if found != "ok":
                damage = sqlite3.DatabaseError("database disk image is malformed")
                raise sa.exc.DatabaseError("pragma quick_check", None, damage)
            version = db.exec_driver_sql("pragma user_version").scalar_one()
            if version not in (0, FORMAT, *ADDED):
                expected = f"jobs of format {FORMAT} in {path}"
                raise UsageError(option="data", expected=expected, got=f"format {version}", advice="Use another folder")
            if version < 2:
                metadata.create_all(db, tables=[metadata.tables["callbacks"]])
            _complete(db, version)
            metadata.create_all(db)
            if 0 < version < FORMAT:
                db.exec_driver_sql("drop index if exists jobs_by_user")
                db.exec_driver_sql("update jobs set number = rowid")
                db.exec_driver_sql("update callbacks set number = rowid")
            _begin_revisions(db)
            db.exec_driver_sql(f"pragma user_version = {FORMAT}")

    def _open_server(self) -> None:
        with self.transaction() as db:
            db.execute(sa.select(sa.func.pg_advisory_xact_lock(SETUP_LOCK)))
            metadata.create_all(db)
            known = db.execute(sa.select(shared.c.value).where(shared.c.name == FORMAT_NAME)).scalar()
            if known is None:
                db.execute(sa.insert(shared).values(name=FORMAT_NAME, value=str(FORMAT)))
            elif known != str(FORMAT):
                expected = f"jobs of format {FORMAT}"
                raise UsageError(
                    option="store", expected=expected, got=f"format {known}", advice="Use another database"
                )
            _begin_revisions(db)


def _sqlite_engine(path: Path) -> sa.Engine:
    """Make an engine whose transactions take the file's lock at once, and whose connections nobody keeps."""
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)), poolclass=NullPool, connect_args={"timeout": BUSY_TIMEOUT_S}
    )

    @sa.event.listens_for(engine, "connect")
    def _leave_transactions_to_us(connection: Any, _record: object) -> None:
        connection.isolation_level = None

    @sa.event.listens_for(engine, "begin")
    def _begin(db: Connection) -> None:
        if db.get_execution_options().get("isolation_level") != AUTOCOMMIT:
            db.exec_driver_sql("begin immediate")

    return engine


def _postgresql_engine(address: str) -> sa.Engine:
    """Make an engine that replaces connections which the server has closed.

    Raises:
        UsageError: it is no address of a PostgreSQL database, or the package for it is missing.
    """
    url = database_url(address)
    try:
        return sa.create_engine(
            url,
            pool_size=POOL_SIZE,
            max_overflow=MAX_OVERFLOW,
            pool_pre_ping=True,
            connect_args={"connect_timeout": CONNECT_TIMEOUT_S, "application_name": "lipsync-web"},
        )
    except ModuleNotFoundError as error:
        raise UsageError(
            option="store",
            expected="the package psycopg for PostgreSQL",
            got="none",
            advice=install_advice("postgresql"),
        ) from error


def database_url(address: str) -> sa.URL:
    """Read the address of a PostgreSQL database.

    Raises:
        UsageError: it is none; the message repeats no part of it, as there may be a password in it.
    """
    try:
        url = sa.make_url(address)
    except (sa.exc.ArgumentError, ValueError):
        url = None
    if url is None or url.drivername not in (POSTGRESQL, "postgres", DRIVER) or not url.database:
        raise UsageError(option="store", expected="postgresql://USER@HOST:PORT/DATABASE", got="something else")
    return url.set(drivername=DRIVER)


def _complete(db: Connection, version: int) -> None:
    """Add the columns that a SQLite file of an earlier version lacks."""
    for column in [added for old, columns in ADDED.items() if 0 < version <= old for added in columns]:
        table, _, name = column.partition(".")
        known = {row[1] for row in db.exec_driver_sql(f"pragma table_info({table})")}
        if name.split()[0] not in known:  # the table itself was created just now
            db.exec_driver_sql(f"alter table {table} add column {name}")


def _begin_revisions(db: Connection) -> None:
    """Give the counter of revisions its row, above all revisions that were used before."""
    if db.execute(sa.select(sa.func.count()).select_from(revisions)).scalar_one() == 0:
        newest = sa.select(sa.func.coalesce(sa.func.max(jobs.c.revision), 0)).scalar_subquery()
        db.execute(sa.insert(revisions).from_select(["newest"], sa.select(newest)))
