"""What the API returns beside jobs: models, options, limits, faces. Never shows paths or addresses of this machine."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from client.option_kinds import Json
from client.options import CODEC, CONTAINER, MODEL


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


class MissingModel(BaseModel):
    """A pipeline that the server cannot run at present."""

    id: str = Field(description=f"Value of the option {MODEL.name}, once it can be used.")
    title: str
    description: str
    missing: list[str] = Field(description="What the server has not loaded.", examples=[["face_parsing"]])
    advice: str = Field(description="What whoever runs the service can do.")


class ModelList(BaseModel):
    """The pipelines that the server can run, and the others."""

    models: list[ModelView]
    missing: list[MissingModel] = Field(default=[], description="Pipelines that cannot be used at present, and why.")
    detectors: list[str] = Field(description="Names of the face detectors that the server has loaded.")
    live: bool = Field(default=False, description="Whether the server draws live streams.")


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
    preview_until: str = Field(description="Option whose value is the second at which the used part ends.")


class OutputFormat(BaseModel):
    """A kind of file that results can have."""

    container: str = Field(description=f"Value of the option {CONTAINER.name}.")
    codecs: list[str] = Field(description=f"Values of the option {CODEC.name} that go with it.")


class Limits(BaseModel):
    """What the service accepts."""

    max_upload_bytes: int = Field(description="Largest size of a job's files together.")
    max_picture_bytes: int = Field(description="Largest file for POST /faces.")
    max_duration_s: float = Field(description="Longest speech, and longest chosen part of a video, in seconds.")
    max_plan_s: float = Field(description="The same for POST /plan, and the longest video for POST /verify.")
    max_script_bytes: int = Field(description="Largest script.")
    max_voices: int = Field(description="Largest number of voices that a script names.")
    max_jobs_per_user: int = Field(description="Largest number of your jobs that have not ended.")
    max_jobs: int = Field(description="The same for all users together.")
    jobs: int = Field(description="Number of your jobs that have not ended, uploads included.")
    max_live_per_user: int = Field(description="Largest number of your live streams at once.")
    max_live: int = Field(description="The same for all users together.")
    keep_hours: float = Field(description="How long ended jobs and their files are kept.")
    urls_allowed: bool = Field(description="Whether files may be web addresses.")
    callbacks_allowed: bool = Field(description="Whether jobs may have a callback_url.")
    input_formats: list[str] = Field(description="Formats of files that are read, by FFmpeg's names.")
    output_formats: list[OutputFormat] = Field(description="Formats of results.")


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
