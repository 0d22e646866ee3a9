"""A prepared clip as the avatar of a LiveKit agent; needs the extra `livekit`.

`LiveKitAvatar` is a video generator of livekit-agents: give it to an `AvatarRunner`, with the agent's audio.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import numpy as np
from livekit import rtc
from livekit.agents.voice.avatar import AudioSegmentEnd, AvatarOptions, VideoGenerator

from client.live.asynchronous import AsyncLiveSession, ShownPicture, as_pcm, mono
from client.servers.security import IN_THE_CLEAR, Security

RATE = 24_000  # Hz, of most voices
CHANNELS = 1


class LiveKitAvatar(VideoGenerator):
    """Draws a live stream for an `AvatarRunner`: voice in, pictures with their sound out.

    While nobody speaks there are pictures without sound. A segment of voice ends when all of it was shown.
    """

    def __init__(self, live: AsyncLiveSession[AudioSegmentEnd]) -> None:
        """Take an open stream, which this one closes."""
        self._live = live
        self._is_in_segment = False

    @classmethod
    async def open(
        cls,
        url: str,
        clip: str,
        *,
        rate: int = RATE,
        options: Mapping[str, object] | None = None,
        security: Security = IN_THE_CLEAR,
    ) -> LiveKitAvatar:
        """Open a stream.

        Args:
            url: HOST:PORT of the server's gRPC endpoint.
            clip: name of the prepared clip on the server.
            rate: samples per second of the agent's voice, in Hz.
            options: options of the pipeline by their names, as texts or JSON values.
            security: encryption, certificates and token.

        Raises:
            LipSyncError: the stream cannot be opened; see `LiveSession`.
        """
        return cls(await AsyncLiveSession.open(url, clip, rate=rate, options=options, security=security))

    @property
    def options(self) -> AvatarOptions:
        """What an `AvatarRunner` must know of the pictures and the sound."""
        facts = self._live.facts
        return AvatarOptions(facts.width, facts.height, facts.video_fps, facts.rate, CHANNELS)

    async def push_audio(self, frame: rtc.AudioFrame | AudioSegmentEnd) -> None:
        """Add voice, or end a segment of it; the end of one that was cleared is left out.

        Raises:
            LipSyncError: the voice has another rate, or the stream has failed.
        """
        is_end = isinstance(frame, AudioSegmentEnd)
        was_in_segment, self._is_in_segment = self._is_in_segment, not is_end
        if is_end:
            if was_in_segment:
                self._live.mark(frame)
        else:
            pcm = np.frombuffer(frame.data, np.int16)[: frame.samples_per_channel * frame.num_channels]
            self._live.send(mono(pcm, frame.num_channels), frame.sample_rate)

    def clear_buffer(self) -> None:
        """Drop the voice that is not shown yet, and close the mouth."""
        self._is_in_segment = False
        self._live.interrupt()

    async def __aiter__(self) -> AsyncIterator[rtc.VideoFrame | rtc.AudioFrame | AudioSegmentEnd]:
        """Yield pictures, each followed by its sound where somebody speaks, until the stream is closed.

        Raises:
            LipSyncError: the stream failed.
        """
        async for shown in self._live:
            if not isinstance(shown, ShownPicture):
                yield shown
                continue
            height, width = shown.picture.rgb.shape[:2]
            rgb = np.ascontiguousarray(shown.picture.rgb)
            yield rtc.VideoFrame(width, height, rtc.VideoBufferType.RGB24, rgb.tobytes())
            if shown.has_voice:
                pcm = as_pcm(shown.picture.sound)
                yield rtc.AudioFrame(pcm.tobytes(), self._live.facts.rate, CHANNELS, len(pcm))

    async def aclose(self) -> None:
        """End the stream; safe to call again."""
        await self._live.close()
