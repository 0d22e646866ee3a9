"""Measuring uploads: lengths, limits, and files that cannot be read."""

from __future__ import annotations

import asyncio
import struct
import wave
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest

from client.web import media_probe
from client.web.media_probe import MediaFacts, Span, check_lengths, in_words, probe
from client.web.problems import ProblemError
from tests.server.clips import head_frame, write_video
from tests.web_service import files, open_client, problem


def write_silence(path: Path, seconds: int) -> Path:
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(1000)
        sound.writeframes(bytes(1000 * seconds))
    return path


def test_lengths_and_codecs_are_read_in_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are measured by their content; what cannot be read is unknown, and no error."""
    monkeypatch.setattr(media_probe, "TIMEOUT_S", 120.0)  # a busy machine starts processes slowly
    video = write_video(tmp_path / "head.mp4", [head_frame()] * 25)
    broken = tmp_path / "broken"
    broken.write_bytes(b"no media")
    facts = asyncio.run(probe([video, broken, write_silence(tmp_path / "long", 36_000)]))
    assert facts[0].length_s == pytest.approx(1.0, abs=0.1)
    assert (facts[0].codec, facts[1]) == ("h264", MediaFacts())
    assert facts[2].length_s == 36_000


def test_too_long_speech_and_video_fail() -> None:
    """The speech counts whole, the video only where it is used."""
    still, minute, day = MediaFacts(codec="png"), MediaFacts(length_s=60), MediaFacts(length_s=86_400)
    for video, audio, span in (
        (still, minute, Span(0, None)),
        (day, minute, Span(10, 70)),
        (minute, still, Span(0, 9)),
    ):
        check_lengths(video, audio, span, 60)
    for video, audio, span, name in ((still, day, Span(0, None), "audio"), (day, minute, Span(10, None), "video")):
        with pytest.raises(ProblemError, match=f"{name}: expected at most 60 s, got 86"):
            check_lengths(video, audio, span, 60)


def test_ten_hours_with_a_photograph_are_refused(tmp_path: Path) -> None:
    """The upload is refused in people's words, and nothing is kept."""

    async def facts(paths: Sequence[Path]) -> list[MediaFacts]:
        return [MediaFacts(codec="png"), MediaFacts(length_s=36_000)]

    with open_client(tmp_path, probe=facts) as client:
        said = problem(client.post("/jobs", files=files()), 422)
        assert client.get("/limits").json()["max_duration_s"] == 3600
    assert said["title"] == "The speech is too long"
    assert said["user_message"] == "The speech lasts 10 h; this service takes 1 h. Send it in parts."
    assert not list((tmp_path / "jobs").iterdir())


def test_length_is_said_in_words() -> None:
    """Hours and minutes, as people say them."""
    assert [in_words(seconds) for seconds in (9, 60, 3600, 7500)] == ["9 s", "1 min", "1 h", "2 h 5 min"]


def test_video_that_browsers_cannot_show_gets_proxy_and_poster(tmp_path: Path) -> None:
    """HEVC comes back as a small H.264 of the same length, and its first picture as a JPEG; both are made once."""
    video = write_video(tmp_path / "hevc.mp4", [head_frame(shift) for shift in range(12)], codec="libx265")
    with open_client(tmp_path / "data") as client:
        links = client.post("/jobs", files=files(video.read_bytes())).json()["links"]
        for _ in range(2):
            proxy, poster = client.get(links["preview"]), client.get(links["poster"])
            assert (proxy.headers["content-type"], poster.headers["content-type"]) == ("video/mp4", "image/jpeg")
        assert client.get(links["preview"], headers={"Range": "bytes=0-3"}).status_code == 206
        broken = client.post("/jobs", files=files()).json()["links"]
        assert "cannot be shown" in problem(client.get(broken["preview"]), 422)["user_message"]
    with av.open(BytesIO(proxy.content)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        times = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    assert times == pytest.approx([index / 25 for index in range(12)], abs=0.002)
    with av.open(BytesIO(poster.content)) as container:
        (picture,) = container.decode(video=0)
        assert (picture.width, picture.height) == (256, 256)


def test_header_that_lies_is_not_believed(tmp_path: Path) -> None:
    """A file whose header states a second, and whose packets last a minute, is a minute long."""
    honest = tmp_path / "honest.mka"
    with av.open(str(honest), "w", format="matroska") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        for second in range(60):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), "s16", "mono")
            frame.sample_rate, frame.pts = 8000, second * 8000
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    lying = tmp_path / "lying.mka"
    content = honest.read_bytes()
    place = content.index(b"\x44\x89\x88") + 3  # EBML id of the duration, and its size of 8 bytes
    lying.write_bytes(content[:place] + struct.pack(">d", 1000.0) + content[place + 8 :])
    facts = asyncio.run(probe([honest, lying]))
    assert [fact.length_s for fact in facts] == pytest.approx([60, 60], abs=1.0)
