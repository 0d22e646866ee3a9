"""Live streams through a real server: what is shown, and when."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc

from lipsync_core.serving.server import EmbeddedServer
from tests.conftest import ROOT
from tests.media_clips import write_sound
from tests.server.live import (
    CLIP_FRAMES,
    RATE,
    clips,
    job_pictures,
    opened,
    server,
    sound_of,
    speaking,
    speech_of,
    spoken_part,
    streamed,
)

pytestmark = pytest.mark.server
__all__ = ["clips", "server"]  # fixtures


def requests_of(server: EmbeddedServer, *models: str) -> int:
    """Return how many requests models have answered."""
    with triton_grpc.InferenceServerClient(server.url) as client:
        stats = [client.get_inference_statistics(model, as_json=True)["model_stats"][0] for model in models]
    return sum(int(one.get("execution_count", 0)) for one in stats)


def test_a_stream_gives_the_frames_of_a_job_with_live_windows(
    server: EmbeddedServer, clips: Path, tmp_path: Path
) -> None:
    """To the bit, however the voice is cut into pieces, and at its own rate."""
    voice = np.concatenate([speech_of(0.9), np.zeros(RATE, np.float32), speech_of(0.5, 2.0)])
    pictures = streamed(server, "head", voice, [320, 1600, 777])
    audio = write_sound(tmp_path / "voice.wav", voice)
    expected = job_pictures(server, clips / "head", audio, tmp_path / "job.mkv")
    assert len(pictures) == len(expected) == 60
    assert [i for i, (a, b) in enumerate(zip(pictures, expected, strict=True)) if not np.array_equal(a.rgb, b)] == []
    assert {picture.speaks for picture in pictures} == {True, False}
    assert np.array_equal(sound_of(pictures), voice)


def test_pieces_of_16_bits_and_of_another_rate_give_the_same(
    server: EmbeddedServer, clips: Path, tmp_path: Path
) -> None:
    """A voice of 48 kHz is resampled as a file's is, and its sound comes back as it was sent."""
    smooth = np.interp(np.arange(24_000) / 3, np.arange(8_000), speech_of(0.5))
    pcm = np.clip(np.rint(smooth * 32_768), -32_768, 32_767).astype(np.int16)
    pictures = streamed(server, "head", pcm, [4_800, 960], rate=48_000)
    with av.open(str(tmp_path / "voice.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(pcm[None], "s16", "mono")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
    expected = job_pictures(server, clips / "head", tmp_path / "voice.wav", tmp_path / "job.mkv")
    assert len(pictures) == len(expected) == 13
    assert all(np.array_equal(a.rgb, b) for a, b in zip(pictures, expected, strict=True))
    assert np.array_equal(np.rint(sound_of(pictures) * 32_768)[: len(pcm)], pcm)


@pytest.mark.long  # in real time, which a busy machine does not keep
def test_a_voice_in_real_time_is_shown_soon(server: EmbeddedServer) -> None:
    """The mouth moves well before a second has passed."""
    with opened(server) as live, speaking(live, speech_of(1.5)) as sent:
        first_s = next(time.monotonic() - sent[0] for picture in live if picture.speaks and picture.sound.any())
    assert first_s < 1.0  # 0.42 s by design


def test_a_voice_in_real_time_is_shown_whole(server: EmbeddedServer) -> None:
    """No sample is lost; sound and pictures have one clock."""
    voice = speech_of(1.5)
    with opened(server) as live, speaking(live, voice):
        pictures = list(live)
    assert any(picture.speaks for picture in pictures)
    assert np.array_equal(spoken_part(sound_of(pictures)), spoken_part(voice))
    times = np.array([picture.time_s for picture in pictures])
    assert np.allclose(np.diff(times), 0.04, atol=1e-6)
    starts = np.cumsum([0, *(len(picture.sound) for picture in pictures)])[:-1] / RATE
    assert np.abs(starts - times + times[0]).max() < 0.001


def test_gaps_become_silence_and_the_voice_goes_on_after_them(server: EmbeddedServer) -> None:
    """A pause of the sender is a pause of the stream; nothing is lost or out of order."""
    first, second = speech_of(0.5), speech_of(0.5, 2.0)
    with opened(server) as live:
        pictures = []

        def read() -> None:
            pictures.extend(live)

        reader = threading.Thread(target=read)
        reader.start()
        with speaking(live, first, ends=False):
            pass
        time.sleep(0.8)
        with speaking(live, second):
            pass
        reader.join()
    sound = sound_of(pictures)
    assert len(spoken_part(sound)) > len(first) + len(second) + 0.2 * RATE
    assert np.array_equal(sound[sound != 0], np.concatenate([first, second])[np.concatenate([first, second]) != 0])


def test_silence_shows_the_clip_back_and_forth_and_asks_no_network(server: EmbeddedServer) -> None:
    """Once its closed mouths are drawn: neither the pipeline's nor the one that tells speech from other sounds."""
    models = ("mouth_warp", "visible_mouths", "mouth_shapes", "voice_activity")
    silence = np.zeros(RATE * 3, np.float32)
    first = streamed(server, "head", silence, [1600])
    before = requests_of(server, *models)
    again = streamed(server, "head", silence, [1600])
    assert requests_of(server, *models) == before
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(first, again, strict=True))
    assert not any(picture.speaks for picture in first)
    there, back = CLIP_FRAMES - 2, CLIP_FRAMES
    assert np.abs(first[there].rgb.astype(int) - first[back].rgb).max() < 12  # smoothing sees them in another order
    assert np.abs(first[0].rgb.astype(int) - first[CLIP_FRAMES - 1].rgb).max() > 30


def test_an_interruption_closes_the_mouth_within_100_ms(server: EmbeddedServer) -> None:
    """What was queued is dropped; voice that is sent afterwards is shown."""
    with opened(server) as live:
        live.send(speech_of(3.0))
        after = []
        cut_s = None
        for picture in live:
            if cut_s is None:
                if picture.speaks and picture.time_s > 1.0:
                    cut_s = picture.time_s + picture.duration_s
                    live.interrupt()
                    live.send(speech_of(0.4, 2.0))
                    live.end()
            else:
                after.append(picture)
    assert cut_s is not None
    closed_s = next(picture.time_s for picture in after if not picture.speaks)
    assert closed_s - cut_s <= 0.1 + 0.12  # of the stream's time; the rest is the request's way on a busy machine
    assert any(picture.speaks for picture in after)
    heard = spoken_part(speech_of(0.4, 2.0))
    assert np.array_equal(spoken_part(sound_of(after))[-len(heard) :], heard)
    assert len(after) < 50


def test_marked_streams_carry_the_mark(server: EmbeddedServer) -> None:
    """In the pictures with another mouth; the stream says so, and that it is not signed."""
    voice = speech_of(1.2)
    plain = streamed(server, "head", voice, [1600])
    with opened(server, pace="fast", options={"mark": True}) as live:
        assert live.facts.is_marked
        assert not live.facts.is_signed
        live.send(voice)
        live.end()
        marked = list(live)
    differences = [np.abs(a.rgb.astype(int) - b.rgb) for a, b in zip(plain, marked, strict=True)]
    assert all(0 < difference.max() <= 8 for difference in differences if difference.any())
    assert np.mean([difference.any() for difference in differences]) > 0.9


def test_the_command_writes_what_plays_while_it_grows(server: EmbeddedServer, tmp_path: Path) -> None:
    """Fragments of a few pictures with their sound, from a pipe to a pipe."""
    voice = (speech_of(1.0) * 32_767).astype("<i2").tobytes()
    command = [sys.executable, str(ROOT / "client" / "lipsync.py"), "live", "--url", server.url, "--clip", "head"]
    done = subprocess.run(
        [*command, "--audio", "-", "--output", "-", "--pace", "fast"], input=voice, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"25 pictures in 1.0 s" in done.stderr
    assert b"not signed" in done.stderr
    assert done.stdout.count(b"moof") >= 6
    path = tmp_path / "cut.mp4"
    path.write_bytes(done.stdout[: done.stdout.rindex(b"moof") - 4])
    with av.open(str(path)) as container:
        pictures = sum(1 for _ in container.decode(video=0))
    with av.open(str(path)) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
    assert pictures >= 20
    assert samples / 48_000 >= pictures / 25 - 0.1


def test_the_command_starts_a_server_for_itself(server: EmbeddedServer, clips: Path, tmp_path: Path) -> None:
    """With what the clip needs; a file gets all pictures."""
    voice = write_sound(tmp_path / "voice.wav", speech_of(0.6))
    command = [sys.executable, str(ROOT / "client" / "lipsync.py"), "live", "--clip", "head", "--clips", str(clips)]
    output = tmp_path / "out.mp4"
    done = subprocess.run(
        [*command, "--audio", str(voice), "--output", str(output), "--pace", "fast", "--json"],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    report = json.loads(done.stdout)
    assert (report["pictures"], report["held"], report["left_out"], report["seconds"]) == (15, 0, 0, 0.6)
    with av.open(str(output)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 15
