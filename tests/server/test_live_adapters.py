"""The adapters to LiveKit and pipecat on a real stream; each is skipped where its package is not installed."""

from __future__ import annotations

import asyncio
import itertools
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lipsync_core.serving.server import EmbeddedServer
from tests.server.clips import SIDE
from tests.server.live import live_server, prepare_clip, speech_of

pytestmark = [pytest.mark.server, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
RATE = 16_000
VOICE = (speech_of(1.2) * 32_767).astype(np.int16) | 1  # no sample is zero


@pytest.fixture(scope="module")
def server(model_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server with the clip `head`."""
    clips = tmp_path_factory.mktemp("clips")
    with live_server(model_repository, clips, "mouth_motion", "voice_activity") as up:
        prepare_clip(up, clips / "head")
        yield up


def check(pictures: list[np.ndarray], sound: list[bytes], voiced: list[np.ndarray]) -> None:
    """The voice comes back to the bit, and mouths move with it."""
    pcm = np.frombuffer(b"".join(sound), np.int16)
    assert np.array_equal(pcm[pcm != 0], VOICE)
    assert {picture.shape for picture in pictures} == {(SIDE, SIDE, 3)}
    assert len(voiced) == pytest.approx(1.2 * 25, abs=2)
    differences = [np.abs(after.astype(int) - before).max() for before, after in itertools.pairwise(voiced)]
    assert np.median(differences) > 10


def test_a_livekit_avatar_speaks(server: EmbeddedServer) -> None:
    """What its agent says, with a picture for every 40 ms; the segment ends after it."""
    pytest.importorskip("livekit.agents", reason="no livekit-agents; run: pip install 'lipsync-triton[livekit]'")
    from livekit import rtc
    from livekit.agents.voice.avatar import AudioSegmentEnd

    from client.live.livekit import LiveKitAvatar

    async def run() -> list[Any]:
        avatar = await LiveKitAvatar.open(server.url, "head", rate=RATE)
        assert (avatar.options.video_width, avatar.options.video_fps, avatar.options.audio_sample_rate) == (
            SIDE,
            25,
            RATE,
        )
        await avatar.push_audio(rtc.AudioFrame(VOICE.tobytes(), RATE, 1, len(VOICE)))
        await avatar.push_audio(AudioSegmentEnd())
        seen: list[Any] = []
        async for frame in avatar:
            if isinstance(frame, AudioSegmentEnd):
                break
            seen.append(frame)
        await avatar.aclose()
        return seen

    seen = asyncio.run(run())
    is_sound = [isinstance(frame, rtc.AudioFrame) for frame in seen]
    rgb = [np.frombuffer(frame.data, np.uint8).reshape(SIDE, SIDE, 3) if not one else None
           for frame, one in zip(seen, is_sound, strict=True)]  # fmt: skip
    sound = [bytes(frame.data) for frame, one in zip(seen, is_sound, strict=True) if one]
    voiced = [picture for picture, one in zip(rgb, is_sound[1:], strict=False) if one and picture is not None]
    check([picture for picture in rgb if picture is not None], sound, voiced)


def test_a_pipecat_pipeline_speaks(server: EmbeddedServer) -> None:
    """Voice goes into the service, and comes out with its pictures before the pipeline ends."""
    pytest.importorskip("pipecat", reason="no pipecat-ai; run: pip install 'lipsync-triton[pipecat]'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pipecat imports audioop
        from pipecat.frames.frames import OutputImageRawFrame, TTSAudioRawFrame, TTSStoppedFrame
        from pipecat.tests.utils import run_test

    from client.live.pipecat import LipSyncVideoService

    service = LipSyncVideoService(url=server.url, clip="head", rate=RATE)
    frames = [TTSAudioRawFrame(VOICE.tobytes(), RATE, 1), TTSStoppedFrame()]
    down, up = asyncio.run(run_test(service, frames_to_send=frames, start_timeout=20))
    assert not up
    pictures = [
        np.frombuffer(frame.image, np.uint8).reshape(SIDE, SIDE, 3)
        for frame in down
        if isinstance(frame, OutputImageRawFrame)
    ]
    sound = [frame.audio for frame in down if isinstance(frame, TTSAudioRawFrame)]
    first = next(i for i, frame in enumerate(down) if isinstance(frame, TTSAudioRawFrame)) - 1
    check(pictures, sound, pictures[first : first + len(sound)])
