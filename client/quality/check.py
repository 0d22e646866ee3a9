"""Checks a result while it is written: looks at frames on their way to the encoder, and judges them at the end.

A check only reads. Failures are reported, and never harm the result.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from client.lanes.lane import Lane
from client.lanes.stage import DrawnFrame
from client.media import AudioSource
from client.quality.closures import SeenClosures, closed_below, frames_at_closures
from client.quality.guard import Guard
from client.quality.judging import (
    LAGS_S,
    NO_OFFSET,
    NO_SILENCE,
    MouthSamples,
    joined,
    judge_edge,
    judge_flicker,
    judge_following,
    judge_offset,
    judge_silence,
)
from client.quality.mouths import MouthMeter
from client.quality.options import QUICK_FRAMES, Check
from client.quality.pictures import FlickerMeter, count_outside, edge_step
from client.quality.plan import RUNS, frames_to_check, shows_flicker
from client.quality.report import Finding, QualityReport, SpanQuality, SpeakerQuality
from client.quality.speech import VoiceCurves
from client.servers.calls import TritonCalls
from client.syncnet.quality import SyncMeter

Activity = Callable[[np.ndarray], np.ndarray]  # float64 [F] seconds -> 1 in speech to 0 in silence
SILENCE_REACH_S = 0.2  # lips move before speech and rest after it
SPOKEN = 0.5
SPAN_S, SPAN_FRAMES = 10.0, 50  # of a part that is judged by itself; at least so much of a speaker, and so many frames
MOST_SPANS = 400  # of a speaker; longer results have longer spans
MOST_JUDGED = 5000  # frames of a speaker that are judged as a whole
NOT_SEEN = Finding(
    "unknown", None, "cannot tell whether the mouth follows the speech: the face is in none of the checked frames"
)


@dataclass(frozen=True, eq=False)
class SpokenVoice:
    """A speaker, for a check.

    Attributes:
        name: the speaker's name.
        voice: what the speaker says.
        activity: when; None if it is not known.
    """

    name: str
    voice: AudioSource
    activity: Activity | None


class QualityCheck:
    """Looks at the frames of one result."""

    def __init__(
        self,
        check: Check,
        triton: TritonCalls,
        lanes: Sequence[Lane],
        total: int,
        rate: float,
        most_at_once: int,
        guard: Guard,
        sync: SyncMeter | None = None,
        closures: Sequence[np.ndarray] | None = None,
    ) -> None:
        """Choose the frames.

        Args:
            check: how much is looked at.
            triton: a server with the model `faces`.
            lanes: what is drawn; speakers without a lane are not judged.
            total: number of frames that the result will have, as far as it is known.
            rate: frames per second.
            most_at_once: how many frames a request may hold.
            guard: measures the time, and keeps a failure; after one nothing more is looked at.
            sync: measures the speakers by SyncNet, which needs all frames; None to leave that out.
            closures: when each speaker should close the lips, float64 [C, 2] in seconds of the result; None if it is
                not known.
        """
        self._guard, self._sync = guard, sync
        self._check = check
        self._lanes = lanes
        self._span_frames = max(SPAN_FRAMES, round(SPAN_S * rate))
        self._closures = closures
        self._chosen = _choose(check, lanes, total, rate, closures)
        self._mouths = MouthMeter(triton, most_at_once)
        self._flicker = FlickerMeter()
        self._edges: array[float] = array("d")
        self._number = self._frames = self._outside = 0

    def see(self, frame: DrawnFrame) -> None:
        """Take a frame as it goes to the encoder, but without a label; called for all frames in order."""
        number, self._number = self._number, self._number + 1
        if self._guard.failure is None and (self._chosen is None or number in self._chosen):
            with self._guard.step():
                self._look(number, frame)

    def finish(self, voices: Sequence[SpokenVoice], fixed_offset_s: float = 0.0) -> QualityReport:
        """Judge what was seen.

        Args:
            voices: the speakers, in the order of the scene.
            fixed_offset_s: see `QualityReport`.
        """
        found: list[tuple[SpeakerQuality, list[SpanQuality]]] = []
        if self._guard.failure is None:
            with self._guard.step():
                self._mouths.finish()
                drawn = sorted({lane.speaker for lane in self._lanes})
                found = [self._judge(position, voices[position]) for position in drawn]
        return QualityReport(
            check=self._check,
            frames=self._frames,
            seconds=round(self._guard.seconds, 3),
            speakers=[speaker for speaker, _ in found],
            spans=[span for _, spans in found for span in spans],
            flicker=judge_flicker(self._flicker.extra),
            edge=judge_edge(float(np.median(self._edges)) if self._edges else None),
            outside_samples=self._outside,
            audio_offset_s=_common_offset([speaker for speaker, _ in found]),
            fixed_offset_s=round(fixed_offset_s, 3),
            failure=self._guard.failure,
        )

    def _look(self, number: int, frame: DrawnFrame) -> None:
        before, after = frame.shown.picture, frame.picture
        self._frames += 1
        self._outside += count_outside(before, after, frame.regions)
        step = edge_step(before, after)
        if step is not None:
            self._edges.append(step)
        self._flicker.see(number, before, after)
        seen: set[int] = set()
        for lane, face, track in zip(self._lanes, frame.faces, frame.tracks, strict=True):
            if face is not None and lane.speaker not in seen and lane.times.hold(frame.shown.middle_s):
                seen.add(lane.speaker)
                self._mouths.add(lane.speaker, frame.shown.middle_s, after, face)
                if self._sync is not None:
                    self._sync.see(lane.speaker, frame.shown, after, face, (lane.link, track))

    def _judge(self, position: int, speaker: SpokenVoice) -> tuple[SpeakerQuality, list[SpanQuality]]:
        times_s, openings = np.array(self._mouths.openings.get(position, ())).reshape(-1, 2).T
        if not len(times_s):
            return SpeakerQuality(speaker.name, 0, NOT_SEEN, NO_SILENCE, NO_OFFSET), []
        curves = VoiceCurves(speaker.voice)
        every = max(1, len(times_s) // MOST_JUDGED)
        spans, kept = [], []
        for rows in np.array_split(np.arange(len(times_s)), self._count_spans(len(times_s))):
            part = samples_of(times_s[rows], openings[rows], speaker, curves)
            spans.append(_span(speaker.name, times_s[rows], part))
            kept.append(part.thinned(every))
        whole = joined(kept)
        closures = None
        if self._closures is not None:
            seen = SeenClosures(self._closures[position], times_s, openings, closed_below(whole))
            spans = [replace(span, closures=seen.judged(span.start_s, span.end_s)) for span in spans]
            closures = seen.judged()
        quality = SpeakerQuality(
            speaker=speaker.name,
            frames=int(np.isfinite(openings).sum()),
            follows=judge_following(whole),
            silence=judge_silence(whole),
            offset=judge_offset(whole),
            syncnet=None if self._sync is None else self._sync.figures(position),
            closures=closures,
        )
        return quality, spans

    def _count_spans(self, frames: int) -> int:
        """Return into how many parts a speaker's frames are divided; those of a quick check are enough for one."""
        return min(max(frames // self._span_frames, 1), MOST_SPANS) if self._check == "full" else 1


def _choose(
    check: Check, lanes: Sequence[Lane], total: int, rate: float, closures: Sequence[np.ndarray] | None
) -> frozenset[int] | None:
    """Choose among the frames in which each speaker may be drawn; None for all frames."""
    if check == "full":
        return None
    times_s = (np.arange(total) + 0.5) / rate
    drawn: defaultdict[int, np.ndarray] = defaultdict(lambda: np.zeros(total, bool))
    for lane in lanes:
        drawn[lane.speaker] |= lane.times.shares(times_s) > 0
    chosen: set[int] = set()
    for speaker, shown in drawn.items():
        own = np.flatnonzero(shown)
        runs: list[list[int]] = []
        if closures is not None and len(own) > QUICK_FRAMES:
            runs = frames_at_closures(closures[speaker], shown, rate)
        at_closures = [number for run in runs for number in run]
        further = max(RUNS - sum(map(shows_flicker, runs)), 0)
        others = frames_to_check(check, len(own), QUICK_FRAMES - len(at_closures), further)
        chosen.update(at_closures, (int(own[i]) for i in others))
    return frozenset(chosen)


def samples_of(times_s: np.ndarray, openings: np.ndarray, speaker: SpokenVoice, curves: VoiceCurves) -> MouthSamples:
    """Put a mouth, seen at float64 [F] seconds, beside what its speaker says."""
    suggested = curves.openings(times_s, LAGS_S)
    if speaker.activity is None:
        return MouthSamples(openings, suggested, np.ones(len(times_s), bool), None)
    around = [speaker.activity(times_s + reach) for reach in (-SILENCE_REACH_S, 0.0, SILENCE_REACH_S)]
    return MouthSamples(openings, suggested, around[1] >= SPOKEN, np.max(around, axis=0) == 0)


def _span(name: str, times_s: np.ndarray, samples: MouthSamples) -> SpanQuality:
    return SpanQuality(
        speaker=name,
        start_s=round(float(times_s[0]), 3),
        end_s=round(float(times_s[-1]), 3),
        frames=int(np.isfinite(samples.openings).sum()),
        follows=judge_following(samples),
        silence=judge_silence(samples),
    )


def _common_offset(speakers: Sequence[SpeakerQuality]) -> float | None:
    """Return the offset where all speakers of whom it is known have about the same noticeable one."""
    known = [speaker.offset for speaker in speakers if speaker.offset.verdict != "unknown"]
    values = [found.value for found in known if found.value is not None]
    if not values or any(found.verdict != "bad" for found in known) or max(values) - min(values) > 0.08:
        return None
    return round(float(np.median(values)), 3)
