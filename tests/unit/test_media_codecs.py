"""The tables of codecs and containers: consistent, and each the only place to touch for a new one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import av
import pytest

from client.errors import UsageError
from client.media import CONTAINERS, PRESETS, VideoSource, VideoWriter
from client.media.codecs import CODECS, Codec, EncoderSettings, automatic_codec, codecs_in
from client.media.containers import OUTPUT_CONTAINERS, choose_container
from client.media.encoders import choose_encoder
from client.media.pixels import parse_native
from client.media.writer import encoder_threads
from client.options import CODEC
from tests.media_clips import write_clip

MJPEG = dataclasses.replace(CODECS[0], name="mjpeg", encoder="mjpeg", options=lambda settings: {"q": str(settings.crf)})


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_every_record_is_usable(codec: Codec) -> None:
    """Encoders exist, containers are known, and every preset and quality gives options."""
    assert set(codec.containers) <= set(CONTAINERS.values())
    assert av.Codec(codec.encoder, "w").is_encoder
    for preset in PRESETS:
        for lossless in (False, True):
            options = codec.options(EncoderSettings(18, preset, lossless, 2, 640 * 480))
            assert all(isinstance(value, str) for value in options.values())


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "vp9"])
def test_encoders_hold_few_large_pictures(codec: str) -> None:
    """Up to 4096x2160 the options do not depend on the size; far larger pictures are not held for later."""
    options = {codec.name: codec.options for codec in CODECS}[codec]
    small, large, huge = (
        str(options(EncoderSettings(18, "medium", lossless=False, threads=2, pixels=pixels)))
        for pixels in (64 * 48, 4096 * 2160, 8192 * 8192)
    )
    assert small == large
    assert "lookahead=1" in huge.replace("': '", "=").replace("lag-in-frames", "lookahead")


@pytest.mark.parametrize(
    ("cores", "size", "threads"),
    [
        (64, (64, 48), 4),
        (64, (4096, 2304), 4),
        (2, (4096, 2304), 2),
        (64, (8192, 2304), 2),
        (64, (8192, 8192), 1),
    ],
)
def test_encoders_use_few_threads_for_large_pictures(
    monkeypatch: pytest.MonkeyPatch, cores: int, size: tuple[int, int], threads: int
) -> None:
    """Each thread holds pictures: four up to 4096x2304, if there are as many cores, and fewer beyond."""
    monkeypatch.setattr("client.media.writer._cores", lambda: cores)
    assert encoder_threads(size[0] * size[1]) == threads


def test_every_container_holds_a_codec_that_auto_chooses() -> None:
    """Whatever is to be encoded, each container gives a codec that it holds."""
    for container in OUTPUT_CONTAINERS:
        for depth in (8, 10):
            for lossless in (False, True):
                assert automatic_codec(container.muxer, depth, lossless=lossless) in codecs_in(container.muxer)


@pytest.mark.parametrize(("muxer", "depth", "lossless", "expected"), [
    ("mp4", 8, False, "h264"), ("mp4", 10, False, "hevc"), ("mp4", 8, True, "h264"), ("mp4", 10, True, "hevc"),
    ("matroska", 8, True, "ffv1"), ("matroska", 10, True, "ffv1"), ("mov", 8, True, "h264"), ("mov", 10, True, "hevc"),
    ("webm", 8, False, "vp9"), ("webm", 10, False, "av1"), ("webm", 8, True, "vp9"), ("webm", 10, True, "vp9"),
    ("avi", 10, False, "h264"), ("avi", 8, True, "ffv1"), ("flv", 10, False, "h264"), ("mpegts", 10, False, "hevc"),
])  # fmt: skip
def test_auto_suits_container_and_depth(muxer: str, depth: int, lossless: bool, expected: str) -> None:
    """The automatic choice is the most widely played codec that keeps the depth."""
    assert automatic_codec(muxer, depth, lossless=lossless).name == expected


def test_one_record_adds_a_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its record in the table, a codec can be asked for by name, and is refused where no container holds it."""
    monkeypatch.setattr("client.media.codecs.CODECS", (*CODECS, dataclasses.replace(MJPEG, containers=("avi",))))
    choice = choose_encoder(Path("out.avi"), parse_native("yuv444p"), codec="mjpeg", crf=3)
    assert (choice.encoder, choice.options["q"]) == ("mjpeg", "3")
    with pytest.raises(UsageError, match=r"codec: expected one that \.mp4 files hold .*, got mjpeg"):
        choose_encoder(Path("out.mp4"), parse_native("yuv420p"), codec="mjpeg")


def test_names_for_users_come_from_the_tables() -> None:
    """What the options offer are the records' names and extensions."""
    assert CODEC.kind.values == ("auto", "h264", "hevc", "av1", "vp9", "ffv1", "prores")
    assert choose_container(Path("A.MKV")).muxer == CONTAINERS[".mkv"] == "matroska"


def test_h264_of_the_same_pictures_is_the_same_file(tmp_path: Path) -> None:
    """Whatever memory the encoder happens to get; with AVX-512 about every other file differed at this size."""
    clip = write_clip(tmp_path / "in.mp4", size=(320, 240))
    files = set()
    for _ in range(8):
        source = VideoSource(clip)
        with VideoWriter(tmp_path / "out.mp4", source) as writer:
            for frame in source.frames():
                writer.write(frame.picture, frame.pts, frame.duration)
        files.add((tmp_path / "out.mp4").read_bytes())
    assert len(files) == 1
