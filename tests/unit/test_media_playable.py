"""Codecs by the names that browsers know."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from client.media import AudioSource, VideoSource, VideoWriter, timeline
from client.media.output import PendingFile
from client.media.playable import media_type_with_codecs
from client.media.progressive import progressive_path
from tests.media_clips import tone, write_clip, write_sound


def head_of(folder: Path, name: str, sound: str | None, codec: str) -> bytes:
    """Return the progressive file of an output."""
    source = VideoSource(write_clip(folder / "clip.mp4", size=(128, 96)))
    speech = None
    if sound is not None:
        encoder = {".m4a": "aac", ".mp3": "libmp3lame", ".flac": "flac"}[Path(sound).suffix]
        speech = AudioSource(write_sound(folder / sound, tone(0.4, 48_000), rate=48_000, codec=encoder))
    kept = folder / "kept.mp4"

    def keep(pending: PendingFile) -> PendingFile:
        shutil.copy(progressive_path(folder / name), kept)
        return pending

    writer = VideoWriter(folder / name, source, speech, codec=codec, progressive="on")
    for frame in timeline(source, 0.0):
        writer.write(frame.picture, frame.pts, frame.duration)
    writer.close(keep)
    return kept.read_bytes()


@pytest.mark.parametrize(
    ("name", "sound", "codec", "expected"),
    [
        ("out.mp4", "speech.m4a", "h264", "avc1.64000a,mp4a.40.2"),  # High profile, level 1
        ("out.mp4", None, "hevc", "hvc1.1.6.L30.90"),  # Main profile, level 1, progressive
        ("out.webm", "speech.m4a", "vp9", "vp09.00.10.08,opus"),
        ("out.mp4", "speech.flac", "av1", "av01.0.00M.08,flac"),
        ("out.mp4", "speech.mp3", "h264", "avc1.64000a,mp3"),
    ],
)
def test_every_codec_has_its_name(tmp_path: Path, name: str, sound: str | None, codec: str, expected: str) -> None:
    """The header alone says how each track is coded."""
    assert media_type_with_codecs(head_of(tmp_path, name, sound, codec)) == f'video/mp4; codecs="{expected}"'


def test_incomplete_headers_have_none(tmp_path: Path) -> None:
    """Wherever a header is cut off or damaged, there is no type and no error."""
    head = head_of(tmp_path, "out.mp4", "speech.m4a", "h264")
    whole = 28 + int.from_bytes(head[28:32], "big")  # ftyp and moov
    assert media_type_with_codecs(head[:whole]) is not None
    assert {media_type_with_codecs(head[:end]) for end in range(whole)} == {None}
    for place in range(whole):
        media_type_with_codecs(head[:place] + bytes([head[place] ^ 0xFF]) + head[place + 1 : whole])
