"""Streams as they are written: fragments that play while they grow, sound and pictures on one clock."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from client.errors import MediaError, OutputError
from client.live.output import LiveOutput
from client.live.sound import voice_of_file, voice_of_pipe
from client.live.stream import LivePicture, StreamFacts
from client.media import VideoSource
from client.media.pixels import BT709, COLOR_UNSPECIFIED
from tests.media_clips import write_sound

RATE = 24_000
PER_PICTURE = RATE // 25


class Pipe:
    """Takes bytes in order, and nothing else."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def write(self, content: bytes) -> int:
        self.writes.append(bytes(content))
        return len(content)

    @property
    def content(self) -> bytes:
        return b"".join(self.writes)


def facts(width: int = 64, height: int = 48) -> StreamFacts:
    return StreamFacts(width, height, 25.0, RATE, 0.25, is_marked=False, is_signed=False)


def picture(number: int, width: int = 64, height: int = 48, left_out: int = 0) -> LivePicture:
    """Return a picture that flashes, with a beep, every 10 pictures."""
    is_on = number % 10 == 0
    rgb = np.full((height, width, 3), 255 if is_on else 0, np.uint8)
    sound = np.sin(np.arange(PER_PICTURE)).astype(np.float32) * (0.5 if is_on else 0)
    return LivePicture(number, number / 25, 0.04, rgb, sound, is_on, False, 0.0, left_out)


def flashes_and_beeps(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return when pictures turn white, and when the sound begins, in seconds."""
    with av.open(io.BytesIO(content)) as container:
        frames = [(float(frame.time), frame.to_ndarray(format="gray").mean()) for frame in container.decode(video=0)]
    with av.open(io.BytesIO(content)) as container:
        pieces = [(float(frame.time), frame.to_ndarray()[0]) for frame in container.decode(audio=0)]
    start_s = pieces[0][0]
    loud = np.convolve(np.abs(np.concatenate([samples for _, samples in pieces])), np.ones(240) / 240, "same") > 0.05
    begins = np.flatnonzero(np.diff(loud.astype(int), prepend=0) == 1) / 48_000 + start_s
    return np.array([time_s for time_s, light in frames if light > 128]), begins


def test_fragments_hold_a_few_pictures_with_their_sound() -> None:
    """Into a pipe, in order, from the first picture on."""
    pipe = Pipe()
    with LiveOutput(pipe, facts()) as output:  # type: ignore[arg-type]
        header = len(pipe.content)
        assert b"moov" in pipe.content
        for number in range(25):
            output.write(picture(number))
        assert pipe.content.count(b"moof") >= 4
    assert header
    assert 5 <= pipe.content.count(b"moof") <= 9
    flashes, beeps = flashes_and_beeps(pipe.content)
    assert len(flashes) == len(beeps) == 3
    assert np.abs(flashes - beeps)[1:].max() < 0.04  # players show the first picture from 0 s on
    assert np.allclose(np.diff(flashes)[1:], 0.4, atol=0.001)


def test_pictures_that_were_left_out_leave_sound_and_pictures_together() -> None:
    """Their sound is silence."""
    pipe = Pipe()
    with LiveOutput(pipe, facts()) as output:  # type: ignore[arg-type]
        for number in [*range(15), *range(26, 40)]:
            output.write(picture(number))
    flashes, beeps = flashes_and_beeps(pipe.content)
    assert np.abs(flashes - beeps)[1:].max() < 0.04
    assert flashes[-1] == pytest.approx(30 / 25, abs=0.03)


@pytest.mark.parametrize("space", [COLOR_UNSPECIFIED, BT709, 9])
def test_colours_are_those_of_the_clip(tmp_path: Path, space: int) -> None:
    """As its own tags say them: players guess from the size of a picture where there are none."""
    path = tmp_path / "out.mp4"
    shown = picture(0)
    shown.rgb[:] = (200, 40, 60)
    with LiveOutput(path, replace(facts(), color_space=space, color_transfer=space, color_primaries=space)) as output:
        output.write(shown)
    (read,) = VideoSource(path).frames()
    assert (read.picture.tags.space, read.picture.tags.transfer, read.picture.tags.primaries) == (space, space, space)
    assert np.abs(read.picture.rgb().astype(int) - (200, 40, 60)).max() <= 4  # 4:2:0 of a quality of 20


def test_a_file_without_a_sample_fails_in_one_line(tmp_path: Path) -> None:
    """A recording that was never begun."""
    with pytest.raises(MediaError, match="empty.wav: expected a voice, got sound without a sample"):
        voice_of_file(write_sound(tmp_path / "empty.wav", np.zeros(0, np.float32)))


def test_odd_sizes_lose_a_line_and_a_column(tmp_path: Path) -> None:
    """As 4:2:0 has none of them."""
    path = tmp_path / "out.mp4"
    with LiveOutput(path, facts(65, 47)) as output:
        output.write(picture(0, 65, 47))
    with av.open(str(path)) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (64, 46)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("nothing://here", "nothing://here: expected a protocol that FFmpeg has here, got nothing. Write to stdout"),
        ("rtmp://127.0.0.1:1/live", "expected an output that takes the stream, got Connection refused"),
        ("/nowhere/out.mp4", "expected an output that takes the stream, got No such file or directory"),
    ],
)
def test_outputs_that_cannot_be_opened_fail_in_one_line(target: str, said: str) -> None:
    """It says what is missing."""
    with pytest.raises(OutputError) as caught:
        LiveOutput(target, facts())
    assert said in str(caught.value)


def test_a_pipe_that_breaks_fails_in_one_line() -> None:
    """As when the program that reads it has ended."""

    class Broken(Pipe):
        def write(self, content: bytes) -> int:
            if len(self.writes) > 4:
                raise BrokenPipeError(32, "Broken pipe")
            return super().write(content)

    def write_all(output: LiveOutput) -> None:
        for number in range(50):
            output.write(picture(number))

    output = LiveOutput(Broken(), facts())  # type: ignore[arg-type]
    with pytest.raises(OutputError, match="stdout: expected an output that takes the stream, got Broken pipe"):
        write_all(output)


def test_raw_samples_are_read_as_they_come() -> None:
    """Whole samples, however the pipe cuts them."""
    pcm = np.arange(-500, 500, dtype="<i2")

    class Raw(io.BytesIO):
        def read(self, most: int | None = -1) -> bytes:
            return super().read(min(most or 0, 33))

    content = Raw(pcm.tobytes() + b"\x01")
    assert np.array_equal(np.concatenate(list(voice_of_pipe(content, 1_000))), pcm)  # type: ignore[arg-type]
