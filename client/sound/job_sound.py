"""Opens the sound of a job: a voice for each speaker, and the track that is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from client.errors import MediaError, UsageError
from client.media import STRETCH, AudioSource, VideoSource, check_output
from client.option import Option, OptionValues
from client.pipelines.length_options import IF_AUDIO_LONGER, IF_AUDIO_SHORTER
from client.scene.scene import ONLY_SPEAKER, Scene, Voice
from client.sound.options import AUDIO_OFFSET, BACKGROUND, SOUNDTRACK, stretches
from client.sound.stretching import VoiceLength, fitting_speed
from client.sound.video_sound import picture_end_s
from client.sound.voices import VoicePlan
from client.sound.written import Mix, heard_until_s, is_mixed, naming_option, spoken_until_s

Voices = Mapping[Voice, AudioSource]


@dataclass(frozen=True)
class JobSound:
    """The sound of a job; a context manager that removes its temporary files.

    Attributes:
        voices: what drives each speaker's lips, in the order of the scene; speakers with equal voices share one.
        plans: how each of them is made of its recording.
        written: the output's audio track. Without options of the sound it is the only voice itself.
        duration_s: when the last voice ends, in seconds, for the rules of the length.
        ends_with_video: whether the track is no voice, so that it should end with the pictures.
        done: what was done to the sound, one sentence each; empty if the voice is written as it is.
        warnings: what the user should know about the files.
    """

    voices: tuple[AudioSource, ...]
    written: AudioSource
    duration_s: float
    plans: tuple[VoicePlan, ...] = ()
    ends_with_video: bool = False
    done: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> JobSound:
        """Return the sound itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the temporary files."""
        self.close()

    def close(self) -> None:
        """Remove the temporary files; safe to call again."""
        self._stack.close()


def open_sound(scene: Scene, values: OptionValues, video: VideoSource, output: Path) -> JobSound:
    """Open the voices of a scene, and make the track that is written.

    Args:
        scene: who speaks when.
        values: the options of the job.
        video: the video, or the span of it that is used.
        output: the file that is written.

    Raises:
        MediaError: a file cannot be used, or has no such part or channel.
        OutputError: the output is one of these files, or there is no room for the temporary files.
        UsageError: an option does not fit the files.
    """
    with ExitStack() as stack:
        track = values[SOUNDTRACK]
        mixed = track is None and is_mixed(scene, values)
        used = output if track is None and not mixed else None
        opener = _VoiceOpener(scene, values, video, used)
        voices = opener.open(stack)
        done, warnings = opener.done, [line for source in voices.values() for line in source.warnings]
        warnings += _unheard(scene, voices)
        check_output(output, _files(scene, values))
        if track is not None:
            with naming_option(SOUNDTRACK.name):
                written = stack.enter_context(AudioSource(track, output, video.speech_delay_s))
            done.append(f"{track.name} was written in place of the voice")
            warnings += written.warnings
        elif mixed:
            mix = Mix(scene, values, video, voices)
            written = stack.enter_context(mix.open(output))
            done += mix.done
            warnings += mix.warnings
        else:
            (written,) = voices.values()
        ends_s = spoken_until_s if video.is_still else heard_until_s  # a photograph lasts as long as what is said
        return JobSound(
            voices=tuple(voices[speaker.voice] for speaker in scene.speakers),
            written=written,
            plans=tuple(opener.plans[speaker.voice] for speaker in scene.speakers),
            duration_s=max(ends_s(scene, voice, source) for voice, source in voices.items()),
            ends_with_video=track is not None,
            done=done,
            warnings=list(dict.fromkeys(warnings)),
            _stack=stack.pop_all(),
        )


class _VoiceOpener:
    """Opens the voices of a scene, each recording once.

    Attributes:
        done: what was done to them.
        plans: how they are made of their recordings.
    """

    def __init__(self, scene: Scene, values: OptionValues, video: VideoSource, output: Path | None) -> None:
        self._scene, self._values, self._video, self._output = scene, values, video, output
        self.done: list[str] = []
        self.plans: Mapping[Voice, VoicePlan] = {}

    def open(self, stack: ExitStack) -> Voices:
        """Open the voices, at another speed where the options say so; they are closed with the stack."""
        self._check_segments()
        delay_s = self._video.speech_delay_s
        recordings = dict.fromkeys(speaker.voice for speaker in self._scene.speakers)
        self.plans = plans = {voice: VoicePlan.of(voice, self._values, delay_s) for voice in recordings}
        self.done += [line for plan in plans.values() for line in plan.changes()]
        if not stretches(self._values):
            return self._open_each(stack, plans)
        with ExitStack() as trial:
            voices = self._open_each(trial, plans)
            speed = self._speed(plans, voices)
            if speed == 1:
                stack.push(trial.pop_all())
                return voices
            self.plans = plans = {voice: _at_speed(plan, voices[voice], speed) for voice, plan in plans.items()}
        return self._open_each(stack, plans)

    def _open_each(self, stack: ExitStack, plans: Mapping[Voice, VoicePlan]) -> Voices:
        opened = {}
        for voice, plan in plans.items():
            with self._naming_speaker(voice):
                opened[voice] = stack.enter_context(plan.open(self._output))
        return opened

    def _check_segments(self) -> None:
        """Refuse options that move what is said away from the segments in which it is heard."""
        if not any(speaker.segments for speaker in self._scene.speakers):
            return
        lengths: tuple[Option[Any], ...] = (IF_AUDIO_LONGER, IF_AUDIO_SHORTER)
        moving = [option.name for option in lengths if self._values[option] == STRETCH]
        if self._values.has(AUDIO_OFFSET):
            moving.append(AUDIO_OFFSET.name)
        if moving:
            raise UsageError(
                option=tuple(moving),
                expected="speakers without segments",
                got="segments, which say when a voice is heard",
                advice="Leave it out, or change the segments or the recordings",
            )

    def _speed(self, plans: Mapping[Voice, VoicePlan], voices: Voices) -> float:
        lengths = [VoiceLength(plan.delay_s, voices[voice].duration - plan.delay_s) for voice, plan in plans.items()]
        end_s = picture_end_s(self._video)
        speed = fitting_speed(lengths, end_s, self._values)
        if speed != 1:
            self.done.append(
                f"the voice was played at {speed:.3f} times its speed, to end with the video at {end_s:.2f} s"
            )
        return speed

    @contextmanager
    def _naming_speaker(self, voice: Voice) -> Iterator[None]:
        """Say in errors of a script's file whose voice it is."""
        try:
            yield
        except MediaError as error:
            names = [speaker.name for speaker in self._scene.speakers if speaker.voice == voice]
            if names != [ONLY_SPEAKER]:
                error.about = f"voice of {', '.join(names)}, {error.about}"
            raise


def _at_speed(plan: VoicePlan, source: AudioSource, speed: float) -> VoicePlan:
    delay = round(plan.delay_s * source.rate)
    return replace(plan, speed=speed, length=round(source.duration * source.rate) - delay)


def _files(scene: Scene, values: OptionValues) -> list[Path]:
    """Return all files that the output must not replace."""
    chosen = (values[SOUNDTRACK], values[BACKGROUND])
    return [*scene.files, *(file for file in chosen if isinstance(file, Path))]


def _unheard(scene: Scene, voices: Voices) -> Iterator[str]:
    for speaker in scene.speakers:
        source = voices[speaker.voice]
        if not heard_until_s(scene, speaker.voice, source):
            where = "its segments lie" if speaker.segments else "all of it lies"
            yield (
                f"{speaker.name}: nothing of {source.path.name} is heard; {where} after its end at"
                f" {source.duration:.2f} s or in spans that are left alone"
            )
