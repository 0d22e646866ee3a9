"""What the API returns of a job. Never shows paths or addresses of this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from client.media import IfAudioLonger
from client.options import CONTAINER, END, FACE, MODEL, START
from client.pipelines.length_options import IF_AUDIO_LONGER
from client.web.callback_store import CallbackState
from client.web.job_record import ENDED, JobRecord, State, files_of
from client.web.job_settings import AUDIO_FILE
from client.web.labels import report_for_programs, warnings_for_people
from client.web.report_view import ReportView

EXAMPLE_ID = "3f2a9c0d6b7e4f518a90c1d2e3f4a5b6"
MAX_LINK_S = 24 * 3600
SETTLED_S = 2.0  # a stage's age from which the remaining time is estimated
ALMOST = 99.9  # highest percentage shown before the result is complete


class JobFailure(BaseModel):
    """Why a job failed."""

    title: str = Field(description="The kind of error, for people.")
    detail: str = Field(description="What was wrong and what to do; options have their names in the API.")
    user_message: str = Field(description="The same in sentences for people; options have their labels on the page.")


class SourceTimeline(BaseModel):
    """Which part of the source a result shows, and what it shows after that part."""

    start_s: float = Field(description="Start of the part, in seconds of the source.")
    end_s: float | None = Field(description="End of the part, in seconds of the source; null for the source's end.")
    then: IfAudioLonger = Field(description="What follows if the audio is longer: see the setting if_audio_longer.")


class JobLinks(BaseModel):
    """Paths of a job's parts."""

    self: str
    events: str
    video: str
    audio: str | None = Field(description="Null for a job whose script does not name the part `audio`.")
    script: str | None = Field(description="Null for a job without a script.")
    preview: str = Field(description="The video as a small H.264, for browsers that cannot show the video itself.")
    poster: str = Field(description="The video's first picture as a JPEG.")
    progressive: str | None = Field(
        description="What is ready of the result, to watch while it is made; null where there is nothing to watch."
    )
    result: str | None
    credentials: str | None = Field(
        description="The signed credentials of a result that cannot hold them itself; null otherwise."
    )


class CallbackView(BaseModel):
    """How far the message about a job's end has come."""

    url: str = Field(description="The web address that is told.")
    state: Literal["waiting", "delivered", "given up"]
    attempts: int = Field(description="Number of attempts so far.")
    answer: str = Field(description="Why the last attempt failed; empty if it did not.", examples=["status 500"])


class JobView(BaseModel):
    """The current state of a job."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": EXAMPLE_ID,
                    "state": "running",
                    "video_name": "speaker.mp4",
                    "audio_name": "speech.wav",
                    "voices": {},
                    "settings": {MODEL.name: MODEL.default, FACE.name: FACE.default_words},
                    "source": {"start_s": 0.0, "end_s": None, "then": IF_AUDIO_LONGER.default},
                    "created_at": "2026-01-31T12:00:00Z",
                    "started_at": "2026-01-31T12:00:01Z",
                    "ended_at": None,
                    "expires_at": None,
                    "queue_position": None,
                    "stage": "lip-syncing",
                    "percent": 42.5,
                    "frames": 85,
                    "total_frames": 200,
                    "frames_per_second": 31.2,
                    "eta_s": 3.7,
                    "estimate_s": 8.2,
                    "attempts": 1,
                    "warnings": [],
                    "error": None,
                    "report": None,
                    "callback": None,
                    "links": {
                        "self": f"/jobs/{EXAMPLE_ID}",
                        "events": f"/jobs/{EXAMPLE_ID}/events",
                        "video": f"/jobs/{EXAMPLE_ID}/video",
                        "audio": f"/jobs/{EXAMPLE_ID}/audio",
                        "preview": f"/jobs/{EXAMPLE_ID}/preview",
                        "poster": f"/jobs/{EXAMPLE_ID}/poster",
                        "progressive": f"/jobs/{EXAMPLE_ID}/progressive",
                        "result": None,
                    },
                }
            ]
        }
    )

    id: str = Field(description="32 hexadecimal digits.")
    state: State = Field(description="finished, failed and cancelled are final; the others are not.")
    video_name: str = Field(description="Name of the video file on the user's machine.")
    audio_name: str = Field(description="Name of the audio file on the user's machine, or of all voices' files.")
    voices: dict[str, str] = Field(description="Of a job with a script: part -> file name, of each voice.")
    settings: dict[str, Any] = Field(description="Value of every option, defaults included.")
    source: SourceTimeline = Field(description="How the result's time maps to the source's.")
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    expires_at: datetime | None = Field(description="When an ended job is removed with its files; null before its end.")
    queue_position: int | None = Field(
        description="Position in the queue, from 1; null if the job is not queued, or its files are still fetched."
    )
    stage: str = Field(
        description="Current stage of a running job, or `fetching` while a queued one waits for its files; else empty."
    )
    percent: float = Field(ge=0, le=100, description="Percentage of the stage's frames that are done.")
    frames: int = Field(description="Frames done in this stage.")
    total_frames: int | None = Field(description="Estimated number of frames of this stage.")
    frames_per_second: float | None = Field(description="Processing speed of this stage.")
    eta_s: float | None = Field(description="Estimated remaining time, in seconds.")
    estimate_s: float | None = Field(
        description="Estimated processing time of the whole job, from earlier jobs of its model; null if unknown."
    )
    attempts: int = Field(description="Number of starts; more than 1 after an interruption of the service.")
    warnings: list[str] = Field(
        description="What the user should know about the result; options have their labels on the page."
    )
    error: JobFailure | None
    report: ReportView | None = Field(description="What became of a finished job; null before.")
    callback: CallbackView | None = Field(description="The message about the job's end, if the request asked for it.")
    links: JobLinks


class JobList(BaseModel):
    """A user's jobs, the newest first."""

    jobs: list[JobView]
    total: int = Field(description="Number of the user's jobs, in the states that were asked for.")
    next_cursor: str | None = Field(description="Value of `cursor` for the jobs that follow; null if none do.")
    revision: int = Field(description="Value for GET /events?after= to follow all later changes.")


class ResultUrlRequest(BaseModel):
    """What a link to a result is to be like."""

    model_config = ConfigDict(extra="forbid")

    expires_in_s: int = Field(default=3600, ge=60, le=MAX_LINK_S, description="How long it works, in seconds.")
    download: bool = Field(default=False, description="Whether it gives a download instead of something to show.")


class ResultUrl(BaseModel):
    """A link that needs no token."""

    url: str = Field(description="The whole address; it stops working when the job is removed, too.")
    expires_at: datetime


def job_view(
    record: JobRecord,
    *,
    keep_s: float,
    jobs_ahead: int | None = None,
    estimate_s: float | None = None,
    callback: CallbackState | None = None,
    is_ready: bool = False,
) -> JobView:
    """Return what the user sees of a record.

    Args:
        record: the job.
        keep_s: how long ended jobs are kept, in seconds.
        jobs_ahead: number of jobs that come before it; None if it does not wait.
        estimate_s: estimated processing time, in seconds.
        callback: how far its callback has come; None if it has not ended.
        is_ready: whether there is a part of its result to watch.
    """
    speed, eta_s = _pace(record)
    report = record.report
    return JobView(
        id=record.id,
        state=record.state,
        video_name=record.video_name,
        audio_name=record.audio_name,
        voices=record.voices or {},
        settings=record.settings,
        source=_source(record.settings),
        created_at=_moment(record.created_at),
        started_at=None if record.started_at is None else _moment(record.started_at),
        ended_at=None if record.ended_at is None else _moment(record.ended_at),
        expires_at=_expiry(record, keep_s),
        queue_position=None if jobs_ahead is None else jobs_ahead + 1,
        stage=record.stage if record.state == "running" or record.fetching else "",
        percent=_percent(record),
        frames=record.frames if report is None else report["frames"],
        total_frames=record.total_frames,
        frames_per_second=speed,
        eta_s=eta_s,
        estimate_s=None if estimate_s is None else round(estimate_s, 1),
        attempts=record.attempts,
        warnings=[] if report is None else warnings_for_people(report["warnings"]),
        error=None if record.error is None else JobFailure(**record.error),
        report=None if report is None else ReportView.model_validate(report_for_programs(report)),
        callback=_callback(record, callback),
        links=JobLinks(
            self=f"/jobs/{record.id}",
            events=f"/jobs/{record.id}/events",
            video=f"/jobs/{record.id}/video",
            audio=f"/jobs/{record.id}/audio" if AUDIO_FILE in files_of(record) else None,
            script=None if record.voices is None else f"/jobs/{record.id}/script",
            preview=f"/jobs/{record.id}/preview",
            poster=f"/jobs/{record.id}/poster",
            progressive=f"/jobs/{record.id}/progressive" if is_ready else None,
            result=f"/jobs/{record.id}/result" if record.state == "finished" else None,
            credentials=f"/jobs/{record.id}/credentials" if sidecar_file(record) else None,
        ),
    )


def _expiry(record: JobRecord, keep_s: float) -> datetime | None:
    return None if record.ended_at is None else _moment(record.ended_at + keep_s)


def _callback(record: JobRecord, state: CallbackState | None) -> CallbackView | None:
    if record.callback_url is None:
        return None
    if state is None or record.state not in ENDED:
        return CallbackView(url=record.callback_url, state="waiting", attempts=0, answer="")
    return CallbackView(url=record.callback_url, state=_outcome(state), attempts=state.attempts, answer=state.answer)


def _outcome(state: CallbackState) -> Literal["waiting", "delivered", "given up"]:
    if not state.is_over:
        return "waiting"
    return "given up" if state.answer else "delivered"


def download_name(record: JobRecord) -> str:
    """Return the file name of a downloaded result, made from the video's name."""
    return f"{PurePosixPath(record.video_name).stem or 'video'}-lipsync.{record.settings[CONTAINER.name]}"


def sidecar_file(record: JobRecord) -> str | None:
    """Return the name of the file with the result's credentials; None if there is none beside it."""
    provenance = (record.report or {}).get("provenance") or {}
    return provenance.get("sidecar")


def _source(settings: Mapping[str, Any]) -> SourceTimeline:
    """Return the part of the source that was chosen; options that a record lacks have their defaults."""
    start, end, then = (settings.get(option.name, option.default) for option in (START, END, IF_AUDIO_LONGER))
    return SourceTimeline(start_s=start, end_s=end, then=then)


def _pace(record: JobRecord) -> tuple[float | None, float | None]:
    """Return frames per second and remaining seconds of a running job's stage."""
    if record.state != "running" or record.stage_started_at is None or not record.frames:
        return None, None
    elapsed_s = time.time() - record.stage_started_at
    if elapsed_s <= 0:  # the clock was set back
        return None, None
    speed = record.frames / elapsed_s
    is_settled = record.total_frames is not None and elapsed_s >= SETTLED_S
    left = max((record.total_frames or 0) - record.frames, 0) / speed if is_settled else None
    return round(speed, 1), None if left is None else round(left, 1)


def _percent(record: JobRecord) -> float:
    if record.state == "finished":
        return 100.0
    if not record.total_frames:
        return 0.0
    return round(min(100 * record.frames / record.total_frames, ALMOST), 1)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
