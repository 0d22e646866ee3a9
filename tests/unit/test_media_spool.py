"""The audio of a job is decoded once, kept on disk within bounded memory, and its temporary files always go."""

from __future__ import annotations

import errno
import gc
import subprocess
import sys
import tempfile
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.errors import MediaError, OutputError, UsageError
from client.job import Job, JobOptions
from client.media import AudioSource, VideoSource
from client.media.spool import SampleSpool
from client.pipelines.speech import SpeechFeatures, SpeechShapes, speech_statistics_of
from client.servers.calls import InferRequest
from lipsync_core.mouth import SHAPE_SIZE
from lipsync_core.whisper.mel import position_count
from tests.media_clips import copy_video, tone, write_clip, write_sound

MEGABYTE = 1_000_000
MEASURE_MEMORY = """
import resource, sys
from pathlib import Path
from client.media import AudioSource
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
AudioSource(sys.argv[1]).close()
before = peak()
with AudioSource(sys.argv[2], Path(sys.argv[3])) as audio:
    blocks = sum(len(block) for block in audio.speech_blocks())
    frames = sum(frame.samples for frame in audio.frames())
print(audio.duration, blocks, frames, peak() - before)
"""


class Server:
    """Answers with features and shapes of the right size."""

    def infer(self, request: InferRequest) -> dict[str, np.ndarray]:
        if request.model == "mouth_shapes":
            return {"mouth_shapes": np.zeros((len(request.inputs["frame_times"]), SHAPE_SIZE), np.float32)}
        count = int(request.inputs["mel_frame_count"][0]) // 2
        return {"audio_features": np.zeros((count, 5, 384), np.float32)}


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Packets that each pass over an audio stream has read so far."""
    import client.media.audio_reader as module

    read_packets = module.read_packets
    passes: list[int] = []

    def counted(*arguments: Any) -> Iterator[Any]:
        passes.append(0)
        for packet in read_packets(*arguments):
            passes[-1] += 1
            yield packet

    monkeypatch.setattr(module, "read_packets", counted)
    return passes


def temporary_files() -> list[str]:
    """Deleted files that this process holds open."""
    names = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [name for name in names if "lipsync-" in name or ("#" in name and "(deleted)" in name)]


@pytest.mark.parametrize(("output", "lossless"), [("out.mp4", False), ("out.mkv", False), ("out.avi", False),
                                                  ("out.webm", False), ("out.mp4", True)])  # fmt: skip
def test_audio_is_decoded_once(tmp_path: Path, decodes: list[int], output: str, lossless: bool) -> None:
    """Length, statistics, shapes, features with their peak, windows and the output's track cost one pass."""
    source = VideoSource(write_clip(tmp_path / "clip.mp4", frames=25))
    sound = write_sound(tmp_path / "speech.wav", tone(1.0, 44_100), rate=44_100)
    audio = AudioSource(sound, tmp_path / output)
    statistics = speech_statistics_of(audio)
    shapes = SpeechShapes(Server(), audio, statistics, 1.0)  # type: ignore[arg-type]
    features = SpeechFeatures(Server(), audio)  # type: ignore[arg-type]
    assert len(shapes.at(np.arange(25) / 25)) == 25
    assert len(features.between(0, features.count)) == position_count(16_000)
    assert len(audio.window(-100, 20_000)) == 20_100
    copy_video(source, tmp_path / output, audio, lossless=lossless)
    assert len(decodes) == 1
    assert decodes[0] > 10


def test_kept_samples_are_the_decoded_ones(tmp_path: Path) -> None:
    """What the output's track is encoded from is the same with and without the temporary file."""
    cases = [("pcm_s16le", 1, "mono"), ("pcm_f32le", 2, "stereo"), ("pcm_u8", 2, "stereo"), ("flac", 6, "5.1")]
    for codec, channels, layout in cases:
        samples = np.stack([tone(0.7, 22_050, 300 + 50 * i) for i in range(channels)])
        name = "sound.flac" if codec == "flac" else "sound.wav"
        path = write_sound(tmp_path / name, samples, rate=22_050, codec=codec, layout=layout)
        kept, again = AudioSource(path, tmp_path / "out.avi"), AudioSource(path)
        first, second = (list(source.frames()) for source in (kept, again))
        assert {frame.format.name for frame in first} == {frame.format.name for frame in second}
        joined = [np.concatenate([frame.to_ndarray() for frame in frames], axis=1) for frames in (first, second)]
        np.testing.assert_array_equal(*joined)


def test_copied_audio_keeps_no_samples(tmp_path: Path) -> None:
    """Where packets are copied, only the 16 kHz samples take room."""
    sound = write_sound(tmp_path / "speech.m4a", tone(1.0, 44_100), rate=44_100, codec="aac")
    before = len(temporary_files())
    copied, encoded = AudioSource(sound, tmp_path / "out.mp4"), AudioSource(sound, tmp_path / "out.webm")
    assert len(temporary_files()) - before == 1 + 2
    copied.close()
    encoded.close()


def test_temporary_files_go(tmp_path: Path) -> None:
    """They go when closed, when forgotten, and when opening fails."""
    sound = write_sound(tmp_path / "sound.wav", tone(0.5))
    damaged = write_sound(tmp_path / "damaged.wav", tone(0.2))
    data = bytearray(damaged.read_bytes())
    data[24:28] = (1_500_000_000).to_bytes(4, "little")
    damaged.write_bytes(data)
    before = temporary_files()
    with AudioSource(sound, tmp_path / "out.avi"):
        assert len(temporary_files()) == len(before) + 2
    assert temporary_files() == before
    AudioSource(sound, tmp_path / "out.avi")
    gc.collect()
    assert temporary_files() == before
    with pytest.raises(MediaError, match="got 1500000000 Hz"):
        AudioSource(damaged, tmp_path / "out.avi")
    with pytest.raises(UsageError, match="expected a name ending in"):
        AudioSource(sound, tmp_path / "out.xyz")
    assert temporary_files() == before


def test_a_job_that_cannot_begin_leaves_no_temporary_file(tmp_path: Path) -> None:
    """When the output is refused after the audio was decoded, its temporary files go at once."""
    video = write_clip(tmp_path / "clip.mp4")
    sound = write_sound(tmp_path / "sound.wav", tone(0.5))
    before = temporary_files()
    with pytest.raises(OutputError, match="expected an existing folder") as caught:
        Job(JobOptions(video=video, audio=sound, output=tmp_path / "nowhere" / "out.avi"))
    assert caught.tb  # the error still refers to the job
    assert temporary_files() == before


def test_a_finished_job_leaves_no_temporary_file(tmp_path: Path) -> None:
    """Leaving the job closes its audio, also when it was never run."""
    before = temporary_files()
    options = JobOptions(
        video=write_clip(tmp_path / "clip.mp4"),
        audio=write_sound(tmp_path / "sound.wav", tone(0.5)),
        output=tmp_path / "out.avi",
    )
    with Job(options):
        assert len(temporary_files()) == len(before) + 2
    assert temporary_files() == before


def test_no_room_for_the_original_samples_costs_a_second_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decodes: list[int]
) -> None:
    """When the disk fills up while they are kept, they are dropped and the output's track is decoded again."""
    append = SampleSpool.append

    def fill(spool: SampleSpool, samples: np.ndarray) -> None:
        if spool._channels == 2 and len(spool) > 5_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(spool, samples)

    monkeypatch.setattr(SampleSpool, "append", fill)
    stereo = np.stack([tone(1.0), tone(1.0)])
    source = VideoSource(write_clip(tmp_path / "clip.mp4", frames=25))
    audio = AudioSource(write_sound(tmp_path / "a.wav", stereo, layout="stereo"), tmp_path / "out.avi")
    copy_video(source, tmp_path / "out.avi", audio)
    assert len(decodes) == 2
    assert AudioSource(tmp_path / "out.avi").duration == pytest.approx(1.0)


def test_opening_fails_without_room_for_the_speech(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full temporary folder is said in one line, with what to do."""
    sound = write_sound(tmp_path / "sound.wav", tone(0.5))
    before = temporary_files()

    def full(spool: SampleSpool, samples: np.ndarray) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SampleSpool, "append", full)
    with pytest.raises(OutputError, match=r"no room for the decoded audio: No space left.* set TMPDIR"):
        AudioSource(sound)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **options: open(tmp_path / "none" / "file"))  # noqa: SIM115
    with pytest.raises(OutputError, match="no room for the decoded audio: No such file"):
        AudioSource(sound)
    assert temporary_files() == before


@pytest.mark.slow  # on a busy machine
def test_memory_does_not_grow_with_the_audio(tmp_path: Path) -> None:
    """A quarter of an hour, 86 MB of samples, is decoded, kept and read back within 50 MB more than a second."""
    short, long = tmp_path / "short.wav", tmp_path / "long.wav"
    second = (tone(1.0, 16_000) * 32_767).astype("<i2").tobytes()
    for path, seconds in ((short, 1), (long, 900)):
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            for _ in range(seconds):
                file.writeframes(second)
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE_MEMORY, str(short), str(long), str(tmp_path / "out.mp4")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    duration, blocks, frames, growth = map(float, ran.stdout.split())
    assert (duration, blocks, frames) == (900, 900 * 16_000, 900 * 16_000)
    assert growth < 50 * MEGABYTE
