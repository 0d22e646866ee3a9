"""The bodies of requests for jobs: files as multipart/form-data, or web addresses as JSON, beside settings, script."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import Request
from pydantic import Field, ValidationError

from client.scene.schema import scene_schema
from client.storage.url_guard import MAX_URL_LENGTH
from client.web.callback_names import CALLBACK_URL
from client.web.file_routes import BYTES
from client.web.job_settings import AUDIO_FILE, SETTING_NAMES, VIDEO_FILE, VOICE_FILES, JobSettings, SettingsBase
from client.web.labels import AUDIO_URL, VIDEO_URL, VOICE_URLS
from client.web.problem_kinds import UNUSABLE
from client.web.problems import ProblemError, validation_problem
from client.web.scripts import MAX_SCRIPT_BYTES, SCRIPT, VOICES, WebScript, check_parts, read_script
from client.web.service import Service
from client.web.upload import UploadReader

FILE_PARTS = (VIDEO_FILE, *VOICES)
CALLBACK_HELP = (
    "Public web address to which the job is sent by POST when it has ended, as JSON, signed as Standard Webhooks has"
    " it. Only if the service has a secret for that."
)
SCRIPT_HELP = (
    f"Who speaks when, as JSON of at most {MAX_SCRIPT_BYTES} bytes. A voice is the name of a part:"
    f" `{AUDIO_FILE}`, `{VOICE_FILES[0]}` to `{VOICE_FILES[-1]}`."
)
LONG_LIST = 1000  # entries; longer lists are limited by the size of a script
SCENE = "#/components/schemas/Scene"


class UrlJob(JobSettings):  # type: ignore[misc]
    """A job whose files are downloaded from public web addresses."""

    video_url: str = Field(max_length=MAX_URL_LENGTH, examples=["https://example.org/speaker.mp4"])
    audio_url: str | None = Field(
        default=None,
        max_length=MAX_URL_LENGTH,
        description=f"Needed without `{SCRIPT}`, or if that names the part `{AUDIO_FILE}`.",
        examples=["https://example.org/speech.wav"],
    )
    script: dict[str, Any] | None = Field(default=None, description=SCRIPT_HELP)
    voice_urls: dict[str, str] = Field(
        default={},
        max_length=len(VOICE_FILES),
        description="Part that the script names -> web address.",
        examples=[{VOICE_FILES[0]: "https://example.org/ann.wav"}],
    )
    callback_url: str | None = Field(
        default=None, max_length=MAX_URL_LENGTH, description=CALLBACK_HELP, examples=["https://example.org/hook"]
    )

    def sources(self) -> dict[str, str]:
        """Return the field of each web address, and the address."""
        named = {VIDEO_URL: self.video_url, AUDIO_URL: self.audio_url}
        named |= {f"{VOICE_URLS}.{name}": url for name, url in self.voice_urls.items()}
        return {field: url for field, url in named.items() if url is not None}


def files_schema(*, has_callback: bool) -> dict[str, Any]:
    """Describe the fields of a body with files, for the OpenAPI document."""
    texts = {
        VIDEO_FILE: "Video or still image that shows the speaker.",
        AUDIO_FILE: "Speech: an audio file, or a video whose sound is used. Needed without a script, or if that names"
        " it.",
        **dict.fromkeys(VOICE_FILES, "The same, of a speaker of the script."),
    }
    files = {name: {**BYTES, "minLength": 1, "description": text} for name, text in texts.items()}
    script = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {"$ref": SCENE},
        "description": SCRIPT_HELP,
    }
    callback = {CALLBACK_URL: {"type": "string", "description": CALLBACK_HELP}} if has_callback else {}
    return {
        "type": "object",
        "title": "FilesJob" if has_callback else "FilesPlan",
        "properties": {**files, SCRIPT: script, **JobSettings.model_json_schema()["properties"], **callback},
        "required": [VIDEO_FILE],
        "additionalProperties": False,
    }


def urls_schema() -> dict[str, Any]:
    """Describe a body with web addresses, for the OpenAPI document."""
    schema = UrlJob.model_json_schema()
    scene = {"anyOf": [{"$ref": SCENE}, {"type": "null"}]}
    schema["properties"][SCRIPT] |= scene
    return schema


def scene_components() -> dict[str, Any]:
    """Return the published schema of scripts as components of the OpenAPI document."""
    whole = {key: value for key, value in scene_schema().items() if key not in ("$schema", "$defs")}
    named = {"Scene": whole} | {_component(name): rule for name, rule in scene_schema()["$defs"].items()}
    return {name: _with_components(rule) for name, rule in named.items()}


def _component(name: str) -> str:
    return f"Scene{name.title()}"


def _with_components(rule: Any) -> Any:
    if isinstance(rule, list):
        return [_with_components(item) for item in rule]
    if not isinstance(rule, dict):
        return rule
    found = {key: _with_components(value) for key, value in rule.items() if not _is_left(key, value)}
    if isinstance(found.get("$ref"), str):
        found["$ref"] = f"#/components/schemas/{_component(found['$ref'].rpartition('/')[2])}"
    return found


def _is_left(key: str, value: Any) -> bool:
    """Return whether a rule stays with the published schema: programs that generate requests stumble over it."""
    return key == "not" or (key == "maxItems" and isinstance(value, int) and value > LONG_LIST)


@dataclass(frozen=True)
class FilesBody:
    """A body with files, which lie in a folder.

    Attributes:
        settings: the choices.
        script: who speaks when; None if the audio says it.
        names: part -> file name on the user's machine.
        content: what the request says, for its fingerprint.
        callback_url: the web address to tell of the job's end.
    """

    settings: SettingsBase
    script: WebScript | None
    names: dict[str, str]
    content: dict[str, object]
    callback_url: str | None


async def read_files_body(
    request: Request, folder: Path, service: Service, *, has_callback: bool = True, has_digests: bool = False
) -> FilesBody:
    """Write a multipart body's files into a folder, and read the rest.

    Raises:
        ProblemError: the body cannot be used.
    """
    reader = UploadReader(
        {name: folder / name for name in FILE_PARTS},
        service.settings.max_upload_bytes,
        service.disk,
        SETTING_NAMES | ({CALLBACK_URL} if has_callback else frozenset()),
        service.checks.check_model,
        has_digests=has_digests,
        optional=VOICE_FILES,
        replaced_by={AUDIO_FILE: SCRIPT},
        long_fields={SCRIPT: MAX_SCRIPT_BYTES},
    )
    upload = await reader.read(request)
    content: dict[str, object] = {"fields": dict(upload.fields), "names": upload.names, "files": upload.digests}
    callback_url = upload.fields.pop(CALLBACK_URL, None)
    text = upload.fields.pop(SCRIPT, None)
    script = None if text is None else read_script(text)
    check_parts(script, upload.names)
    return FilesBody(_settings(upload.fields), script, upload.names, content, callback_url)


def check_urls(job: UrlJob, script: WebScript | None) -> None:
    """Check that a request has the web addresses that its script names, and no others.

    Raises:
        ProblemError: 422, it has not.
    """
    if script is None and job.audio_url is None:
        advice = "Give one, or a script with voices"
        raise ProblemError(UNUSABLE, name=AUDIO_URL, expected="a web address", got="none", advice=advice)
    for name in job.voice_urls:
        if name not in VOICE_FILES:
            expected = f"{VOICE_FILES[0]} to {VOICE_FILES[-1]}"
            raise ProblemError(UNUSABLE, name=VOICE_URLS, expected=expected, got=repr(name[:80]))
    given = {*job.voice_urls, *([] if job.audio_url is None else [AUDIO_FILE])}
    check_parts(script, given, f"{VOICE_URLS}.")


def _settings(fields: Mapping[str, str]) -> SettingsBase:
    try:
        return JobSettings.model_validate(fields)
    except ValidationError as error:
        raise validation_problem(error.errors()) from error
