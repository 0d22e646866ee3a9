"""What the API returns: jobs, models, options, limits, faces. Never shows paths or addresses of this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from client.media import IfAudioLonger
from client.option_kinds import Json
from client.options import CONTAINER, END, FACE, MODEL, START
from client.pipelines.length_options import IF_AUDIO_LONGER
from client.web.job_record import JobRecord, State
from client.web.job_settings import JobSettings
from client.web.labels import report_for_programs, warnings_for_people

EXAMPLE_ID = "3f2a9c0d6b7e4f518a90c1d2e3f4a5b6"
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
    audio: str
    preview: str = Field(description="The video as a small H.264, for browsers that cannot show the video itself.")
    poster: str = Field(description="The video's first picture as a JPEG.")
    result: str | None


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
                    "settings": {MODEL.name: MODEL.default, FACE.name: FACE.default_words},
                    "source": {"start_s": 0.0, "end_s": None, "then": IF_AUDIO_LONGER.default},
                    "created_at": "2026-01-31T12:00:00Z",
                    "started_at": "2026-01-31T12:00:01Z",
                    "ended_at": None,
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
                    "links": {
                        "self": f"/jobs/{EXAMPLE_ID}",
                        "events": f"/jobs/{EXAMPLE_ID}/events",
                        "video": f"/jobs/{EXAMPLE_ID}/video",
                        "audio": f"/jobs/{EXAMPLE_ID}/audio",
                        "preview": f"/jobs/{EXAMPLE_ID}/preview",
                        "poster": f"/jobs/{EXAMPLE_ID}/poster",
                        "result": None,
                    },
                }
            ]
        }
    )

    id: str = Field(description="32 hexadecimal digits.")
    state: State = Field(description="finished, failed and cancelled are final; the others are not.")
    video_name: str = Field(description="Name of the video file on the user's machine.")
    audio_name: str = Field(description="Name of the audio file on the user's machine.")
    settings: dict[str, Any] = Field(description="Value of every option, defaults included.")
    source: SourceTimeline = Field(description="How the result's time maps to the source's.")
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    queue_position: int | None = Field(description="Position in the queue, from 1; null if the job is not queued.")
    stage: str = Field(description="Current stage of a running job; otherwise empty.")
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
    report: dict[str, Any] | None = Field(
        description="The client's report of a finished job; options in its warnings have their names in the API."
    )
    links: JobLinks


class JobList(BaseModel):
    """A user's jobs, the newest first."""

    jobs: list[JobView]
    total: int = Field(description="Number of the user's jobs.")
    revision: int = Field(description="Value for GET /events?after= to follow all later changes.")


class ModelView(BaseModel):
    """A pipeline that the server can run."""

    id: str = Field(description=f"Value of the option {MODEL.name}.")
    title: str
    description: str
    settings: list[str] = Field(description="Names of the options that only some models have, this one among them.")
    unavailable: dict[str, list[str]] = Field(
        description="Option name -> choices that this model does not have, or that the server cannot serve at present.",
        examples=[{"detector": ["s3fd"]}],
    )


class ModelList(BaseModel):
    """The pipelines that the server can run."""

    models: list[ModelView]
    detectors: list[str] = Field(description="Names of the face detectors that the server has loaded.")


class ChoiceView(BaseModel):
    """One entry of a drop-down list."""

    value: str
    label: str


class ChoiceControl(BaseModel):
    """A drop-down list."""

    type: Literal["choice"]
    choices: list[ChoiceView]


class NumberControl(BaseModel):
    """A number field."""

    type: Literal["number"]
    min: float
    max: float
    step: float


class SwitchControl(BaseModel):
    """A check box."""

    type: Literal["switch"]


class TextControl(BaseModel):
    """A text field."""

    type: Literal["text"]
    pattern: str = Field(description="Regular expression of the whole text; empty if any text may fit.")
    example: str = Field(description="A text that fits; may be empty.")
    suggestions: list[str] = Field(description="Texts to offer; others are possible.")


Control = Annotated[ChoiceControl | NumberControl | SwitchControl | TextControl, Field(discriminator="type")]


class OptionView(BaseModel):
    """An option of a job, and the form control that asks for it."""

    name: str = Field(description="Name of the field in POST /jobs.")
    label: str
    explanation: str = Field(description="Help for people; may be empty.")
    default: Json = Field(description="Value if nothing is chosen.")
    default_text: str = Field(description="The default in words.")
    control: Control
    models: list[str] = Field(description="Models that have this option; empty if all have it.")


class OptionGroup(BaseModel):
    """Options that belong together."""

    title: str
    options: list[OptionView]


class OptionList(BaseModel):
    """All options of the page's form."""

    groups: list[OptionGroup]
    preview_at: str = Field(description="Option whose value is the first second that is used, where faces are shown.")


class Limits(BaseModel):
    """What the service accepts."""

    max_upload_bytes: int
    max_duration_s: float = Field(description="Longest speech, and longest chosen part of a video, in seconds.")
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
    frame: str = Field(description="The picture as a small JPEG, in base64; for videos that browsers cannot show.")


class Health(BaseModel):
    """The service is alive."""

    status: Literal["ok"] = "ok"


class TokenLogin(BaseModel):
    """A token, to exchange for a session."""

    model_config = ConfigDict(extra="forbid")

    token: str = Field(max_length=1000, examples=["0123456789abcdef0123456789abcdef"])


class SessionView(BaseModel):
    """Whether the caller needs a token and is signed in."""

    token_needed: bool
    signed_in: bool


class UrlJob(JobSettings):  # type: ignore[misc]
    """A job whose files are downloaded from public web addresses."""

    video_url: str = Field(max_length=2000, examples=["https://example.org/speaker.mp4"])
    audio_url: str = Field(max_length=2000, examples=["https://example.org/speech.wav"])


def job_view(record: JobRecord, jobs_ahead: int | None = None, estimate_s: float | None = None) -> JobView:
    """Return what the user sees of a record."""
    speed, eta_s = _pace(record)
    report = record.report
    return JobView(
        id=record.id,
        state=record.state,
        video_name=record.video_name,
        audio_name=record.audio_name,
        settings=record.settings,
        source=_source(record.settings),
        created_at=_moment(record.created_at),
        started_at=None if record.started_at is None else _moment(record.started_at),
        ended_at=None if record.ended_at is None else _moment(record.ended_at),
        queue_position=None if jobs_ahead is None or record.state != "queued" else jobs_ahead + 1,
        stage=record.stage if record.state == "running" else "",
        percent=_percent(record),
        frames=record.frames if report is None else report["frames"],
        total_frames=record.total_frames,
        frames_per_second=speed,
        eta_s=eta_s,
        estimate_s=None if estimate_s is None else round(estimate_s, 1),
        attempts=record.attempts,
        warnings=[] if report is None else warnings_for_people(report["warnings"]),
        error=None if record.error is None else JobFailure(**record.error),
        report=None if report is None else report_for_programs(report),
        links=JobLinks(
            self=f"/jobs/{record.id}",
            events=f"/jobs/{record.id}/events",
            video=f"/jobs/{record.id}/video",
            audio=f"/jobs/{record.id}/audio",
            preview=f"/jobs/{record.id}/preview",
            poster=f"/jobs/{record.id}/poster",
            result=f"/jobs/{record.id}/result" if record.state == "finished" else None,
        ),
    )


def download_name(record: JobRecord) -> str:
    """Return the file name of a downloaded result, made from the video's name."""
    return f"{PurePosixPath(record.video_name).stem or 'video'}-lipsync.{record.settings[CONTAINER.name]}"


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
