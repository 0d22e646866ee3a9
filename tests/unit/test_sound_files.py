"""The track that is written: copied where it can be, in bounded memory, and without leftovers."""

from __future__ import annotations

import subprocess
import sys
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from scipy.io import wavfile

from client.errors import MediaError, OutputError, UsageError
from client.media import AudioSource, VideoSource
from client.options import read_options
from client.scene.scene import simple_scene
from client.sound.options import SOUND_OPTIONS
from client.tracking.faces import LARGEST
from tests.media_clips import audio_codec, copy_video, read_sound, tone, write_sound
from tests.scene_sounds import RATE, noise, opened, samples_of, scene_of, speaker, video_with, voice_of
from tests.unit.test_media_spool import temporary_files

MEGABYTE = 1_000_000
MEASURE_MEMORY = """
import resource, sys
from pathlib import Path
from client.media import VideoSource
from client.options import read_options
from client.scene.scene import Scene, Speaker, Voice
from client.sound.job_sound import open_sound
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
def mix(*names):
    voices = tuple(Speaker(name, Voice(Path(name))) for name in names)
    video = VideoSource(sys.argv[1])
    values = read_options({"background": names[0], "duck": 6})
    with open_sound(Scene(voices), values, video, Path(sys.argv[2])) as sound:
        return sum(frame.samples for frame in sound.written.frames())
mix(sys.argv[3], sys.argv[4])
before = peak()
print(mix(sys.argv[5], sys.argv[6]), peak() - before)
"""


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A video of 1 s with sound."""
    return video_with(noise(1, 3), tmp_path / "video.avi", frames=25)


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.webm", "out.avi"])
@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_a_job_without_these_options_is_as_before(tmp_path: Path, video: Path, name: str, codec: str) -> None:
    """One voice is written as before, byte by byte."""
    path = write_sound(tmp_path / ("a.m4a" if codec == "aac" else "a.wav"), tone(1, RATE), rate=RATE, codec=codec)
    source = VideoSource(video)
    with opened(simple_scene(path, LARGEST), source, name) as sound:
        assert sound.written is sound.voices[0]
        assert (sound.done, sound.warnings, sound.ends_with_video) == ([], [], False)
        assert sound.duration_s == sound.written.duration
        copy_video(source, tmp_path / name, sound.written)
    now = (tmp_path / name).read_bytes()
    (tmp_path / name).unlink()
    with AudioSource(path, tmp_path / name, source.speech_delay_s) as audio:
        copy_video(source, tmp_path / name, audio)
    assert (tmp_path / name).read_bytes() == now


def test_a_photograph_lasts_as_long_as_its_voice(tmp_path: Path) -> None:
    """Also where only a part of it is lip-synced; a video has a length of its own."""
    photo = tmp_path / "photo.png"
    with av.open(str(photo), "w") as container:
        stream = container.add_stream("png", width=64, height=48, pix_fmt="rgb24")
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")))
        container.mux(stream.encode(None))
    scene = scene_of(speaker("ann", voice_of(tmp_path, "ann", tone(2, RATE))), unchanged=((0, 0.5), (1, float("inf"))))
    with opened(scene, photo) as sound:
        assert sound.duration_s == 2


def test_a_soundtrack_is_written_as_it_is(tmp_path: Path, video: Path) -> None:
    """The soundtrack's packets are copied, while the lips follow the voice and its length."""
    voice = voice_of(tmp_path, "ann", tone(0.8, RATE, 300))
    track = write_sound(tmp_path / "final.m4a", tone(1, RATE, 700), rate=RATE, codec="aac")
    source = VideoSource(video)
    with opened(simple_scene(voice.path, LARGEST), source, soundtrack=str(track)) as sound:
        assert sound.duration_s == 0.8
        assert sound.ends_with_video
        assert sound.done == ["final.m4a was written in place of the voice"]
        assert np.abs(np.fft.rfft(sound.voices[0].window(0, 8_000))).argmax() == 150  # 300 Hz in half a second
        copy_video(source, tmp_path / "out.mp4", sound.written)
    assert audio_codec(tmp_path / "out.mp4") == "aac"
    before, after = read_sound(track)[0], read_sound(tmp_path / "out.mp4")[0]
    np.testing.assert_array_equal(before, after[:, : before.shape[1]])


def test_another_reader_hears_the_same(tmp_path: Path) -> None:
    """SciPy's reader finds the mix in a file that was written without loss."""
    scene = scene_of(
        speaker("ann", voice_of(tmp_path, "ann", noise(1, 1))), speaker("bob", voice_of(tmp_path, "bob", noise(1, 2)))
    )
    source = VideoSource(video_with(None, tmp_path / "mute.mp4", frames=25))
    with opened(scene, source, "out.avi") as sound:
        mixed = samples_of(sound.written)[:, 0]
        copy_video(source, tmp_path / "out.avi", sound.written)
    write_sound(tmp_path / "mix.wav", read_sound(tmp_path / "out.avi")[0], rate=RATE, codec="pcm_f32le")
    rate, samples = wavfile.read(tmp_path / "mix.wav")
    assert rate == RATE
    np.testing.assert_allclose(samples[: len(mixed)], mixed, atol=2**-23)  # 24 bits in avi
    np.testing.assert_array_equal(mixed, noise(1, 1) + noise(1, 2))


def test_mixes_keep_no_memory(tmp_path: Path, video: Path) -> None:
    """A mix of 2 minutes takes about as much memory as one of 10 s."""
    names = []
    for seconds in (10, 120):
        for channel in range(2):
            names.append(str(tmp_path / f"{seconds}-{channel}.wav"))
            with wave.open(names[-1], "wb") as file:
                file.setparams((2, 2, RATE, 0, "NONE", ""))
                block = np.repeat((tone(1, RATE) * 20_000).astype("<i2"), 2).tobytes()
                for _ in range(seconds):
                    file.writeframes(block)
    command = [sys.executable, "-c", MEASURE_MEMORY, str(video), str(tmp_path / "out.mp4"), *names]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert int(printed[0]) == 120 * RATE
    assert int(printed[1]) < 24 * MEGABYTE  # the mix alone is 46 MB


def test_temporary_files_go(tmp_path: Path, video: Path) -> None:
    """They go when the sound is closed, and when any step of opening it fails."""
    ann, bob = voice_of(tmp_path, "ann", noise(1, 1)), voice_of(tmp_path, "bob", noise(1, 2))
    scene = scene_of(speaker("ann", ann), speaker("bob", bob), unchanged=((0.2, 0.4),))
    missing = scene_of(speaker("ann", ann), speaker("bob", type(bob)(tmp_path / "nobody.wav")))
    before = temporary_files()
    with opened(scene, video, background="original", duck=6):
        assert len(temporary_files()) > len(before)
    assert temporary_files() == before
    text = tmp_path / "text.wav"
    text.write_text("no sound at all")
    for given in ({"background": str(text)}, {"soundtrack": str(text)}):
        with pytest.raises(MediaError, match=rf"^{next(iter(given))}, .*text.wav: expected a video, picture or audio"):
            opened(scene, video, **given)
    with pytest.raises(MediaError, match="nobody.wav"):
        opened(missing, video)
    with pytest.raises(UsageError, match="0.8 to 1.25"):
        opened(scene_of(speaker("ann", voice_of(tmp_path, "long", noise(3, 1)))), video, if_audio_longer="stretch")
    with pytest.raises(UsageError, match="expected a name ending in"):
        opened(scene, video, "out.xyz")
    assert temporary_files() == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_output_fails_to_replace_a_sound(tmp_path: Path, video: Path) -> None:
    """No voice, background or soundtrack is overwritten."""
    voice = voice_of(tmp_path, "ann", noise(1, 1))
    other = write_sound(tmp_path / "music.mp4", tone(1, RATE), rate=RATE, codec="aac")
    for option in ("background", "soundtrack"):
        with pytest.raises(OutputError, match="expected a new file, got one of the inputs"):
            opened(simple_scene(voice.path, LARGEST), video, "music.mp4", **{option: str(other)})


@pytest.mark.parametrize(("given", "expected"), [
    ({"duck": 6}, "duck: expected background beside it, got none. Choose a background, or leave it out"),
    ({"background_volume": -3}, "background_volume: expected background beside it, got none"),
    ({"soundtrack": "a.wav", "background": "b.wav"}, "soundtrack, background: expected one of the two, got both"),
    ({"soundtrack": "a.wav", "if_audio_longer": "stretch"}, "soundtrack: expected a voice at its own speed beside it"),
    ({"background_volume": 30}, "background_volume: expected -60 to 20 dB, got 30"),
    ({"duck": -1}, "duck: expected 0 to 60 dB, got -1"),
])  # fmt: skip
def test_options_of_the_sound_fail_alone(given: dict[str, object], expected: str) -> None:
    """Options that need another one, exclude each other or break their rule are refused in one line."""
    with pytest.raises(UsageError) as caught:
        read_options(given)
    assert str(caught.value).replace("⟦", "").replace("⟧", "").startswith(expected)


def test_the_api_takes_no_files() -> None:
    """Over the API the background is the video's own sound or nothing; files are for the command line."""
    assert read_options({"background": "original"}, "api").chosen == {"background": "original"}
    for given in ({"background": "/etc/passwd"}, {"soundtrack": "/etc/passwd"}):
        with pytest.raises(UsageError):
            read_options(given, "api")
    assert read_options({"background": "./original"}, "cli").chosen == {"background": Path("./original")}


def test_what_changes_the_lips_changes_answers() -> None:
    """An interrupted job continues unless the voice that drives the lips is another one."""
    changing = {option.name for option in SOUND_OPTIONS if option.changes_answers}
    assert changing == {"audio_offset"}


def test_options_are_written_as_they_are_read() -> None:
    """A job can be handed to another process with these options."""
    given = {"background": "a.wav", "duck": 6.0, "audio_offset": -1.5}
    values = read_options(given)
    assert read_options(values.chosen_as_json(SOUND_OPTIONS)).chosen == values.chosen
