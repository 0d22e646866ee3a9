"""A source, a result and a speech to figures, as a stream: of each frame no more than a few numbers are kept.

Frames are paired by their time. Knows no command line.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import tee, zip_longest

import numpy as np

from client.chunks import IN_FLIGHT, chunk_frames
from client.errors import MediaError, NoFaceError
from client.flow import batched, ordered_map, prefetch
from client.media import AudioSource, IfAudioLonger, SourceFrame, TimelineFrame, VideoSource, timeline
from client.progress import JobProgress
from client.report import StageClock
from client.servers.connection import TritonConnection
from client.tracking.faces import Face, FaceChoice
from client.tracking.finder import FaceFinder, FoundFrame, follow
from client.tracking.follow import Observation, smooth_landmarks
from perf.scores.mouth_sync import MIN_FRAMES, SyncScore, mouth_opening, score_curves
from perf.scores.picture import Tally, compare, mouth_region, surroundings, warping_error
from perf.scores.speech_curves import audio_curves

WORKERS = 2  # pairs of frames compared at once
FOLLOWED_AHEAD = 4  # pairs of frames whose faces were found, before they are compared
ENDLESS_S = 1e6  # the source is repeated as long as the result goes on
LEAST_PSNR_DB = 25.0  # outside the mouth region; a heavily encoded result of the same video has more
SAME_END_S = 0.1  # lengths that differ by less are not worth a warning

FoundPair = tuple[list[FoundFrame[TimelineFrame]], list[FoundFrame[SourceFrame]]]


@dataclass(frozen=True)
class Pair:
    """A frame of the result with the source's frame of the same time; None where the source has ended."""

    source: TimelineFrame | None
    result: SourceFrame


@dataclass(frozen=True)
class Moment:
    """A pair of frames with the followed face in either, and the pair before of the same shot."""

    pair: Pair
    source_face: Face | None
    result_face: Face | None
    before: Pair | None


@dataclass
class Flicker:
    """Sums of warping errors, in grey levels."""

    source: float = 0.0
    result: float = 0.0
    frames: int = 0

    @property
    def means(self) -> tuple[float | None, float | None]:
        """Of the source and of the result; None without two neighbouring frames with a face."""
        return (self.source / self.frames, self.result / self.frames) if self.frames else (None, None)


@dataclass
class Quality:
    """What was measured.

    Attributes:
        duration_s: of the result.
        frames: of the result.
        frames_with_face: of the result.
        frames_compared: that have a counterpart in the source.
        frames_repeated: of these, whose counterpart is repeated because the source had ended.
        outside, inside: of the mouth region.
        flicker: in the mouth region.
        result_sync, source_sync: by measure of the speech; None with too few faces.
        warnings: one sentence each.
    """

    duration_s: float = 0.0
    frames: int = 0
    frames_with_face: int = 0
    frames_compared: int = 0
    frames_repeated: int = 0
    outside: Tally = field(default_factory=Tally)
    inside: Tally = field(default_factory=Tally)
    flicker: Flicker = field(default_factory=Flicker)
    result_sync: dict[str, SyncScore] | None = None
    source_sync: dict[str, SyncScore] | None = None
    warnings: list[str] = field(default_factory=list)


class QualityJob:
    """A source, a result and a speech, opened and checked."""

    def __init__(
        self,
        source: VideoSource,
        result: VideoSource,
        speech: AudioSource,
        choice: FaceChoice,
        if_audio_longer: IfAudioLonger,
    ) -> None:
        """Take what to compare.

        Args:
            source: the video before.
            result: the video after.
            speech: what the mouth should say.
            choice: which of several faces speaks.
            if_audio_longer: how the source was repeated for the result, where that is longer.

        Raises:
            MediaError: the two are not of one size.
        """
        sizes = [(video.width, video.height) for video in (source, result)]
        if sizes[0] != sizes[1]:
            (width, height), (other_width, other_height) = sizes
            raise MediaError(
                f"{result.path}: expected {width}x{height} pixels as the source has, got {other_width}x{other_height}."
                " Compare a result with the video that it was made of"
            )
        self._source, self._result, self._speech = source, result, speech
        self._choice = choice
        self._if_audio_longer = if_audio_longer

    def run(self, connection: TritonConnection, progress: JobProgress) -> Quality:
        """Measure everything through a server's face model.

        Raises:
            NoFaceError: no frame of the result has a usable face.
            LipSyncError: the media cannot be used, or the server fails.
        """
        quality = Quality()
        progress.stage("comparing", self._result.frame_estimate)
        times: list[float] = []
        openings: list[tuple[float, float]] = []
        moments = prefetch(self._moments(connection), FOLLOWED_AHEAD)
        with closing(ordered_map(_with_figures, moments, WORKERS)) as compared:
            for moment, (outside, inside, flicker) in compared:
                times.append(self._count(quality, moment))
                openings.append((mouth_opening(moment.source_face), mouth_opening(moment.result_face)))
                quality.outside.add(outside)
                quality.inside.add(inside)
                _add_flicker(quality.flicker, flicker)
                progress.advance(1)
        if not quality.frames_with_face:
            raise NoFaceError(
                f"{self._result.path}: no usable face in any of {quality.frames} frames."
                " Check that a face is at least 64 pixels high, or choose another with --face"
            )
        curves = audio_curves(self._speech, np.array(times))
        by_video = np.array(openings).T
        quality.source_sync, quality.result_sync = (_sync(opening, curves) for opening in by_video)
        quality.warnings += self._warnings(quality)
        return quality

    def _moments(self, connection: TritonConnection) -> Generator[Moment, None, None]:
        source_finder, result_finder = (FaceFinder(connection, StageClock()) for _ in range(2))

        def find(window: list[Pair]) -> FoundPair:
            shown = [pair.source for pair in window if pair.source is not None]
            return source_finder.find(shown) if shown else [], result_finder.find([pair.result for pair in window])

        shown = timeline(self._source, ENDLESS_S, self._if_audio_longer)
        pairs = pair_frames(shown, self._result.frames())
        windows = batched(pairs, chunk_frames(2 * max(self._source.frame_bytes, self._result.frame_bytes)))
        with closing(ordered_map(find, prefetch(windows, ahead=1), IN_FLIGHT)) as found:
            for_source, for_result = tee(found)
            sources = smooth_landmarks(follow((frame for window, _ in for_source for frame in window), self._choice))
            results = smooth_landmarks(follow((frame for _, window in for_result for frame in window), self._choice))
            yield from _join(sources, results)

    def _count(self, quality: Quality, moment: Moment) -> float:
        """Count a frame of the result; returns the middle of the time that it is shown at."""
        frame = moment.pair.result
        duration_s = float(frame.duration * self._result.time_base)
        time_s = frame.time_s + duration_s / 2
        quality.duration_s = frame.time_s + duration_s
        quality.frames += 1
        quality.frames_with_face += moment.result_face is not None
        if moment.pair.source is not None:
            quality.frames_compared += 1
            own_s = self._source.duration
            quality.frames_repeated += own_s is not None and not self._source.is_still and time_s > own_s
        return time_s

    def _warnings(self, quality: Quality) -> list[str]:
        end_s, speech_s, psnr = quality.duration_s, self._speech.duration, quality.outside.psnr_db
        facts = {
            f"only {psnr or 0:.1f} dB outside the mouth: was the result made of this source? See also --start": psnr
            is not None
            and psnr < LEAST_PSNR_DB,
            f"{quality.frames - quality.frames_with_face} of {quality.frames} frames of the result show no usable face:"
            " they count as outside, and not for sync": quality.frames_with_face < quality.frames,
            f"the source ends before the result; {quality.frames_repeated} frames are compared with its repetition"
            f" ({self._if_audio_longer}, see --if-audio-longer)": quality.frames_repeated > 0,
            f"the source ends before the result; {quality.frames - quality.frames_compared} frames are compared"
            " with nothing": quality.frames_compared < quality.frames,
            f"the result ends at {end_s:.2f} s, before the source": _ends_before(end_s, self._source.duration),
            f"the speech ends at {speech_s:.2f} s, before the result": _ends_before(speech_s, end_s),
            f"the result ends at {end_s:.2f} s, before the speech": _ends_before(end_s, speech_s),
            f"sync was not measured: fewer than {MIN_FRAMES} frames with a face": quality.result_sync is None,
        }
        own = [*self._source.warnings, *self._result.warnings, *self._speech.warnings]
        return [line for line, holds in facts.items() if holds] + own


def pair_frames(shown: Iterator[TimelineFrame], results: Iterable[SourceFrame]) -> Iterator[Pair]:
    """Find for each frame of the result the source's frame that is on the screen when it begins, or soon after.

    Args:
        shown: the source's frames on the result's time.
        results: the result's frames.
    """
    current = next(shown, None)
    for result in results:
        while current is not None and current.time_s + current.duration_s / 2 <= result.time_s:
            current = next(shown, None)
        yield Pair(current, result)


def _join(
    sources: Iterable[Observation[TimelineFrame]], results: Iterable[Observation[SourceFrame]]
) -> Iterator[Moment]:
    """Bring both videos' observations together again; the source's may end sooner."""
    last: tuple[Pair, tuple[int | None, int]] | None = None
    for source, result in zip_longest(sources, results):
        pair = Pair(None if source is None else source.frame, result.frame)
        shot = (None if source is None else source.track, result.track)
        before = last[0] if last is not None and last[1] == shot else None
        yield Moment(pair, None if source is None else source.face, result.face, before)
        last = (pair, shot)


def _with_figures(moment: Moment) -> tuple[Moment, tuple[Tally, Tally, tuple[float, float] | None]]:
    return moment, _figures(moment)


def _figures(moment: Moment) -> tuple[Tally, Tally, tuple[float, float] | None]:
    """Compare one pair of frames; what is outside, inside, and the source's and the result's flicker."""
    pair, before = moment.pair, moment.before
    if pair.source is None:
        return Tally(), Tally(), None
    faces = [face.landmarks for face in (moment.source_face, moment.result_face) if face is not None]
    source, result = pair.source.picture.rgb(), pair.result.picture.rgb()
    mouth = mouth_region([points for points in faces if points is not None], *source.shape[:2])
    outside, inside = compare(source, result, mouth)
    part = surroundings(mouth)
    if part is None or before is None or before.source is None:
        return outside, inside, None
    old = before.source.picture.rgb(), before.result.picture.rgb()
    errors = [warping_error(was[part], now[part], mouth[part]) for was, now in zip(old, (source, result), strict=True)]
    return outside, inside, (errors[0], errors[1])


def _add_flicker(flicker: Flicker, errors: tuple[float, float] | None) -> None:
    if errors is not None:
        flicker.source += errors[0]
        flicker.result += errors[1]
        flicker.frames += 1


def _sync(openings: np.ndarray, curves: dict[str, np.ndarray]) -> dict[str, SyncScore] | None:
    enough = np.isfinite(openings).sum() >= MIN_FRAMES
    return score_curves(openings, curves) if enough else None


def _ends_before(time_s: float, other_s: float | None) -> bool:
    return other_s is not None and time_s < other_s - SAME_END_S
