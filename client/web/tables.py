"""The tables of the service's records, the same on SQLite and PostgreSQL."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()
_json = sa.JSON(none_as_null=True)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("settings", _json, nullable=False),
    sa.Column("video_name", sa.Text, nullable=False),
    sa.Column("audio_name", sa.Text, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("started_at", sa.Double),
    sa.Column("ended_at", sa.Double),
    sa.Column("stage", sa.Text, nullable=False, server_default=""),
    sa.Column("stage_started_at", sa.Double),
    sa.Column("frames", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("total_frames", sa.BigInteger),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("error", _json),
    sa.Column("report", _json),
    sa.Column("deleted", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("duration_s", sa.Double),
    sa.Column("idempotency_key", sa.Text),
    sa.Column("fingerprint", sa.Text),
    sa.Column("callback_url", sa.Text),
    sa.Column("sources", _json),
    sa.Column("fetching", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("furthest", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("voices", _json),
    sa.Column("number", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("owner", sa.Text),  # the process that has claimed it; see client/web/owner.py
    sa.Column("process", sa.Text),  # the process that it runs in, a child of the owner
    sa.Column("lease_ends_at", sa.Double),  # by the database's clock
)
sa.Index("jobs_by_number", jobs.c.user, jobs.c.number)
sa.Index("jobs_by_revision", jobs.c.revision)
sa.Index("jobs_by_start", jobs.c.user, jobs.c.started_at)
sa.Index("jobs_by_state", jobs.c.state, jobs.c.user, jobs.c.number)
_has_key = jobs.c.idempotency_key.is_not(None)
sa.Index(
    "jobs_by_key",
    jobs.c.user,
    jobs.c.idempotency_key,
    unique=True,
    sqlite_where=_has_key,
    postgresql_where=_has_key,
)

revisions = sa.Table(  # one row; whoever changes a job holds it until the change is visible
    "revisions", metadata, sa.Column("newest", sa.BigInteger, nullable=False)
)

totals = sa.Table(
    "totals",
    metadata,
    sa.Column("state", sa.Text, primary_key=True),
    sa.Column("jobs", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("frames", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("seconds", sa.Double, nullable=False, server_default="0"),
)

callbacks = sa.Table(
    "callbacks",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("job_id", sa.Text, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("record", _json, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("due_at", sa.Double),
    sa.Column("answer", sa.Text, nullable=False, server_default=""),
    sa.Column("number", sa.BigInteger, nullable=False, server_default="0"),  # the revision in which the job ended
)
sa.Index("callbacks_by_job", callbacks.c.job_id)
sa.Index("callbacks_by_time", callbacks.c.due_at)

shared = sa.Table(  # what all services of one store agree on, such as the key of links
    "shared", metadata, sa.Column("name", sa.Text, primary_key=True), sa.Column("value", sa.Text, nullable=False)
)

revoked_sessions = sa.Table(
    "revoked_sessions",
    metadata,
    sa.Column("session", sa.Text, primary_key=True),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
)

duties = sa.Table(  # what one service at a time does for all
    "duties",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("lease_ends_at", sa.Double, nullable=False),
)
