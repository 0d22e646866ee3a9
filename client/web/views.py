"""What the API answers: jobs, models, limits, faces. Paths and addresses of this machine never appear."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from client.options import MODEL
from client.web.job_settings import JobSettings
from client.web.store import JobRecord, State

EXAMPLE_ID = "3f2a9c0d6b7e4f518a90c1d2e3f4a5b6"
SETTLED_S = 2.0  # of a stage, before what remains is estimated
ALMOST = 99.9  # percent shown at most before the result is complete


class JobFailure(BaseModel):
    """Why a job failed, in people's words."""

    title: str
    detail: str


class JobLinks(BaseModel):
    """Where the parts of a job are."""

    self: str
    events: str
    video: str
    result: str | None


class JobView(BaseModel):
    """A job as it stands."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": EXAMPLE_ID,
                    "state": "running",
                    "video_name": "speaker.mp4",
                    "audio_name": "speech.wav",
                    "settings": {MODEL.name: MODEL.default, "face": "largest"},
                    "created_at": "2026-01-31T12:00:00Z",
                    "started_at": "2026-01-31T12:00:01Z",
                    "ended_at": None,
                    "queue_position": None,
                    "stage": "lip-syncing",
                    "percent": 42.5,
                    "frames": 85,
                    "total_frames": 200,
                    "fps": 31.2,
                    "eta_s": 3.7,
                    "attempts": 1,
                    "warnings": [],
                    "error": None,
                    "report": None,
                    "links": {
                        "self": f"/jobs/{EXAMPLE_ID}",
                        "events": f"/jobs/{EXAMPLE_ID}/events",
                        "video": f"/jobs/{EXAMPLE_ID}/video",
                        "result": None,
                    },
                }
            ]
        }
    )

    id: str = Field(description="32 hexadecimal digits.")
    state: State = Field(description="queued, running and cancelling go on; finished, failed and cancelled stay.")
    video_name: str = Field(description="The user's own name of the video.")
    audio_name: str = Field(description="The user's own name of the speech.")
    settings: dict[str, Any] = Field(description="What was chosen, defaults included.")
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    queue_position: int | None = Field(description="1 for the next one to be run; absent when not queued.")
    stage: str = Field(description="What is being done.")
    percent: float = Field(ge=0, le=100, description="Of the frames.")
    frames: int = Field(description="Done in this stage.")
    total_frames: int | None = Field(description="Estimated for this stage.")
    fps: float | None = Field(description="Frames per second of work.")
    eta_s: float | None = Field(description="Seconds that remain, estimated.")
    attempts: int = Field(description="How often it was begun; more than once after an interruption of the service.")
    warnings: list[str] = Field(description="What the user should know about the result.")
    error: JobFailure | None
    report: dict[str, Any] | None = Field(description="The client's report of a finished job.")
    links: JobLinks


class JobList(BaseModel):
    """A user's jobs, the newest first."""

    jobs: list[JobView]
    total: int = Field(description="How many there are in all.")
    revision: int = Field(description="What GET /events?after= goes on from.")


class ModelView(BaseModel):
    """A generator that the server has loaded."""

    id: str
    title: str
    description: str
    settings: list[str] = Field(description="Settings that only this model understands.")


class ModelList(BaseModel):
    """What the server has loaded."""

    models: list[ModelView]
    detectors: list[str] = Field(description="What can find faces for wav2lip.")


class Limits(BaseModel):
    """What the service accepts."""

    max_upload_bytes: int
    max_jobs_per_user: int
    keep_hours: float
    urls_allowed: bool


class FaceView(BaseModel):
    """A face in a picture, in its pixels."""

    x1: float
    y1: float
    x2: float
    y2: float
    score: float
    choice: str = Field(description="The value of the setting `face` that chooses it.", examples=["640,210"])


class FaceList(BaseModel):
    """The faces of a picture, from left to right."""

    width: int
    height: int
    faces: list[FaceView]


class Health(BaseModel):
    """The service answers."""

    status: Literal["ok"] = "ok"


class TokenLogin(BaseModel):
    """A token, to be exchanged for a session."""

    model_config = ConfigDict(extra="forbid")

    token: str = Field(max_length=1000, examples=["0123456789abcdef0123456789abcdef"])


class SessionView(BaseModel):
    """Whether this caller needs a token, and has shown one."""

    token_needed: bool
    signed_in: bool


class UrlJob(JobSettings):  # type: ignore[misc]
    """A job whose media are fetched from public web addresses."""

    video_url: str = Field(max_length=2000, examples=["https://example.org/speaker.mp4"])
    audio_url: str = Field(max_length=2000, examples=["https://example.org/speech.wav"])


def job_view(record: JobRecord, jobs_ahead: int | None = None) -> JobView:
    """Turn a record into what its user sees."""
    fps, eta_s = _pace(record)
    report = record.report
    return JobView(
        id=record.id,
        state=record.state,
        video_name=record.video_name,
        audio_name=record.audio_name,
        settings=record.settings,
        created_at=_moment(record.created_at),
        started_at=None if record.started_at is None else _moment(record.started_at),
        ended_at=None if record.ended_at is None else _moment(record.ended_at),
        queue_position=None if jobs_ahead is None or record.state != "queued" else jobs_ahead + 1,
        stage=record.stage if record.state == "running" else "",
        percent=_percent(record),
        frames=record.frames if report is None else report["frames"],
        total_frames=record.total_frames,
        fps=fps,
        eta_s=eta_s,
        attempts=record.attempts,
        warnings=[] if report is None else report["warnings"],
        error=None if record.error is None else JobFailure(**record.error),
        report=report,
        links=JobLinks(
            self=f"/jobs/{record.id}",
            events=f"/jobs/{record.id}/events",
            video=f"/jobs/{record.id}/video",
            result=f"/jobs/{record.id}/result" if record.state == "finished" else None,
        ),
    )


def download_name(record: JobRecord) -> str:
    """Name a result for the user's disk, after the video."""
    return f"{PurePosixPath(record.video_name).stem or 'video'}-lipsync.{record.settings['container']}"


def _pace(record: JobRecord) -> tuple[float | None, float | None]:
    """Return frames per second and remaining seconds of a running job's stage."""
    if record.state != "running" or record.stage_started_at is None or not record.frames:
        return None, None
    elapsed_s = max(time.time() - record.stage_started_at, 1e-3)
    fps = record.frames / elapsed_s
    is_settled = record.total_frames is not None and elapsed_s >= SETTLED_S
    left = max((record.total_frames or 0) - record.frames, 0) / fps if is_settled else None
    return round(fps, 1), None if left is None else round(left, 1)


def _percent(record: JobRecord) -> float:
    if record.state == "finished":
        return 100.0
    if not record.total_frames:
        return 0.0
    return round(min(100 * record.frames / record.total_frames, ALMOST), 1)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
