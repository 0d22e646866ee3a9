"""The containers that outputs can be written in: one record each. Opens no file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
        encodes_pcm_exactly: whether PCM and ADPCM that cannot be copied are encoded losslessly in any case.
        keeps_rotation: whether it stores a rotation, so that pixels stay as they are coded.
        keeps_aspect_ratio: whether it stores the shape of oblong pixels, whatever the codec. (Matroska would, but PyAV
            cannot tell its muxer.)
        keeps_timestamps: whether it stores timestamps rather than only a frame rate.
        has_edit_lists: whether it can start in the middle of a packet, which hides the encoder delay of copied audio.
        subtitle_codecs: subtitle codecs whose packets are copied into it unchanged.
        subtitle_encoder: FFmpeg's encoder for other subtitles that are text; None where it holds none.
        data_codecs: the same of data streams, such as telemetry.
        keeps_chapters: whether it stores chapters.
        keeps_attachments: whether it stores attached files, such as fonts and the cover.
        keeps_covers: whether it stores a cover picture as a stream.
        names_handlers: whether each stream has a handler's name, which many players show as its title.
        languages: language codes that it knows by another ISO 639-2 code only.
        has_index_in_front: whether its index can be moved to the front, so that the file plays while it downloads.
    """

    muxer: str
    suffixes: tuple[str, ...]
    audio_codecs: frozenset[str] = frozenset()
    audio_encoder: str = "aac"
    lossless_audio_encoder: str | None = None
    encodes_pcm_exactly: bool = False
    keeps_rotation: bool = False
    keeps_aspect_ratio: bool = False
    keeps_timestamps: bool = True
    has_edit_lists: bool = False
    has_index_in_front: bool = False
    subtitle_codecs: frozenset[str] = frozenset()
    subtitle_encoder: str | None = None
    data_codecs: frozenset[str] = frozenset()
    keeps_chapters: bool = False
    keeps_attachments: bool = False
    keeps_covers: bool = False
    names_handlers: bool = False
    languages: Mapping[str, str] = field(default_factory=dict)


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# QuickTime numbers some languages by their English names' code (ger) and some by their own (fra).
QUICKTIME_LANGUAGES = {
    "sqi": "alb", "hye": "arm", "eus": "baq", "mya": "bur", "zho": "chi", "nld": "dut", "kat": "geo", "deu": "ger",
    "ell": "gre", "isl": "ice", "mkd": "mac", "msa": "may", "fas": "per", "bod": "tib", "cym": "wel",
    "cze": "ces", "fre": "fra", "rum": "ron", "slo": "slk",
}  # fmt: skip

OUTPUT_CONTAINERS = (
    Container(
        "mp4",
        (".mp4", ".m4v"),
        _names("aac mp3 ac3 eac3 alac opus flac"),
        lossless_audio_encoder="alac",
        keeps_rotation=True,
        keeps_aspect_ratio=True,
        has_edit_lists=True,
        has_index_in_front=True,
        subtitle_codecs=_names("mov_text"),
        subtitle_encoder="mov_text",
        data_codecs=_names("bin_data"),
        keeps_chapters=True,
        keeps_covers=True,
        names_handlers=True,
    ),
    Container(
        "mov",
        (".mov",),
        _names("aac mp3 ac3 eac3 alac pcm_s16le pcm_s16be pcm_s24le pcm_s24be pcm_s32le pcm_f32le"),
        lossless_audio_encoder="alac",
        keeps_rotation=True,
        keeps_aspect_ratio=True,
        has_edit_lists=True,
        has_index_in_front=True,
        subtitle_codecs=_names("mov_text"),
        subtitle_encoder="mov_text",
        data_codecs=_names("bin_data"),
        languages=QUICKTIME_LANGUAGES,
        keeps_chapters=True,
        names_handlers=True,
    ),
    Container(
        "matroska",
        (".mkv",),
        _names(
            "aac mp3 mp2 ac3 eac3 alac opus flac vorbis dts truehd wavpack tta pcm_u8 pcm_s16le pcm_s24le pcm_s32le"
            " pcm_f32le"
        ),
        lossless_audio_encoder="flac",
        encodes_pcm_exactly=True,
        keeps_rotation=True,
        subtitle_codecs=_names("subrip ass webvtt hdmv_pgs_subtitle dvd_subtitle dvb_subtitle"),
        subtitle_encoder="subrip",
        keeps_chapters=True,
        keeps_attachments=True,
    ),
    Container(
        "webm",
        (".webm",),
        _names("opus vorbis"),
        audio_encoder="libopus",
        keeps_rotation=True,
        subtitle_codecs=_names("webvtt"),
        subtitle_encoder="webvtt",
        keeps_chapters=True,
    ),
    Container(
        "avi",
        (".avi",),
        audio_encoder="pcm_s16le",  # without timestamps, encoder delay would shift the audio
        lossless_audio_encoder="pcm_s24le",
        keeps_timestamps=False,
    ),
    Container(
        "mpegts",
        (".ts",),
        _names("aac mp3 mp2 ac3 eac3"),
        subtitle_codecs=_names("dvb_subtitle"),
        data_codecs=_names("klv timed_id3"),
    ),
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
