"""Outputs that cannot be written: refused in one line, and nothing half-done under the final name."""

from __future__ import annotations

import errno
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest

from client.errors import OutputError, UsageError
from client.media import AudioSource, VideoSource, VideoWriter, check_output, timeline
from client.media.carried import hdr
from client.media.carried.extras import Extras
from client.media.output import output_error
from client.media.shaping import FrameShape
from tests.limits import small_files
from tests.media_clips import RATE, copy_video, is_open, leftovers, read_frames, tone, write_clip, write_sound


def interrupt_writing(output: Path, source: VideoSource) -> None:
    with VideoWriter(output, source) as writer:
        for frame in timeline(source, 0.0):
            writer.write(frame.picture, frame.pts, frame.duration)
            assert len(leftovers(output.parent)) == 1
            if frame.index == 5:
                raise KeyboardInterrupt


@pytest.fixture
def source(tmp_path: Path) -> VideoSource:
    """A clip to be written somewhere impossible."""
    return VideoSource(write_clip(tmp_path / "clip.mp4"))


def test_writing_fails_for_an_unknown_extension(tmp_path: Path, source: VideoSource) -> None:
    """An extension without a container is refused, and the known ones are named."""
    for name in ("out.txt", "out", "out.gif"):
        with pytest.raises(UsageError, match=r"expected a name ending in one of \.avi .*\.webm, got"):
            VideoWriter(tmp_path / name, source)


def test_writing_fails_for_a_missing_folder(tmp_path: Path, source: VideoSource) -> None:
    """A folder that does not exist is named."""
    with pytest.raises(OutputError, match=r"expected an existing folder, got .*nowhere"):
        VideoWriter(tmp_path / "nowhere" / "out.mp4", source)


def test_writing_fails_onto_a_folder(tmp_path: Path, source: VideoSource) -> None:
    """A folder's name is no output."""
    (tmp_path / "out.mp4").mkdir()
    with pytest.raises(OutputError, match="expected the name of a file, got a folder or device"):
        VideoWriter(tmp_path / "out.mp4", source)


def test_writing_fails_for_a_name_that_no_disk_can_hold(tmp_path: Path, source: VideoSource) -> None:
    """It is refused before the work begins, in the same words as later."""
    with pytest.raises(OutputError, match="the name is too long. Choose a shorter one"):
        VideoWriter(tmp_path / f"{'x' * 300}.mp4", source)


def test_writing_fails_for_a_link_to_itself(tmp_path: Path, source: VideoSource) -> None:
    """Such a link leads to no file."""
    (tmp_path / "out.mp4").symlink_to(tmp_path / "out.mp4")
    with pytest.raises(OutputError, match="cannot be written: Symlink loop"):
        VideoWriter(tmp_path / "out.mp4", source)


def test_writing_fails_onto_an_input(tmp_path: Path, source: VideoSource) -> None:
    """An output that is one of the inputs, also by another name, is refused before anything is touched."""
    (tmp_path / "link.mp4").symlink_to(source.path)
    before = source.path.read_bytes()
    for name in ("clip.mp4", "link.mp4"):
        with pytest.raises(OutputError, match="expected a new file, got one of the inputs"):
            VideoWriter(tmp_path / name, source)
    with pytest.raises(OutputError, match="one of the inputs"):
        check_output(source.path, [source.path])
    assert source.path.read_bytes() == before


def test_writing_fails_for_options_that_do_not_fit(tmp_path: Path, source: VideoSource) -> None:
    """Codec, quality, preset and lossless must go together with the container."""
    cases: list[tuple[str, dict[str, object], str]] = [
        ("out.webm", {"codec": "h264"}, r"codec: expected one that \.webm files hold \(av1 vp9\), got h264"),
        ("out.mp4", {"preset": "speedy"}, "preset: expected one of ultrafast"),
        ("out.mp4", {"crf": 99}, "crf: expected 0 to 51, got 99"),
        ("out.mov", {"codec": "prores", "lossless": True}, "lossless: expected a codec that keeps yuv420p exactly"),
    ]
    for name, options, message in cases:
        with pytest.raises(UsageError, match=message):
            VideoWriter(tmp_path / name, source, **options)  # type: ignore[arg-type]
    assert leftovers(tmp_path) == []


def test_writing_fails_where_the_encoder_refuses(tmp_path: Path) -> None:
    """A size that an encoder cannot take is said in one line, and nothing is left."""
    tiny = VideoSource(write_clip(tmp_path / "clip.mkv", codec="ffv1", size=(4, 4), frames=2))
    with pytest.raises(OutputError, match=r"out\.mp4: cannot be written: Invalid .*Try another codec or ext") as caught:
        copy_video(tiny, tmp_path / "out.mp4", codec="hevc")
    assert "folder" not in str(caught.value)
    assert leftovers(tmp_path) == []
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("when", ["_open", "write"])
def test_writing_fails_where_an_encoder_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: VideoSource, when: str
) -> None:
    """FFmpeg knows no reason for an external library's error; the folder is none, and is not blamed."""

    def fail(*_: object, **__: object) -> None:
        raise av.ExternalError(542_398_533, "Generic error in an external library", 'avcodec_open2("libx264", {})')

    monkeypatch.setattr(*(VideoWriter, "_open") if when == "_open" else (FrameShape, "prepare"), fail)
    with pytest.raises(OutputError, match="cannot be written: the encoder refused the pictures or failed") as caught:
        copy_video(source, tmp_path / "out.mp4")
    assert "folder" not in str(caught.value)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("light", "attempts"), [({}, 4), ({"CONTENT_LIGHT_LEVEL": hdr.LIGHT_LAYOUT.pack(1000, 400)}, 6)]
)
def test_a_refusing_encoder_is_tried_no_more_often_than_there_is_to_drop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, light: dict[str, bytes], attempts: int
) -> None:
    """With copied and encoded sound each: with everything, without what pictures say if they say any, with nothing."""
    done: Counter[str] = Counter()

    def counted(owner: type, name: str) -> None:
        method = getattr(owner, name)

        def count(*arguments: object) -> object:
            done[name] += 1
            return method(*arguments)

        monkeypatch.setattr(owner, name, count)

    monkeypatch.setattr(hdr, "frame_data", lambda _: light)
    tiny = VideoSource(write_clip(tmp_path / "clip.mkv", codec="ffv1", size=(4, 4), frames=2))
    for owner, name in ((VideoWriter, "_open"), (Extras, "drop_picture_facts"), (Extras, "drop_everything")):
        counted(owner, name)
    with pytest.raises(OutputError, match=r"out\.mp4: cannot be written"):
        copy_video(tiny, tmp_path / "out.mp4", codec="hevc")
    assert (done["_open"], done["drop_everything"]) == (attempts, 1)
    assert done["drop_picture_facts"] == attempts // 2 - 1  # dropping everything includes it


def noisy_clip(folder: Path) -> VideoSource:
    path = folder / "noise.mkv"
    generator = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
        for _ in range(20):
            noise = generator.integers(0, 255, (48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, "rgb24")))
        container.mux(stream.encode(None))
    return VideoSource(path)


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.webm"])
def test_writing_fails_when_the_file_cannot_grow(tmp_path: Path, name: str) -> None:
    """Running out of room is said in one line; what was there before stays, and no part file is left."""
    source = noisy_clip(tmp_path)
    (tmp_path / name).write_bytes(b"precious")
    with (
        small_files(),
        pytest.raises(OutputError, match=rf"{name}: cannot be written: the file grew larger"),
    ):
        copy_video(source, tmp_path / name, crf=1)
    assert (tmp_path / name).read_bytes() == b"precious"
    assert leftovers(tmp_path) == []


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    """The system's words for a full disk become ours."""
    error = output_error(tmp_path / "out.mp4", OSError(errno.ENOSPC, "No space left on device"))
    assert str(error).endswith("out.mp4: cannot be written: the disk is full. Free some space or choose another folder")


def test_an_error_leaves_nothing_and_keeps_what_was_there(tmp_path: Path, source: VideoSource) -> None:
    """When the work between breaks off, the old file stays and the new one never appears."""
    output = tmp_path / "out.mp4"
    output.write_bytes(b"precious")
    with pytest.raises(KeyboardInterrupt):
        interrupt_writing(output, source)
    assert output.read_bytes() == b"precious"
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("name", ["out.mkv", "out.mp4"])
def test_given_up_output_lets_go_of_the_audio(tmp_path: Path, source: VideoSource, name: str) -> None:
    """Neither the copied nor the encoded audio's file stays open."""
    audio = AudioSource(write_sound(tmp_path / "sound.wav", tone(1.0)))
    writer = VideoWriter(tmp_path / name, source, audio)
    for frame in timeline(source, audio.duration, "cut"):
        writer.write(frame.picture, frame.pts, frame.duration)
    assert is_open(audio.path)
    writer.abort()
    assert not is_open(audio.path)


def test_the_file_appears_only_when_complete(tmp_path: Path, source: VideoSource) -> None:
    """Until the end there is only a hidden file; then only the output, with ordinary permissions."""
    output = tmp_path / "out.mp4"
    with VideoWriter(output, source) as writer:
        for frame in timeline(source, 0.0):
            writer.write(frame.picture, frame.pts, frame.duration)
        assert not output.exists()
        (part,) = leftovers(tmp_path)
        assert part.startswith(".out.mp4.")
        assert part.endswith(".part")
    assert len(read_frames(output)) == 10
    assert leftovers(tmp_path) == []
    reference = tmp_path / "reference"
    reference.touch()
    assert output.stat().st_mode == reference.stat().st_mode


def test_an_existing_output_is_replaced_and_a_link_followed(tmp_path: Path, source: VideoSource) -> None:
    """A complete output replaces the old file; a link keeps pointing to it."""
    old = tmp_path / "old.mp4"
    old.write_bytes(b"old")
    (tmp_path / "link.mp4").symlink_to(old)
    copy_video(source, tmp_path / "link.mp4")
    assert (tmp_path / "link.mp4").is_symlink()
    assert len(read_frames(old)) == 10
