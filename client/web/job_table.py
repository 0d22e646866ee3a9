"""Rows of the table of jobs as records, and changes of them, each with a revision of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from client.web.database import Database
from client.web.job_record import JobRecord
from client.web.tables import jobs, revisions

JSON_FIELDS = ("settings", "error", "report", "sources", "voices")
NOT_DELETED = sa.not_(jobs.c.deleted)


class JobTable(Database):
    """The table of jobs."""

    def _select(self, *where: sa.ColumnElement[bool], order: Sequence[Any] = ()) -> list[JobRecord]:
        with self.connection() as db:
            return [record_of(row) for row in db.execute(sa.select(jobs).where(*where).order_by(*order)).mappings()]

    def _count(self, *where: sa.ColumnElement[bool]) -> int:
        with self.connection() as db:
            return int(db.execute(sa.select(sa.func.count()).select_from(jobs).where(*where)).scalar_one())

    def _update(self, values: Mapping[str, Any], *where: sa.ColumnElement[bool]) -> bool:
        """Change jobs; returns whether there were any. Times are given as CLOCK."""
        with self.transaction() as db:
            revision = next_revision(db)
            filled = {name: self.clock(db) if value is CLOCK else value for name, value in values.items()}
            changed = db.execute(sa.update(jobs).where(*where).values(**filled, revision=revision)).rowcount
            if not changed:
                db.rollback()
        return bool(changed)

    def _known(self, job_id: str) -> JobRecord:
        (record,) = self._select(jobs.c.id == job_id)
        return record


class _Clock:
    """Stands for the database's time."""


CLOCK = _Clock()


def next_revision(db: Connection) -> int:
    """Return the next revision. Other changes of jobs wait until this one is visible: none is ever overtaken."""
    changed = sa.update(revisions).values(newest=revisions.c.newest + 1).returning(revisions.c.newest)
    return int(db.execute(changed).scalar_one())


def record_of(row: sa.RowMapping | Mapping[str, Any]) -> JobRecord:
    """Return a row of the table as a record."""
    known: dict[str, Any] = {
        str(name): value for name, value in row.items()
    }  # a callback's record may lack columns that were added since
    values: dict[str, Any] = {name: known.get(name) for name in JobRecord.__dataclass_fields__}
    for name in JSON_FIELDS:
        if isinstance(values[name], str):  # in callbacks of records of format 4 and before
            values[name] = json.loads(values[name])
    return JobRecord(**values | {"deleted": bool(values["deleted"]), "fetching": bool(values["fetching"])})
