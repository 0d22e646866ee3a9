"""A prepared clip as the video service of a pipecat pipeline; needs the extra `pipecat`.

Put `LipSyncVideoService` between the service that makes the voice and the transport's output.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import numpy as np
from pipecat.audio.utils import create_stream_resampler
from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    InterruptionFrame,
    OutputImageRawFrame,
    StartFrame,
    TTSAudioRawFrame,
    TTSStoppedFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor, FrameProcessorSetup

from client.errors import LipSyncError
from client.live.asynchronous import AsyncLiveSession, ShownPicture, as_pcm, mono
from client.servers.security import IN_THE_CLEAR, Security

RATE = 24_000  # Hz, of most voices; others are resampled
CHANNELS = 1
FORMAT = "RGB"


class LipSyncVideoService(FrameProcessor):
    """Takes the voice out of a pipeline, and gives it back with the pictures that speak it.

    Pictures go on while nobody speaks. The end of an utterance is passed on when all of it was shown. An interruption
    drops the rest of the voice, and closes the mouth.
    """

    def __init__(
        self,
        *,
        url: str,
        clip: str,
        rate: int = RATE,
        options: Mapping[str, object] | None = None,
        security: Security = IN_THE_CLEAR,
        name: str | None = None,
    ) -> None:
        """Choose the clip; the stream is opened when the pipeline is set up.

        Args:
            url: HOST:PORT of the server's gRPC endpoint.
            clip: name of the prepared clip on the server.
            rate: samples per second of the stream's sound, in Hz; a voice of another rate is resampled.
            options: options of the pipeline by their names, as texts or JSON values.
            security: encryption, certificates and token.
            name: the processor's name in pipecat's logs.
        """
        super().__init__(name=name)
        self._url, self._clip, self._rate = url, clip, rate
        self._options, self._security = options, security
        self._resampler = create_stream_resampler()
        self._live: AsyncLiveSession[Frame] | None = None
        self._failure: LipSyncError | None = None
        self._showing: asyncio.Task[None] | None = None

    async def setup(self, setup: FrameProcessorSetup) -> None:
        """Open the stream; where that fails, the pipeline is told when it starts."""
        await super().setup(setup)
        try:
            self._live = await AsyncLiveSession.open(
                self._url, self._clip, rate=self._rate, options=self._options, security=self._security
            )
        except LipSyncError as error:
            self._failure = error

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Take the voice and what concerns it; all other frames are passed on."""
        await super().process_frame(frame, direction)
        try:
            is_taken = await self._take(frame, direction)
        except LipSyncError as error:
            await self.push_error(str(error), error)
            is_taken = False
        if not is_taken:
            await self.push_frame(frame, direction)
        if isinstance(frame, StartFrame):  # which others must have got before the first picture
            await self._start()

    async def cleanup(self) -> None:
        """End the stream."""
        await super().cleanup()
        await self._close()

    async def _take(self, frame: Frame, direction: FrameDirection) -> bool:
        """Do what a frame asks for; return whether it ends here, or comes again with the pictures."""
        if isinstance(frame, CancelFrame):
            await self._close()
        elif self._live is None or direction is not FrameDirection.DOWNSTREAM:
            return False
        elif isinstance(frame, TTSAudioRawFrame):
            pcm = mono(np.frombuffer(frame.audio, np.int16), frame.num_channels)
            self._send(self._live, await self._resampler.resample(pcm.tobytes(), frame.sample_rate, self._rate))
            return True
        elif isinstance(frame, TTSStoppedFrame | EndFrame):
            self._send(self._live, await self._resampler.flush())
            self._live.mark(frame)
            return True
        elif isinstance(frame, InterruptionFrame):
            await self._resampler.reset()
            for dropped in self._live.interrupt():
                if isinstance(dropped, EndFrame):
                    self._live.mark(dropped)
        return False

    async def _start(self) -> None:
        if self._failure is not None:
            await self.push_error(str(self._failure), self._failure)
        if self._live is not None:
            self._showing = self.create_task(self._show(self._live))

    def _send(self, live: AsyncLiveSession[Frame], pcm: bytes) -> None:
        live.send(np.frombuffer(pcm, np.int16), self._rate)

    async def _show(self, live: AsyncLiveSession[Frame]) -> None:
        try:
            async for shown in live:
                if isinstance(shown, ShownPicture):
                    await self._push_picture(shown)
                else:
                    await self.push_frame(shown)
                    if isinstance(shown, EndFrame):
                        break
        except LipSyncError as error:
            await self.push_error(str(error), error)
        self._live = None  # from now on frames are passed on
        await live.close()
        for frame in live.drop_marks():
            await self.push_frame(frame)

    async def _push_picture(self, shown: ShownPicture) -> None:
        height, width = shown.picture.rgb.shape[:2]
        rgb = np.ascontiguousarray(shown.picture.rgb)
        await self.push_frame(OutputImageRawFrame(rgb.tobytes(), (width, height), FORMAT))
        if shown.has_voice:
            await self.push_frame(TTSAudioRawFrame(as_pcm(shown.picture.sound).tobytes(), self._rate, CHANNELS))

    async def _close(self) -> None:
        if self._live is not None:
            await self._live.close()
        if self._showing is not None:
            await self.cancel_task(self._showing)
            self._showing = None
