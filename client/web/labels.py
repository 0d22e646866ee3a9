"""The page's words for options, files and parts of requests: errors for people use them."""

from __future__ import annotations

from copy import copy

from client.errors import LipSyncError
from client.options import CONTAINER, OPTIONS
from client.web.job_settings import AUDIO_FILE, VIDEO_FILE, result_file

PICTURE_PART = "picture"
VIDEO_URL, AUDIO_URL = "video_url", "audio_url"
JOB_FILES: dict[str, str] = {
    VIDEO_FILE: "Video",
    AUDIO_FILE: "Voice recording",
    **{result_file(str(container)): "Result" for container in CONTAINER.kind.schema()["enum"]},
}
LABELS: dict[str, str] = {
    **{option.name: option.label for option in OPTIONS},
    **JOB_FILES,
    PICTURE_PART: "Picture",
    VIDEO_URL: "Address of the video",
    AUDIO_URL: "Address of the audio",
}


def label(name: str) -> str:
    """Return what the page calls an option, a file or a part of a request; other names stay."""
    return LABELS.get(name, name)


def for_user(error: LipSyncError) -> str:
    """Return an error as sentences with the page's labels."""
    shown = copy(error)
    shown.about = label(error.about)
    return shown.for_people(label)
