"""Decoders in graphics cards: when they are used, and what happens on machines without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.codec.hwaccel import HWAccel

from client.errors import UsageError
from client.media import VideoSource
from client.media import reader as reader_module
from client.media.nvdec import KEPT, planar
from client.media.opening import open_media
from client.media.pixels import NativeFormat, parse_native, plane_array
from client.media.reader import VideoReader
from client.option import flag
from tests.media_clips import write_clip

Damage = Callable[[av.VideoFrame], None]


def as_of_a_card(frame: av.VideoFrame) -> av.VideoFrame:
    """Arrange a planar frame as cards do: two planes, deep samples in the upper bits."""
    deep = frame.format.name != "yuv420p"
    native = parse_native("yuv420p10le" if deep else "yuv420p")
    shift = 6 if deep else 0
    made = av.VideoFrame(frame.width, frame.height, "p010le" if deep else "nv12")
    plane_array(made, 0, native)[:] = plane_array(frame, 0, native) << shift
    chroma = made.planes[1]
    pairs = np.ndarray(
        (chroma.height, chroma.line_size // native.dtype.itemsize), native.dtype, buffer=memoryview(chroma)
    )
    for plane in (1, 2):
        samples = plane_array(frame, plane, native)
        pairs[:, plane - 1 : 2 * samples.shape[1] : 2] = samples << shift
    for name in KEPT:
        setattr(made, name, getattr(frame, name))
    made.opaque = copy(frame.opaque)
    return made


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> list[Damage]:
    """Imitate a card that decodes everything; damages added to the list are done to each of its frames."""
    damages: list[Damage] = []

    @contextmanager
    def opened(path: Path, *, accelerator: HWAccel | None = None) -> Iterator[Any]:
        with open_media(path) as container:
            yield container

    def arranged(frame: av.VideoFrame, pix_fmt: str) -> av.VideoFrame:
        given = as_of_a_card(frame)
        for damage in damages:
            damage(given)
        return planar(given, pix_fmt)

    class Accelerator:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def create(self, codec: av.Codec) -> None:
            assert codec.name

    monkeypatch.setattr(reader_module, "open_media", opened)
    monkeypatch.setattr(reader_module, "planar", arranged)
    monkeypatch.setattr("client.media.decoders.HWAccel", Accelerator)
    return damages


def samples(source: VideoSource) -> list[list[np.ndarray]]:
    return [
        [plane_array(frame.picture.frame, plane, frame.picture.native).copy() for plane in range(3)]
        for frame in source.frames()
    ]


@pytest.mark.parametrize(("pix_fmt", "codec"), [("yuv420p", "libx264"), ("yuv420p10le", "libx265")])
def test_a_cards_frames_are_those_of_the_processor(
    tmp_path: Path, card: list[Damage], pix_fmt: str, codec: str
) -> None:
    """Every sample, time and place, also when read again from the middle."""
    path = write_clip(tmp_path / "clip.mkv", codec=codec, pix_fmt=pix_fmt, frames=12, size=(46, 34))
    ours, theirs = VideoSource(path, decoder="nvdec"), VideoSource(path)
    assert ours.facts == theirs.facts
    for mine, other in zip(samples(ours), samples(theirs), strict=True):
        for plane, expected in zip(mine, other, strict=True):
            np.testing.assert_array_equal(plane, expected)
    blocks = []
    for source in (ours, theirs):
        with source.open_reader() as reader:
            blocks.append([(frame.pts, frame.duration, frame.index) for frame in source.block(5, 9, reader)])
    assert blocks[0] == blocks[1]
    assert ours.warnings == theirs.warnings == []


def test_auto_leaves_a_card_whose_frames_differ(tmp_path: Path, card: list[Damage]) -> None:
    """One sample is enough, as results would depend on the machine."""

    def change_a_sample(frame: av.VideoFrame) -> None:
        plane_array(frame, 0, native())[3, 5] ^= 1

    card.append(change_a_sample)
    path = write_clip(tmp_path / "clip.mp4")
    (note,) = VideoSource(path, decoder="auto").warnings
    assert note.endswith("the processor decoded, not a graphics card: it does not give what the processor gives")


def native() -> NativeFormat:
    return parse_native("yuv420p")


def test_auto_falls_back_and_says_why(tmp_path: Path) -> None:
    """On a machine without a card, and for what no card is asked for; the frames are the same."""
    plain, deep = write_clip(tmp_path / "clip.mp4"), tmp_path / "deep.mkv"
    write_clip(deep, codec="ffv1", pix_fmt="yuv444p16le")
    for path, why in (
        (plain, "its decoder does not open ("),
        (deep, "cards are asked for yuv420p, yuvj420p, yuv420p10le, not yuv444p16le"),
    ):
        source = VideoSource(path, decoder="auto")
        (note,) = source.warnings
        assert f"the processor decoded, not a graphics card: {why}" in note
        for mine, other in zip(samples(source), samples(VideoSource(path)), strict=True):
            np.testing.assert_array_equal(mine[0], other[0])


def test_nvdec_fails_without_a_card(tmp_path: Path) -> None:
    """One line, before anything else is done."""
    with pytest.raises(UsageError) as refused:
        VideoSource(write_clip(tmp_path / "clip.mp4"), decoder="nvdec")
    line = refused.value.text(flag)
    assert line.startswith(
        "--decoder: expected a graphics card that decodes the video, got its decoder does not open ("
    )
    assert line.endswith("Choose --decoder cpu, or auto")


def test_the_processor_decodes_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No card is asked, whether there is one or not."""
    monkeypatch.setattr("client.media.decoders.HWAccel", None)
    assert VideoSource(write_clip(tmp_path / "clip.mp4")).warnings == []


def test_a_reader_with_a_card_leaves_threads_alone(tmp_path: Path, card: list[Damage]) -> None:
    """Each thread of the processor's decoder would hold surfaces of the card."""
    path = write_clip(tmp_path / "clip.mp4")
    with VideoReader(path, 4) as reader:
        assert reader.stream.codec_context.thread_count == 4
    with VideoSource(path, decoder="nvdec").open_reader() as reader:
        assert reader.stream.codec_context.thread_count == 1
