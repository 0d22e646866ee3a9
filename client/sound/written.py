"""The mixed track of a job: its voices, the video's own sound where that is kept, and a background."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import mul
from pathlib import Path

import numpy as np

from client.errors import MediaError, UsageError
from client.media import STRETCH, AudioSource, VideoSource
from client.option import OptionValues
from client.pipelines.length_options import IF_AUDIO_SHORTER
from client.scene.scene import Scene, TimeSpan, Voice
from client.scene.spans import between, common, joined, show_spans
from client.sound.ducking import Ducking, speaking_spans
from client.sound.gate import FADE_S, Gate
from client.sound.mix import Gain, MixReader, Track
from client.sound.options import BACKGROUND, BACKGROUND_VOLUME, DUCK, ORIGINAL_SOUND
from client.sound.video_sound import FileSound, picture_end_s, sound_of

WHOLE = (TimeSpan(0.0),)
SPANS_SHOWN = 5


def is_mixed(scene: Scene, values: OptionValues) -> bool:
    """Return whether the written track is made of several sounds or parts of them."""
    return not scene.is_one_voice or bool(scene.unchanged) or values[BACKGROUND] is not None


def spoken_spans(scene: Scene, voice: Voice) -> tuple[TimeSpan, ...]:
    """Return when a voice speaks: in its speakers' segments, or throughout."""
    speakers = [speaker for speaker in scene.speakers if speaker.voice == voice]
    is_throughout = scene.is_one_voice or not all(speaker.segments for speaker in speakers)
    segments = [[segment.span for segment in speaker.segments] for speaker in speakers]
    return WHOLE if is_throughout else joined(*segments)


def heard_spans(scene: Scene, voice: Voice) -> tuple[TimeSpan, ...]:
    """Return when a voice is heard: when it speaks, but not in spans that are left alone."""
    return common(spoken_spans(scene, voice), between(scene.unchanged))


def spoken_until_s(scene: Scene, voice: Voice, source: AudioSource) -> float:
    """Return when a voice has said all that it says, left alone or not, in seconds; 0 if it says nothing."""
    spoken = common(spoken_spans(scene, voice), [TimeSpan(0.0, source.duration)])
    return spoken[-1].end_s if spoken else 0.0


def heard_until_s(scene: Scene, voice: Voice, source: AudioSource) -> float:
    """Return when a voice is heard for the last time, in seconds; 0 if it is never heard."""
    heard = common(heard_spans(scene, voice), [TimeSpan(0.0, source.duration)])
    return heard[-1].end_s if heard else 0.0


@dataclass
class Mix:
    """What is mixed, and in which form.

    Args:
        scene: who speaks when.
        values: the options of the job.
        video: the video.
        voices: the opened voice of each recording of the scene.

    Raises:
        MediaError: the background has no sound.
    """

    scene: Scene
    values: OptionValues
    video: VideoSource
    voices: Mapping[Voice, AudioSource]

    def __post_init__(self) -> None:
        """Find the sounds beside the voices."""
        self._reader: MixReader | None = None
        self._original = sound_of(self.video) if self.scene.unchanged else None
        self._background = self._find_background()

    def open(self, output: Path) -> AudioSource:
        """Compute the mix; the result is named after the first voice.

        Args:
            output: the file whose audio track will be made from it.

        Raises:
            MediaError: a sound cannot be read.
            OutputError: there is no room for the temporary files.
        """
        return AudioSource(self.scene.speakers[0].voice.path, output, 0.0, self._open_reader)

    @cached_property
    def rate(self) -> int:
        """Samples per second: as many as the finest sound has."""
        return max(sound.rate for sound in self._sounds)

    @cached_property
    def channels(self) -> int:
        """Stereo if any sound has several channels."""
        return 2 if any(sound.channels > 1 for sound in self._sounds) else 1

    @property
    def done(self) -> Iterator[str]:
        """What was done, one sentence each."""
        names = ", ".join(dict.fromkeys(sound.path.name for sound in self._sounds))
        yield f"{names}: mixed at {self.rate} Hz in {'stereo' if self.channels == 2 else 'mono'}"
        if self.scene.unchanged:
            yield f"{self._own_sound} in {_shown(self.scene.unchanged)} s"
        if self._background is not None:
            yield self._describe_background(self._background)
        if self._reader is not None and self._reader.limited_s:
            yield f"{self._reader.limited_s:.2f} s were made softer, as the mix would have clipped there"

    @property
    def warnings(self) -> Iterator[str]:
        """What the user should know about the sounds beside the voices, and about channels that are lost."""
        for beside in (self._original, self._background):
            if beside is not None:
                yield from beside.warnings
        for sound in self._sounds:
            if sound.channels > 2:
                yield f"{sound.path.name}: its {sound.channels} channels were mixed to stereo"

    @property
    def _sounds(self) -> list[AudioSource | FileSound]:
        beside = [sound for sound in (self._original, self._background) if sound is not None]
        return [*self.voices.values(), *beside]

    @property
    def _own_sound(self) -> str:
        return "silence, as the video has no sound," if self._original is None else "the video's own sound was kept"

    @cached_property
    def _picture_end_s(self) -> float:
        """When the video ends; infinite for a still picture."""
        end_s = picture_end_s(self.video)
        return math.inf if end_s is None else end_s

    @cached_property
    def _length_s(self) -> float:
        """How long the mix is: to the end of the voices, or of the video if that is kept whole and heard."""
        length_s = max(heard_until_s(self.scene, voice, source) for voice, source in self.voices.items())
        keeps_video = self.values[IF_AUDIO_SHORTER] in (IF_AUDIO_SHORTER.default, STRETCH)
        fills_video = self.scene.unchanged or self._background is not None
        if keeps_video and fills_video and math.isfinite(self._picture_end_s):
            return max(length_s, self._picture_end_s)
        return length_s

    def _open_reader(self) -> MixReader:
        self._reader = MixReader(tuple(self._tracks()), self.rate, self.channels, self._length_s)
        return self._reader

    def _tracks(self) -> Iterator[Track]:
        for voice, source in self.voices.items():
            yield Track(source, Gate(heard_spans(self.scene, voice), self.rate).gain)
        if self._original is not None:
            kept = common(self.scene.unchanged, self._of_video)
            yield Track(self._original, Gate(kept, self.rate).gain, is_kept=True)
        if self._background is not None:
            yield Track(self._background, _product(list(self._background_gains())))

    @property
    def _of_video(self) -> tuple[TimeSpan, ...]:
        """When the video's own sound may be heard: until its pictures end, with a fade if the output goes on."""
        goes_on = self._length_s > self._picture_end_s + FADE_S
        return (TimeSpan(0.0, self._picture_end_s),) if goes_on else WHOLE

    def _find_background(self) -> FileSound | None:
        chosen = self.values[BACKGROUND]
        if chosen is None:
            return None
        if isinstance(chosen, Path):
            with naming_option(BACKGROUND.name):
                return FileSound.probe(chosen)
        own = sound_of(self.video)
        if own is None:
            raise UsageError(
                option=BACKGROUND.name,
                expected=f"a video with sound for {ORIGINAL_SOUND}",
                got=f"{self.video.path.name}, which has none",
                advice="Name a file with sound, or leave it out",
            )
        return own

    def _background_gains(self) -> Iterator[Gain]:
        volume = 10 ** (self.values[BACKGROUND_VOLUME] / 20)
        yield lambda _start, _stop: volume
        until_end = [TimeSpan(0.0, max(0.0, self._length_s - FADE_S / 2))]
        where = self._of_video if self.values[BACKGROUND] == ORIGINAL_SOUND else WHOLE
        yield Gate(common(common(between(self.scene.unchanged), until_end), where), self.rate).gain
        duck_db = self.values[DUCK]
        if duck_db:
            spoken = (
                common(speaking_spans(source), heard_spans(self.scene, voice)) for voice, source in self.voices.items()
            )
            yield Ducking(joined(*spoken), self.rate, duck_db).gain

    def _describe_background(self, background: FileSound) -> str:
        is_own = self.values[BACKGROUND] == ORIGINAL_SOUND
        duck_db = self.values[DUCK]
        ducked = f", {duck_db:g} dB softer while a voice speaks" if duck_db else ""
        name = "the video's own sound" if is_own else background.path.name
        return f"{name} is in the background at {self.values[BACKGROUND_VOLUME]:+g} dB{ducked}"


def _product(gains: Sequence[Gain]) -> Gain:
    def gain(start: int, stop: int) -> float | np.ndarray:
        each = [one(start, stop) for one in gains]
        return 0.0 if any(isinstance(one, float) and not one for one in each) else reduce(mul, each)

    return gain


def _shown(spans: Sequence[TimeSpan]) -> str:
    more = len(spans) - SPANS_SHOWN
    return show_spans(spans[:SPANS_SHOWN]) + (f" and {more} more spans" if more > 0 else "")


@contextmanager
def naming_option(option: str) -> Iterator[None]:
    """Say in errors of a file which option named it."""
    try:
        yield
    except MediaError as error:
        error.options = (option,)
        raise
