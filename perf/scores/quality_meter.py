"""Measures a result against its source and its speech. Streams: only a few numbers are kept of each frame."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field

import numpy as np

from client.errors import MediaError, NoFaceError, ref
from client.flow import ordered_map, prefetch
from client.media import AudioSource, IfAudioLonger, VideoSource
from client.progress import JobProgress
from client.servers.connection import TritonConnection
from client.tracking.faces import FaceChoice
from perf.scores.frame_pairs import Moment, follow_pairs
from perf.scores.mouth_sync import MIN_FRAMES, SyncScore, mouth_opening, score_curves
from perf.scores.picture import Tally, compare, mouth_region, surroundings, warping_error
from perf.scores.speech_curves import audio_curves

WORKERS = 2  # pairs of frames compared at once
FOLLOWED_AHEAD = 4  # pairs of frames with found faces that wait for comparison
LEAST_PSNR_DB = 25.0  # outside the mouth region; even a strongly compressed result of the same video exceeds this
SAME_END_S = 0.1  # smaller differences in duration need no warning


@dataclass
class Flicker:
    """Sums of warping errors over frames, in grey levels."""

    source: float = 0.0
    result: float = 0.0
    frames: int = 0

    @property
    def means(self) -> tuple[float | None, float | None]:
        """Mean of the source and of the result, in grey levels; None without two adjacent frames with a face."""
        return (self.source / self.frames, self.result / self.frames) if self.frames else (None, None)


@dataclass
class Quality:
    """What was measured.

    Attributes:
        duration_s: Duration of the result, in seconds.
        frames: Number of frames in the result.
        frames_with_face: Number of them that show a usable face.
        frames_compared: Number of them that have a counterpart in the source.
        frames_repeated: Number of counterparts that are repeated, since the source ended before the result.
        outside, inside: Picture errors outside and inside the mouth region.
        flicker: Warping error in the mouth region.
        result_sync, source_sync: Scores by curve of the speech; None with too few faces.
        warnings: What the user should know, one sentence each; may refer to options with `ref`.
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
    """A source, a result and speech, opened and checked."""

    def __init__(
        self,
        source: VideoSource,
        result: VideoSource,
        audio: AudioSource,
        choice: FaceChoice,
        if_audio_longer: IfAudioLonger,
    ) -> None:
        """Check that the videos can be compared.

        Args:
            source: The video before lip-sync.
            result: The video after it.
            audio: The speech that the mouth should follow.
            choice: Which of several faces is the speaker's.
            if_audio_longer: How the source was extended for a longer result.

        Raises:
            MediaError: the videos differ in size.
        """
        sizes = [(video.width, video.height) for video in (source, result)]
        if sizes[0] != sizes[1]:
            (width, height), (other_width, other_height) = sizes
            raise MediaError(
                about=result.path,
                expected=f"{width}x{height} pixels as the source has",
                got=f"{other_width}x{other_height}",
                advice="Compare a result with the video that it was made from",
            )
        self._source, self._result, self._audio = source, result, audio
        self._choice = choice
        self._if_audio_longer = if_audio_longer

    def run(self, connection: TritonConnection, progress: JobProgress) -> Quality:
        """Measure everything.

        Args:
            connection: A server with the model `faces`.
            progress: Told the number of frames done.

        Raises:
            NoFaceError: no frame of the result has a usable face.
            LipSyncError: the media cannot be decoded, or the server fails.
        """
        quality = Quality()
        progress.stage("comparing", self._result.frame_estimate)
        times: list[float] = []
        openings: list[tuple[float, float]] = []
        followed = follow_pairs(connection, self._source, self._result, self._choice, self._if_audio_longer)
        moments = prefetch(followed, FOLLOWED_AHEAD)
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
                about=self._result.path,
                message=f"no usable face in any of {quality.frames} frames",
                advice=f"Check that a face is at least 64 pixels high, or choose another with {ref('face')}",
            )
        curves = audio_curves(self._audio, np.array(times) + self._result.sound_lead_s)
        by_video = np.array(openings).T
        quality.source_sync, quality.result_sync = (_sync(opening, curves) for opening in by_video)
        quality.warnings += self._warnings(quality)
        return quality

    def _count(self, quality: Quality, moment: Moment) -> float:
        """Count a frame of the result; returns the middle of its display time, in seconds."""
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
        end_s, audio_s, psnr = quality.duration_s, self._audio.duration, quality.outside.psnr_db
        facts = {
            f"only {psnr or 0:.1f} dB outside the mouth: was the result made from this source? See also"
            f" {ref('start')}": psnr is not None and psnr < LEAST_PSNR_DB,
            f"{quality.frames - quality.frames_with_face} of {quality.frames} frames of the result show no usable face:"
            " they count as outside, and not for sync": quality.frames_with_face < quality.frames,
            f"the source ends before the result; {quality.frames_repeated} frames are compared with its repetition"
            f" ({self._if_audio_longer}, see {ref('if_audio_longer')})": quality.frames_repeated > 0,
            f"the source ends before the result; {quality.frames - quality.frames_compared} frames are compared"
            " with nothing": quality.frames_compared < quality.frames,
            f"the result ends at {end_s:.2f} s, before the source": _ends_before(end_s, self._source.duration),
            f"the audio ends at {audio_s:.2f} s, before the result": _ends_before(audio_s, end_s),
            f"the result ends at {end_s:.2f} s, before the audio": _ends_before(end_s, audio_s),
            f"sync was not measured: fewer than {MIN_FRAMES} frames with a face": quality.result_sync is None,
        }
        own = [*self._source.warnings, *self._result.warnings, *self._audio.warnings]
        return [line for line, holds in facts.items() if holds] + own


def _with_figures(moment: Moment) -> tuple[Moment, tuple[Tally, Tally, tuple[float, float] | None]]:
    return moment, _figures(moment)


def _figures(moment: Moment) -> tuple[Tally, Tally, tuple[float, float] | None]:
    """Compare one pair of frames; returns errors outside and inside, and the warping errors of source and result."""
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
