"""What the page is told beside the API's own views: pipelines to choose from, the queue, the example."""

from __future__ import annotations

from pydantic import BaseModel, Field

from client.options import MODEL
from client.pipeline import Pipeline
from client.web.views import ModelList

HOW_TO_ADD = "Whoever runs this service can add what it lacks: “lipsync models” says how."


class PipelineView(BaseModel):
    """A pipeline as people choose it, whether the server can run it or not."""

    id: str = Field(description=f"Value of the option {MODEL.name}.")
    title: str
    description: str
    speed_text: str = Field(description="How fast it is, in words.")
    quality_text: str = Field(description="What its results look like, in words.")
    licence: str = Field(description="What its weights may be used for.")
    ready: bool = Field(description="Whether the server can run it now.")
    advice: str = Field(description="What to do if it cannot; otherwise empty.")
    unavailable: dict[str, list[str]] = Field(description="As in GET /models.")
    seconds_per_second: float | None = Field(
        description="Processing time for a second of result, from earlier jobs on this server; null without any."
    )


class PipelineViews(BaseModel):
    """All pipelines, in the order in which users see them."""

    pipelines: list[PipelineView]


class QueueView(BaseModel):
    """How busy the service is."""

    ahead: int = Field(description="Jobs of all users that have not ended.")
    wait_s: float | None = Field(description="Estimated time until they have ended, in seconds; null if unknown.")


class ExampleView(BaseModel):
    """An example to try; its links are null while it is not made."""

    video_name: str
    audio_name: str
    video: str | None = Field(description="Path of a photograph.")
    audio: str | None = Field(description="Path of a spoken sentence.")
    loop: str | None = Field(description="Path of a short video without sound: the photograph before and after.")


def pipeline_view(pipeline: Pipeline, loaded: ModelList, pace: float | None) -> PipelineView:
    """Return what people see of a pipeline."""
    model = next((model for model in loaded.models if model.id == pipeline.name), None)
    return PipelineView(
        id=pipeline.name,
        title=pipeline.title,
        description=pipeline.description,
        speed_text=pipeline.speed,
        quality_text=pipeline.quality,
        licence=pipeline.weights_licence,
        ready=model is not None,
        advice="" if model else HOW_TO_ADD,
        unavailable=model.unavailable if model else {},
        seconds_per_second=None if pace is None else round(pace, 3),
    )
