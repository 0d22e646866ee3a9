"""A job of the service as everybody sees it: its states, and what is recorded of it. Does not know the database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from client.web.job_settings import AUDIO_FILE, SCRIPT_FILE, VIDEO_FILE

State = Literal["queued", "running", "cancelling", "finished", "failed", "cancelled"]
STATES: tuple[State, ...] = get_args(State)
ACTIVE: tuple[State, ...] = ("queued", "running", "cancelling")
ENDED: tuple[State, ...] = ("finished", "failed", "cancelled")
RETRIABLE: tuple[State, ...] = ("failed", "cancelled")


FETCHING = "fetching"  # the stage of a queued job whose files are downloaded


@dataclass(frozen=True)
class JobOrder:
    """What a request for a job says beside its files and settings.

    Attributes:
        key: makes the same request again lead to the same job.
        fingerprint: digest of the request; set if there is a key.
        callback_url: the web address to tell of the job's end.
        sources: field -> web address to fetch a file from; None if the files were uploaded.
        voices: part -> file name on the user's machine, of the voices that a script names; None without a script.
    """

    key: str | None = None
    fingerprint: str | None = None
    callback_url: str | None = None
    sources: dict[str, str] | None = None
    voices: dict[str, str] | None = None


NO_ORDER = JobOrder()


@dataclass(frozen=True)
class Failure:
    """Why a job failed.

    Attributes:
        title: kind of error, for people.
        detail: the error in one line; options have their names in the API.
        user_message: the same in sentences for people; options have their labels on the page.
    """

    title: str
    detail: str
    user_message: str


@dataclass(frozen=True)
class JobRecord:
    """The current state of a job.

    Attributes:
        id: 32 hexadecimal digits.
        user: its owner.
        state: see State.
        settings: value of every option, as JSON.
        video_name, audio_name: file names on the user's machine, for display; never used as paths.
        created_at, started_at, ended_at: seconds since 1970.
        stage, stage_started_at: current stage, and when it began.
        frames, total_frames: frames done in this stage, and their estimated total.
        attempts: number of starts.
        error: the fields of a Failure.
        report: the client's report.
        deleted: whether its user has deleted it.
        revision: increases with every change of any job.
        duration_s: length of the result, as estimated from the files; None if unknown.
        number: increases with every new job.
        fingerprint: digest of the request that made it, if that had an idempotency key.
        callback_url: the web address that is told of its end.
        sources: field -> web address that a file comes from; None if the files were uploaded.
        fetching: whether its files are still to come from there.
        voices: as in its order.
    """

    id: str
    user: str
    state: State
    settings: dict[str, Any]
    video_name: str
    audio_name: str
    created_at: float
    started_at: float | None
    ended_at: float | None
    stage: str
    stage_started_at: float | None
    frames: int
    total_frames: int | None
    attempts: int
    error: dict[str, str] | None
    report: dict[str, Any] | None
    deleted: bool
    revision: int
    duration_s: float | None
    number: int
    fingerprint: str | None
    callback_url: str | None
    sources: dict[str, str] | None
    fetching: bool
    voices: dict[str, str] | None


def files_of(record: JobRecord) -> tuple[str, ...]:
    """Return the names of the files that a job needs, in its folder."""
    return (VIDEO_FILE, AUDIO_FILE) if record.voices is None else (VIDEO_FILE, *record.voices, SCRIPT_FILE)
