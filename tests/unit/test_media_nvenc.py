"""Encoders in graphics cards: when they are asked, and what happens on machines without one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest

from client.errors import UsageError
from client.media import VideoSource, VideoWriter
from client.media.encoders import EncoderChoice, choose_encoder
from client.media.nvenc import with_card
from client.media.pixels import parse_native
from client.option import flag
from tests.media_clips import write_clip

SIZE = (64, 48)


def choice(name: str = "out.mp4", native: str = "yuv420p", **asked: Any) -> EncoderChoice:
    return choose_encoder(Path(name), parse_native(native), **asked)


def with_fake_card(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """Pretend a card that opens every encoder; returns what was opened."""
    opened: list[SimpleNamespace] = []

    def create(name: str, mode: str) -> SimpleNamespace:
        context = SimpleNamespace(name=name)
        context.open = lambda: opened.append(context)
        return context

    pretended = {**vars(av), "CodecContext": SimpleNamespace(create=create)}
    monkeypatch.setattr("client.media.nvenc.av", SimpleNamespace(**pretended))
    return opened


def test_the_processor_encodes_by_default() -> None:
    """No card is asked, whether there is one or not."""
    assert with_card(choice(), "software", 18, "veryfast", SIZE) == (choice(), [])


def test_auto_falls_back_and_says_why() -> None:
    """On a machine without a card, for codecs that cards lack, deep pictures and lossless ones."""
    for wanted, why in (
        (choice(), "h264_nvenc does not open"),
        (choice(codec="ffv1", name="out.mkv"), "cards encode h264, hevc, av1, not ffv1"),
        (choice(native="yuv420p10le"), "cards are given yuv420p or yuv444p, not yuv420p10le"),
        (choice(lossless=True), "cards are asked for lossy video alone"),
    ):
        found, (note,) = with_card(wanted, "auto", 18, "veryfast", SIZE)
        assert found == wanted
        assert "the processor encoded, not a graphics card" in note
        assert why in note


def test_nvenc_fails_without_a_card() -> None:
    """One line, before anything is written."""
    with pytest.raises(UsageError) as refused:
        with_card(choice(), "nvenc", 18, "veryfast", SIZE)
    line = refused.value.text(flag)
    assert line.startswith("--encoder: expected a graphics card that encodes H.264, got h264_nvenc does not open (")
    assert line.endswith("Choose --encoder software, or auto")


def test_card_is_asked_for_the_same_quality(monkeypatch: pytest.MonkeyPatch) -> None:
    """The encoder is tried with its real size and options, then chosen; slow videos keep their order of frames."""
    opened = with_fake_card(monkeypatch)
    found, notes = with_card(choice(codec="hevc", name="out.mkv"), "auto", 21, "medium", SIZE)
    assert (found.encoder, notes) == ("hevc_nvenc", [])
    assert found.options | {"cq": "21", "preset": "p4", "rc": "vbr"} == found.options
    (context,) = opened
    assert (context.width, context.height, context.pix_fmt) == (*SIZE, "yuv420p")
    assert context.options == found.options


def test_a_file_is_written_by_the_processor_where_no_card_is(tmp_path: Path) -> None:
    """The same file as without the option, with a warning."""
    clip = write_clip(tmp_path / "in.mp4")
    for name, encoder in (("a.mp4", "software"), ("b.mp4", "auto")):
        source = VideoSource(clip)
        with VideoWriter(tmp_path / name, source, encoder=encoder) as writer:  # type: ignore[arg-type]
            for frame in source.frames():
                writer.write(frame.picture, frame.pts, frame.duration)
            assert len(writer.warnings) == (encoder == "auto")
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
