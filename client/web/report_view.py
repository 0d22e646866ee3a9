"""The report of a finished job as the API returns it: the fields of client.report.Report but its path."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Spans = list[tuple[float, float]]
COMPLETE = ConfigDict(json_schema_serialization_defaults_required=True)  # defaults are for records of older versions


class UnchangedView(BaseModel):
    """Frames that passed through unchanged for the same reason."""

    model_config = COMPLETE

    reason: str = Field(description="Why, for people.")
    frames: int = Field(default=0, description="How many.")
    spans: Spans = Field(default=[], description="[start, end] in seconds of the result, the first thousand.")


class SpeakerView(BaseModel):
    """What became of one speaker."""

    model_config = COMPLETE

    name: str = Field(description="The speaker's name.")
    frames_synced: int = Field(default=0, description="Frames whose mouth was changed.")
    unchanged: dict[str, UnchangedView] = Field(default={}, description="The other frames, by reason.")


class ProvenanceView(BaseModel):
    """How a result can be recognised as generated."""

    model_config = COMPLETE

    is_marked: bool = Field(default=False, description="Whether its changed regions carry the mark.")
    signed_by: str | None = Field(default=None, description="Whom the certificate names that signed it.")
    signed_at: str | None = Field(default=None, description="When, by the clock of the service.")
    timestamped_by: str | None = Field(default=None, description="Address of the timestamp authority.")
    sidecar: str | None = Field(default=None, description="The file with its credentials, if it does not hold them.")
    label: str | None = Field(default=None, description="The visible label.")


class FindingView(BaseModel):
    """One thing that was checked."""

    model_config = COMPLETE

    verdict: Literal["good", "doubtful", "bad", "unknown"] = Field(
        default="unknown", description="Whether it is as it should be; unknown where the evidence is too weak."
    )
    value: float | None = Field(default=None, description="The figure; null if the verdict is unknown.")
    text: str = Field(default="", description="What it means, for people.")


class SpanQualityView(BaseModel):
    """How well a speaker's mouth does in a part of the result."""

    model_config = COMPLETE

    speaker: str = Field(description="The speaker's name.")
    start_s: float = Field(description="Start of the part, in seconds of the result.")
    end_s: float = Field(description="Its end.")
    frames: int = Field(description="Frames that show the mouth, of those that were looked at.")
    follows: FindingView = Field(description="Correlation of the mouth's opening with what the speech suggests.")
    silence: FindingView = Field(description="Motion while nobody speaks, as a share of the range in speech.")
    closures: FindingView | None = Field(
        default=None, description="Share of p, b and m at which the lips close; null without an alignment."
    )


class SyncFiguresView(BaseModel):
    """How well a face and its sound agree by SyncNet."""

    model_config = COMPLETE

    lse_c: float = Field(description="LSE-C, the confidence; higher is better.")
    lse_d: float = Field(description="LSE-D, the smallest mean distance; lower is better.")
    offset_frames: int = Field(description="Frames of 40 ms by which the sound is early; negative if it is late.")
    windows: int = Field(description="Windows of 0.2 s that were compared.")


class SpeakerQualityView(BaseModel):
    """How well a speaker's mouth does in the whole result."""

    model_config = COMPLETE

    speaker: str = Field(description="The speaker's name.")
    frames: int = Field(description="Frames that show the mouth, of those that were looked at.")
    follows: FindingView = Field(description="As for a span.")
    silence: FindingView = Field(description="As for a span.")
    offset: FindingView = Field(description="How much later than the speech the mouth moves, in seconds.")
    syncnet: SyncFiguresView | None = Field(
        default=None, description="SyncNet's figures, of a full check where the server has its networks."
    )
    closures: FindingView | None = Field(default=None, description="As for a span.")


class QualityView(BaseModel):
    """What the check of a result found."""

    model_config = COMPLETE

    check: Literal["quick", "full"] = Field(default="quick", description="How it was checked.")
    frames: int = Field(default=0, description="Frames that were looked at.")
    seconds: float = Field(default=0.0, description="Time that the check took, a part of the processing time.")
    speakers: list[SpeakerQualityView] = Field(default=[], description="How well each speaker's mouth does.")
    spans: list[SpanQualityView] = Field(default=[], description="The same by parts of the result.")
    flicker: FindingView = Field(default=FindingView(), description="Added flicker, in grey levels of 255.")
    edge: FindingView = Field(default=FindingView(), description="Change along the region's edge, in grey levels.")
    outside_samples: int = Field(
        default=0, description="Samples that differ from the source outside the region, as the encoder got them."
    )
    audio_offset_s: float | None = Field(
        default=None, description="How much later the mouth moves than the speech, if that is noticeable."
    )
    fixed_offset_s: float = Field(default=0.0, description="How much earlier the lips were drawn to correct that.")
    failure: str | None = Field(default=None, description="Why the check was not completed.")


class ReportView(BaseModel):
    """What became of a job: counts and times."""

    model_config = COMPLETE

    job_id: str = Field(default="", description="Names the job in requests and logs.")
    model: str = Field(default="", description="The pipeline.")
    transport: str = Field(default="", description="How frames were sent to the server: shm or grpc.")
    width: int = Field(default=0, description="Width of the picture as shown, in pixels.")
    height: int = Field(default=0, description="Height of the picture as shown, in pixels.")
    video_fps: float = Field(default=0.0, description="Frames per second of the source, on average.")
    duration_s: float = Field(default=0.0, description="Duration of the result, in seconds.")
    frames: int = Field(default=0, description="Frames written.")
    frames_synced: int = Field(default=0, description="Frames whose mouth was changed.")
    frames_without_face: int = Field(default=0, description="All other frames, unchanged for any reason.")
    spans_without_face: Spans = Field(default=[], description="[start, end] of unchanged spans, in seconds.")
    unchanged: dict[str, UnchangedView] = Field(
        default={}, description="The unchanged frames by reason, such as no_face or covered."
    )
    speakers: list[SpeakerView] = Field(default=[], description="The same for each speaker.")
    speaking: str | None = Field(
        default=None, description="What told who speaks in the video, `lips` or `syncnet`; null if nobody asked."
    )
    sound: list[str] = Field(default=[], description="What the sound is made of, one sentence each.")
    provenance: ProvenanceView | None = Field(default=None, description="How the result is marked and signed.")
    quality: QualityView | None = Field(default=None, description="What the check of the result found.")
    requests: int = Field(default=0, description="Requests to the server, those answered from kept parts included.")
    requests_reused: int = Field(default=0, description="Requests answered from parts of an interrupted attempt.")
    seconds: float = Field(default=0.0, description="Processing time, in seconds.")
    server_start_s: float | None = Field(default=None, description="Start of an embedded server; else null.")
    seconds_per_stage: dict[str, float] = Field(default={}, description="Working time per stage; stages overlap.")
    realtime_factor: float = Field(default=0.0, description="Processing seconds per second of the result.")
    peak_rss_mb: float = Field(default=0.0, description="The job's largest resident memory, in MB.")
    warnings: list[str] = Field(
        default=[], description="What the user should know, one sentence each; options have their names in the API."
    )
