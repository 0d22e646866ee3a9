"""The page's words for options, files and parts of requests, which errors and warnings for people use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from typing import Any

from client.errors import LipSyncError, by_name, in_quotes, spelled
from client.options import CONTAINER, OPTIONS
from client.web.job_settings import AUDIO_FILE, VIDEO_FILE, VOICE_FILES, result_file

PICTURE_PART = "picture"
SOUND_PART = "sound"
CREDENTIALS_PART = "credentials"
VIDEO_URL, AUDIO_URL, VOICE_URLS = "video_url", "audio_url", "voice_urls"
JOB_FILES: dict[str, str] = {
    VIDEO_FILE: "Video",
    AUDIO_FILE: "Speech",
    **{name: f"Voice {number}" for number, name in enumerate(VOICE_FILES, 1)},
    **{result_file(str(container)): "Result" for container in CONTAINER.kind.schema()["enum"]},
}
LABELS: dict[str, str] = {
    **{option.name: option.label for option in OPTIONS},
    **JOB_FILES,
    PICTURE_PART: "Picture",
    SOUND_PART: "Sound",
    CREDENTIALS_PART: "Credentials",
    VIDEO_URL: "Address of the video",
    AUDIO_URL: "Address of the audio",
    **{f"{VOICE_URLS}.{name}": f"Address of voice {number}" for number, name in enumerate(VOICE_FILES, 1)},
    "script": "Script",
}


def label(name: str) -> str:
    """Return what the page calls an option, a file or a part of a request; other names stay."""
    return LABELS.get(name, name)


def for_user(error: LipSyncError) -> str:
    """Return an error as sentences with the page's labels."""
    shown = copy(error)
    shown.about = label(error.about)
    return shown.for_people(label)


def warnings_for_people(warnings: Iterable[str]) -> list[str]:
    """Return a report's warnings with the page's labels of options."""
    return [spelled(warning, in_quotes(label)) for warning in warnings]


def report_for_programs(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report whose warnings name options as the API does."""
    return {**report, "warnings": [spelled(warning, by_name) for warning in report["warnings"]]}
