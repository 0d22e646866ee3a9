"""The scene of a job: speakers with a voice and a face each. Opens no files."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from client.option import OptionValues
from client.tracking.face_boxes import FaceBoxes
from client.tracking.faces import FaceChoice

FaceOfSpeaker = FaceChoice | FaceBoxes | None  # None: a narrator, whom nobody sees


@dataclass(frozen=True)
class TimeSpan:
    """A span of the output's timeline, in seconds from its beginning; the end is not part of it.

    Attributes:
        start_s: where it starts.
        end_s: where it ends; infinite for the end of the video.
    """

    start_s: float
    end_s: float = math.inf

    def overlaps(self, other: TimeSpan) -> bool:
        """Return whether both have a moment in common."""
        return self.start_s < other.end_s and other.start_s < self.end_s


@dataclass(frozen=True)
class Voice:
    """A recording, or a part of one.

    Attributes:
        path: an audio file, or a video with sound.
        channel: the channel that is used, 0 for the left one; None for the average of all.
        start_s: where the used part of the file starts, in seconds.
        end_s: where it ends; None for the end of the file.
        offset_s: when the used part starts on the output's timeline, in seconds; if negative, so much of its beginning
            is left out.
    """

    path: Path
    channel: int | None = None
    start_s: float = 0.0
    end_s: float | None = None
    offset_s: float = 0.0


@dataclass(frozen=True)
class Segment:
    """A span in which a speaker speaks.

    Attributes:
        span: when, on the output's timeline; the voice is heard at the same times.
        face: another face than the speaker's; None for the speaker's own.
        options: options that differ from the job's, such as the pipeline, the guidance or the strength.
    """

    span: TimeSpan
    face: FaceOfSpeaker = None
    options: OptionValues = field(default_factory=OptionValues)


@dataclass(frozen=True)
class Speaker:
    """Somebody who speaks.

    Attributes:
        name: names the speaker in messages and in the report; unique in its scene.
        voice: what is said.
        face: whose lips say it; None for a narrator.
        segments: when, in order and without overlap; outside them the face is left as it is. If there are none, the
            speaker speaks from 0 s to the end of the voice, and what the mouth does after it is the option
            `in_silence`'s.
        options: options that differ from the job's in all segments; a segment's own win.
    """

    name: str
    voice: Voice
    face: FaceOfSpeaker = field(default_factory=FaceChoice)
    segments: tuple[Segment, ...] = ()
    options: OptionValues = field(default_factory=OptionValues)


@dataclass(frozen=True)
class Scene:
    """All speakers of a job.

    Attributes:
        speakers: at least one. Later ones are drawn over earlier ones.
        unchanged: spans in which pictures and sound stay the source's, in order and without overlap.
    """

    speakers: tuple[Speaker, ...]
    unchanged: tuple[TimeSpan, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of all voices, each once."""
        return tuple(dict.fromkeys(speaker.voice.path for speaker in self.speakers))

    @property
    def is_one_voice(self) -> bool:
        """Whether all speakers speak in one recording, which is then the sound as it is."""
        return len({speaker.voice for speaker in self.speakers}) == 1


ONLY_SPEAKER = "speaker"  # the name of the speaker of a job without a script


def simple_scene(audio: Path, face: FaceChoice, channel: int | None = None) -> Scene:
    """Return the scene of a job without a script: one voice, one face, from 0 s on."""
    return Scene((Speaker(ONLY_SPEAKER, Voice(audio, channel), face),))
