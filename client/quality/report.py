"""What a job's report says of its quality: numbers with the words that they stand for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from client.syncnet.quality import SyncFigures
from client.wording import counted

Verdict = Literal["good", "doubtful", "bad", "unknown"]


@dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    Attributes:
        verdict: whether it is as it should be; unknown where the evidence is too weak.
        value: the figure; None if the verdict is unknown.
        text: what it means, for people.
    """

    verdict: Verdict
    value: float | None
    text: str


@dataclass(frozen=True)
class SpanQuality:
    """How well a speaker's mouth does in a part of the result.

    Attributes:
        speaker: the speaker's name.
        start_s, end_s: the part, in seconds of the result.
        frames: frames of it that were looked at.
        follows: correlation of the mouth's opening with the one that the speech suggests, -1 to 1.
        silence: how much the mouth moves while nobody speaks, as a share of its range in speech.
        closures: the share of p, b and m at which the lips close; None without an alignment.
    """

    speaker: str
    start_s: float
    end_s: float
    frames: int
    follows: Finding
    silence: Finding
    closures: Finding | None = None


@dataclass(frozen=True)
class SpeakerQuality:
    """How well a speaker's mouth does in the whole result.

    Attributes:
        speaker: the speaker's name.
        frames: frames that show the mouth, of those that were looked at.
        follows: as for a span.
        silence: as for a span.
        offset: how much later than the speech the mouth moves, in seconds; negative if it is early.
        syncnet: SyncNet's figures; None without its networks, in a quick check, or for a face that is hardly in view.
        closures: as for a span.
    """

    speaker: str
    frames: int
    follows: Finding
    silence: Finding
    offset: Finding
    syncnet: SyncFigures | None = None
    closures: Finding | None = None


@dataclass(frozen=True)
class QualityReport:
    """What the check of a result found.

    Attributes:
        check: how it was checked, quick or full.
        frames: frames that were looked at.
        seconds: time that the check took, as a part of the job's; of both runs where lips were corrected.
        speakers: how well each speaker's mouth does.
        spans: the same by parts of the result.
        flicker: how much more the changed region flickers than it did in the source, in grey levels of 255.
        edge: the mean change along the edge of the changed region, in grey levels of 255.
        outside_samples: samples that differ from the source outside the region that was given to the pipeline, as
            the encoder got them, without the label; 0 if all is well.
        audio_offset_s: how much later the mouth moves than the speech, in seconds, where it is known and noticeable.
        fixed_offset_s: how much earlier than at first the lips were drawn, in seconds; 0 if nothing was corrected.
        failure: why the check was not completed; None if it was.
    """

    check: str
    frames: int = 0
    seconds: float = 0.0
    speakers: list[SpeakerQuality] = field(default_factory=list)
    spans: list[SpanQuality] = field(default_factory=list)
    flicker: Finding = Finding("unknown", None, "not checked")
    edge: Finding = Finding("unknown", None, "not checked")
    outside_samples: int = 0
    audio_offset_s: float | None = None
    fixed_offset_s: float = 0.0
    failure: str | None = None

    def sentence(self) -> str:
        """Return one line of text."""
        if self.failure is not None:
            return f"quality: not checked: {self.failure}"
        parts = [line for speaker in self.speakers for line in self._of_speaker(speaker)]
        parts += [_with_value(self.flicker), _with_value(self.edge)]
        parts.append(_outside(self.outside_samples))
        if self.fixed_offset_s:
            parts.append(f"lips moved by {-self.fixed_offset_s:+.2f} s")
        how = f"{self.check} check of {counted(self.frames, 'frame')}, {self.seconds:.1f} s"
        return f"quality: {'; '.join(parts)} ({how})"

    def _of_speaker(self, found: SpeakerQuality) -> Iterable[str]:
        name = f"{found.speaker}: " if len(self.speakers) > 1 else ""
        yield name + _with_value(found.follows)
        if found.silence.verdict != "unknown":
            yield found.silence.text
        if found.offset.verdict in ("doubtful", "bad"):
            yield found.offset.text
        if found.closures is not None:
            yield found.closures.text
        if found.syncnet is not None:
            yield f"LSE-C {found.syncnet.lse_c:.2f}, LSE-D {found.syncnet.lse_d:.2f}"


def _with_value(found: Finding) -> str:
    return found.text if found.value is None else f"{found.text} ({found.value:.2f})"


def _outside(samples: int) -> str:
    if not samples:
        return "nothing outside the face was changed"
    return f"{counted(samples, 'sample')} outside the face {'was' if samples == 1 else 'were'} changed"
