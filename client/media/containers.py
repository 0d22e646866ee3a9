"""The containers that outputs can be written in: one record each. Opens no file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from client.errors import UsageError


@dataclass(frozen=True)
class Container:
    """One container format.

    Attributes:
        muxer: FFmpeg's name of the format.
        suffixes: file name extensions that choose it, such as (".mp4", ".m4v").
        audio_codecs: audio codecs whose packets are copied into it unchanged. These are the ones that players accept,
            fewer than its muxer would store (and some muxers abort the program on codecs that they do not know).
        audio_encoder: FFmpeg's encoder for audio that cannot be copied.
        lossless_audio_encoder: the same if nothing may be lost; None where the container holds no lossless codec.
        keeps_rotation: whether it stores a rotation, so that pixels stay as they are coded.
        keeps_timestamps: whether it stores timestamps rather than only a frame rate.
        has_edit_lists: whether it can start in the middle of a packet, which hides the encoder delay of copied audio.
        has_index_in_front: whether its index can be moved to the front, so that the file plays while it downloads.
    """

    muxer: str
    suffixes: tuple[str, ...]
    audio_codecs: frozenset[str] = frozenset()
    audio_encoder: str = "aac"
    lossless_audio_encoder: str | None = None
    keeps_rotation: bool = False
    keeps_timestamps: bool = True
    has_edit_lists: bool = False
    has_index_in_front: bool = False


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


OUTPUT_CONTAINERS = (
    Container(
        "mp4",
        (".mp4", ".m4v"),
        _names("aac mp3 ac3 eac3 alac opus flac"),
        lossless_audio_encoder="alac",
        keeps_rotation=True,
        has_edit_lists=True,
        has_index_in_front=True,
    ),
    Container(
        "mov",
        (".mov",),
        _names("aac mp3 ac3 eac3 alac pcm_s16le pcm_s16be pcm_s24le pcm_s24be pcm_s32le pcm_f32le"),
        lossless_audio_encoder="alac",
        keeps_rotation=True,
        has_edit_lists=True,
        has_index_in_front=True,
    ),
    Container(
        "matroska",
        (".mkv",),
        _names(
            "aac mp3 mp2 ac3 eac3 alac opus flac vorbis dts truehd wavpack tta pcm_u8 pcm_s16le pcm_s24le pcm_s32le"
            " pcm_f32le"
        ),
        lossless_audio_encoder="flac",
        keeps_rotation=True,
    ),
    Container("webm", (".webm",), _names("opus vorbis"), audio_encoder="libopus", keeps_rotation=True),
    Container(
        "avi",
        (".avi",),
        audio_encoder="pcm_s16le",  # without timestamps, encoder delay would shift the audio
        lossless_audio_encoder="pcm_s24le",
        keeps_timestamps=False,
    ),
    Container("mpegts", (".ts",), _names("aac mp3 mp2 ac3 eac3")),
    Container("flv", (".flv",), _names("aac mp3")),
)
CONTAINERS = {suffix: container.muxer for container in OUTPUT_CONTAINERS for suffix in container.suffixes}


def choose_container(path: Path) -> Container:
    """Choose the container by the output's extension.

    Raises:
        UsageError: no container has that extension.
    """
    suffix = path.suffix.lower()
    for container in OUTPUT_CONTAINERS:
        if suffix in container.suffixes:
            return container
    raise UsageError(
        option="output",
        expected=f"a name ending in one of {' '.join(sorted(CONTAINERS))}",
        got=path,
        advice="Rename the output",
    )
