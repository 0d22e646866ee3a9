"""The options of one job as the API takes them: a model made from the table of options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema, create_model, model_validator

from client.errors import LipSyncError, UsageError, by_name, spelled
from client.job_files import channels_named_already
from client.job_options import JobOptions, new_job_id
from client.media import CONTAINERS
from client.media.codecs import codecs_in
from client.media.progressive import SUFFIX
from client.option import Option
from client.option_kinds import Json
from client.options import (
    CODEC,
    CONTAINER,
    RESUME,
    WORK_DIR,
    help_of,
    names_of,
    options_for_front_end,
    pipelines_of,
    read_options,
)
from client.scene.options import VOICE_CHANNEL
from client.scene.scene import Scene

VIDEO_FILE, AUDIO_FILE = "video", "audio"  # names in a job's folder
VOICE_FILES = tuple(f"voice_{number}" for number in range(1, 17))  # further voices, which a script names
SCRIPT_FILE = "script.json"
PARTS_FOLDER = "parts"  # finished parts of an unfinished job, beside the files
RESULT_STEM = "result"
PROGRESSIVE_FILE = f"{RESULT_STEM}{SUFFIX}"  # what is ready of an unfinished result
API_OPTIONS = options_for_front_end("api")
SETTING_NAMES = frozenset(option.name for option in API_OPTIONS)


class SettingError(ValueError):
    """An option that the client refused; pydantic puts it into the context of its own error."""

    def __init__(self, error: LipSyncError) -> None:
        """Keep the client's error."""
        super().__init__(str(error))
        self.error = error


class SettingsBase(BaseModel):
    """The choices for one job; all have defaults."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    @model_validator(mode="after")
    def _check_together(self) -> SettingsBase:
        """Refuse options that exclude each other, by the client's own rules."""
        try:
            self.job_options(Path())
        except LipSyncError as error:
            raise SettingError(error) from error
        return self

    def choices(self) -> dict[str, Json]:
        """Return all choices as JSON, defaults included."""
        return {option.name: getattr(self, option.name) for option in API_OPTIONS}

    def job_options(self, folder: Path, job_id: str = "", script: Scene | None = None) -> JobOptions:
        """Return the client's job for the files of a job's folder; finished parts are kept there too.

        Args:
            folder: the folder.
            job_id: names the job in requests and logs; empty for a random one.
            script: who speaks when, in place of the audio.

        Raises:
            UsageError: choices do not go together.
        """
        values = read_options({**self.choices(), RESUME.name: True, WORK_DIR.name: str(folder / PARTS_FOLDER)})
        container = values[CONTAINER]
        allowed = {CODEC.default, *(codec.name for codec in codecs_in(CONTAINERS[f".{container}"]))}
        if values[CODEC] not in allowed:
            known = ", ".join(sorted(allowed))
            raise UsageError(option=CODEC.name, expected=f"one that {container} holds ({known})", got=values[CODEC])
        if script is not None and values.has(VOICE_CHANNEL):
            raise channels_named_already()
        audio = folder / AUDIO_FILE if script is None else None
        output = folder / result_file(container)
        return JobOptions(folder / VIDEO_FILE, audio, output, values, job_id or new_job_id(), script=script)


def _field(option: Option[Any]) -> tuple[Any, Any]:
    """Return type and default of an option as a field of the model; its value stays JSON."""

    def check(value: object) -> Json:
        try:
            return option.write(option.read(value))
        except UsageError as error:
            raise SettingError(error) from error

    schema = option.kind.schema()
    if option.default is None:
        schema = {"anyOf": [schema, {"type": "null"}]}
    kind = Annotated[Any, PlainValidator(check), WithJsonSchema(schema)]
    return kind, Field(option.write(option.default), description=_description(option))


def _description(option: Option[Any]) -> str:
    owners = names_of(pipelines_of(option))
    text = spelled(help_of(option), by_name)
    return f"{owners} only: {text}" if owners else text


JobSettings = create_model(
    "JobSettings",
    __base__=SettingsBase,
    __doc__="The choices for one job; all have defaults.",
    **{option.name: _field(option) for option in API_OPTIONS},  # type: ignore[call-overload]
)


def result_file(container: str) -> str:
    """Return the name of the result in a job's folder."""
    return f"{RESULT_STEM}.{container}"
