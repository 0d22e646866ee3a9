from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("livekit.agents", reason="no livekit-agents; run: pip install 'lipsync-triton[livekit]'")

from livekit import rtc
from livekit.agents.voice.avatar import AudioSegmentEnd, AvatarRunner, QueueAudioOutput

from client.live.asynchronous import AsyncLiveSession
from client.live.livekit import LiveKitAvatar
from tests.live_stand_in import PICTURE, RATE, SIDE, StandInStream, voice

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def frames_of(pcm: np.ndarray, channels: int = 1) -> list[rtc.AudioFrame]:
    """Cut a voice into frames of 50 ms."""
    length = RATE // 20
    pieces = [np.repeat(pcm[start : start + length], channels) for start in range(0, len(pcm), length)]
    return [rtc.AudioFrame(piece.tobytes(), RATE, channels, len(piece) // channels) for piece in pieces]


def test_voice_comes_back_with_its_pictures_and_its_end() -> None:
    """Pictures alone before and after it; stereo is mixed."""

    async def run() -> None:
        stream = StandInStream()
        avatar = LiveKitAvatar(AsyncLiveSession(stream))  # type: ignore[arg-type]
        spoken = voice(0.4)
        for frame in frames_of(spoken, channels=2):
            await avatar.push_audio(frame)
        await avatar.push_audio(AudioSegmentEnd())
        seen: list[Any] = []
        async for frame in avatar:
            seen.append(frame)
            if isinstance(frame, AudioSegmentEnd):
                break
        assert [type(frame) for frame in seen[:2]] == [rtc.VideoFrame] * 2
        pictures = [frame for frame in seen if isinstance(frame, rtc.VideoFrame)]
        assert {(frame.width, frame.height, frame.type) for frame in pictures} == {
            (SIDE, SIDE, rtc.VideoBufferType.RGB24)
        }
        sound = [frame for frame in seen if isinstance(frame, rtc.AudioFrame)]
        assert {(frame.sample_rate, frame.samples_per_channel) for frame in sound} == {(RATE, PICTURE)}
        assert np.array_equal(np.concatenate([np.frombuffer(frame.data, np.int16) for frame in sound]), spoken)
        await avatar.aclose()
        assert stream.is_closed

    asyncio.run(run())


class StandInRoom:
    """A room whose tracks nobody hears."""

    def __init__(self) -> None:
        async def subscribed() -> None:
            return None

        async def publish(track: Any, options: Any) -> Any:
            self.published.append(track)
            return SimpleNamespace(wait_for_subscription=subscribed)

        self.published: list[Any] = []
        self.local_participant = SimpleNamespace(publish_track=publish)

    def isconnected(self) -> bool:
        return True

    def on(self, *_: Any) -> None:
        return None

    def off(self, *_: Any) -> None:
        return None


def test_a_runner_plays_segments_and_interrupts_them() -> None:
    """It tells the agent how far a voice was played: whole, or to where it was cut."""

    async def run() -> None:
        room, output = StandInRoom(), QueueAudioOutput(sample_rate=RATE)
        avatar = LiveKitAvatar(AsyncLiveSession(StandInStream()))  # type: ignore[arg-type]
        runner = AvatarRunner(room, audio_recv=output, video_gen=avatar, options=avatar.options)  # type: ignore[arg-type]
        finished: asyncio.Queue[Any] = asyncio.Queue()
        output.on("playback_finished", finished.put_nowait)
        await runner.start()
        for seconds, is_cut in ((0.4, False), (6.0, True), (0.2, False)):
            for frame in frames_of(voice(seconds)):
                await output.capture_frame(frame)
            if is_cut:
                await asyncio.sleep(0.4)
                output.clear_buffer()
            output.flush()
            told = await asyncio.wait_for(finished.get(), 10)
            assert told.interrupted is is_cut
            if is_cut:
                assert 0 < told.playback_position < 5
            else:
                assert told.playback_position == pytest.approx(seconds, abs=2 / 25)  # a picture at either end
        assert [type(track) for track in room.published] == [rtc.LocalAudioTrack, rtc.LocalVideoTrack]
        await runner.aclose()
        await avatar.aclose()

    asyncio.run(run())
