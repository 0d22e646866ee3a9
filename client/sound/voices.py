"""One speaker's voice as the lips follow it: a recording, or a part, a channel or another speed of one."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from av.audio.frame import AudioFrame

from client.errors import MediaError
from client.media import AudioSource
from client.media.audio_reader import AudioReader
from client.option import OptionValues
from client.scene.options import VOICE_CHANNELS
from client.scene.scene import Voice
from client.sound.blocks import Blocks, blocks_of, frame_of, part_of, placed
from client.sound.options import AUDIO_OFFSET
from client.sound.tempo import at_speed

END_SLACK_S = 0.5  # that a part of a recording may end after it: many files state their length roughly
COMPUTED_CODEC = "pcm_f32le"  # what computed samples are like


@dataclass(frozen=True)
class VoicePlan:
    """How a recording becomes a voice.

    Attributes:
        path: the recording.
        channel: the channel that is used; None for all.
        start_s: where the used part of the recording starts, in seconds.
        end_s: where it ends; None for the end of the file.
        delay_s: seconds of silence before it.
        offset_s: how much of that silence, or if negative of the part that is left out, was chosen; for messages.
        speed: how many times faster it is played.
        length: number of samples of the used part; only needed for another speed.
    """

    path: Path
    channel: int | None = None
    start_s: float = 0.0
    end_s: float | None = None
    delay_s: float = 0.0
    offset_s: float = 0.0
    speed: float = 1.0
    length: int = 0

    @classmethod
    def of(cls, voice: Voice, values: OptionValues, speech_delay_s: float) -> VoicePlan:
        """Plan a voice of a scene, by the options of the job.

        Args:
            voice: the voice.
            values: the options.
            speech_delay_s: when a voice without an offset starts in the output, in seconds.
        """
        offset_s = voice.offset_s + values[AUDIO_OFFSET]
        start_s = voice.start_s
        delay_s = speech_delay_s + offset_s
        if delay_s < 0:
            start_s, delay_s = start_s - delay_s, 0.0
        return cls(voice.path, voice.channel, start_s, voice.end_s, delay_s, offset_s)

    @property
    def is_whole(self) -> bool:
        """Whether it is the recording as it is, perhaps delayed."""
        return self.channel is None and not self.start_s and self.end_s is None and self.speed == 1

    def changes(self) -> Iterator[str]:
        """Yield what makes the voice differ from its recording, one sentence each."""
        name = self.path.name
        if self.channel is not None:
            yield f"{name}: channel {self.channel} alone is the voice"
        if self.start_s or self.end_s is not None:
            yield f"{name}: the part from {self.start_s:g} s to {self.until} is used"

        if self.offset_s > 0:
            yield f"{name}: it starts {self.offset_s:g} s later"

    @property
    def until(self) -> str:
        """Where the used part ends, in words."""
        return "its end" if self.end_s is None else f"{self.end_s:g} s"

    def heard_at(self, times_s: np.ndarray) -> np.ndarray:
        """Return when parts of the recording are heard, in seconds of the result; NaN for what is left out.

        Args:
            times_s: float64, seconds of the recording, of any shape.
        """
        end_s = math.inf if self.end_s is None else self.end_s
        is_used = (times_s >= self.start_s) & (times_s <= end_s)
        return np.where(is_used, (times_s - self.start_s) / self.speed + self.delay_s, np.nan)

    def open(self, output: Path | None) -> AudioSource:
        """Open the voice.

        Args:
            output: the file whose audio track will be made from it; None if there will be none.

        Raises:
            MediaError: the recording cannot be used, or has no such part or channel.
        """
        if self.is_whole:
            return AudioSource(self.path, output, self.delay_s)
        return AudioSource(self.path, output, self.delay_s, lambda: VoiceReader(self))


class VoiceReader:
    """Computes a voice from its recording; the attributes are those of `AudioReader`."""

    def __init__(self, plan: VoicePlan) -> None:
        """Remember the plan; the file is opened by `frames`."""
        self._plan = plan
        self._reader = AudioReader(plan.path)
        self.damage = self._reader.damage
        self.codec = COMPUTED_CODEC
        self.sample_count = 0
        self.start_s = 0.0

    def frames(self) -> Generator[AudioFrame, None, None]:
        """Yield the voice's samples.

        Raises:
            MediaError: the recording cannot be used, or has no such part or channel.
        """
        with closing(self._reader.frames()) as frames:
            first = next(frames, None)
            if first is None:
                return
            rate = first.sample_rate
            layout = first.layout.name if self._plan.channel is None else "mono"
            for block in self._voice(chain([first], frames), rate):
                self.sample_count += len(block)
                yield frame_of(block, rate, layout)

    def _voice(self, frames: Iterator[AudioFrame], rate: int) -> Blocks:
        plan = self._plan
        used = self._part(self._channel(blocks_of(frames)), rate)
        if plan.speed != 1:
            used = at_speed(used, rate, plan.speed, plan.length)
        return placed(used, round(plan.delay_s * rate))

    def _channel(self, blocks: Blocks) -> Blocks:
        channel = self._plan.channel
        for block in blocks:
            if channel is None:
                yield block
            elif channel < block.shape[1]:
                yield block[:, channel : channel + 1]
            else:
                raise self._no_such_channel(channel, block.shape[1])

    def _part(self, blocks: Blocks, rate: int) -> Blocks:
        plan = self._plan
        start = round(plan.start_s * rate)
        stop = None if plan.end_s is None else round(plan.end_s * rate)
        end = start
        for block in part_of(blocks, start, stop):
            end += len(block)
            yield block
        is_short = stop is not None and end < stop - END_SLACK_S * rate
        if end == start or is_short:
            raise self._beyond_the_end(self._reader.sample_count / rate)

    def _no_such_channel(self, channel: int, count: int) -> MediaError:
        names = {number: name for name, number in VOICE_CHANNELS.items()}
        return MediaError(
            about=self._plan.path,
            expected=f"a sound with channel {channel}" + (f" ({names[channel]})" if channel in names else ""),
            got=f"{count} channel{'s' if count > 1 else ''}, counted from 0",
            advice="Choose one of these",
        )

    def _beyond_the_end(self, length_s: float) -> MediaError:
        plan = self._plan
        return MediaError(
            about=plan.path,
            expected=f"a sound that reaches from {plan.start_s:g} s to {plan.until}",
            got=f"{length_s:.2f} s of sound",
            advice="Choose an earlier part, or a smaller negative offset",
        )
