"""What the API returns of a plan: the fields of client.scene.plan.Plan, and its contact sheet."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from client.scene.plan import LEAVE, SYNC


class PlanEntryView(BaseModel):
    """What is done with one speaker's voice in a span."""

    speaker: str = Field(description="The speaker's name.")
    start_s: float = Field(description="When it starts, in seconds of the result.")
    end_s: float = Field(description="When it ends.")
    action: str = Field(description=f"`{SYNC}`, or `{LEAVE}` for pictures that are left as they are.")
    why: str = Field(description="The reason, in a few words.")
    confidence: float | None = Field(
        description="How sure it is that this person speaks in the video, 0 to 1; null where nobody had to find out."
    )
    person: int = Field(description="Number of the person whose face it is; 0 for nobody.")


class PlanView(BaseModel):
    """What a job would do."""

    timeline: list[PlanEntryView] = Field(description="In order of the starts.")
    speaking: str | None = Field(
        default=None, description="What told who speaks, `lips` or `syncnet`; null if that was not found out."
    )
    script: dict[str, Any] = Field(
        description="The script to edit and send, as the schema `Scene` has it; its voices are names of parts, its"
        " faces boxes."
    )
    expected_s: float | None = Field(description="How many seconds the job would take; null if unknown.")
    warnings: list[str] = Field(description="What the user should know, one sentence each.")
    contact_sheet: str = Field(description="Frames with boxes and names: a PNG as a `data:` URL.")
