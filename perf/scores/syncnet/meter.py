"""Scores face tracks and face crops of a video by SyncNet, with each track's own sound."""

from __future__ import annotations

from dataclasses import dataclass

from client.errors import MediaError
from client.media import VideoSource
from client.progress import JobProgress
from client.syncnet.sound import VideoSound
from client.syncnet.towers import Towers
from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE
from lipsync_core.syncnet.crops import crop_face, crop_path, resize
from lipsync_core.syncnet.distances import SyncNetScore, score, score_valid_pairs
from lipsync_core.syncnet.mfcc import FPS, FRAME_SAMPLES, WINDOW_FRAMES, window_count
from perf.scores.syncnet.track_meter import TrackMeter
from perf.scores.syncnet.tracks import Track
from perf.scores.syncnet.video_tracks import frames_at_25


@dataclass(frozen=True)
class TrackScore:
    """One face track with its scores.

    Attributes:
        start_s: Start of the track, in seconds.
        end_s: End of the track, in seconds.
        published: Scores as the papers compute them.
        valid_pairs: Scores without pairs that reach beyond the track; None for tracks that are too short.
    """

    start_s: float
    end_s: float
    published: SyncNetScore
    valid_pairs: SyncNetScore | None


def measure_tracks(
    towers: Towers, source: VideoSource, sound: VideoSound, tracks: list[Track], progress: JobProgress
) -> list[TrackScore]:
    """Score each face track of a video.

    Raises:
        MediaError: the media cannot be decoded, or audio and frames overlap too little.
    """
    progress.stage("comparing lips and audio", max(track.end for track in tracks))
    paths = [crop_path(track.boxes) for track in tracks]
    meters = [_meter(towers, source, sound, track.first, len(track.boxes)) for track in tracks]
    for number, frame in enumerate(frames_at_25(source)):
        for track, path, meter in zip(tracks, paths, meters, strict=True):
            if track.first <= number < track.end:
                meter.add(crop_face(frame.picture.rgb(), path, number - track.first))
        progress.advance(1)
    return [_score(meter, track.first, track.end) for track, meter in zip(tracks, meters, strict=True)]


def measure_crop(towers: Towers, source: VideoSource, sound: VideoSound, progress: JobProgress) -> TrackScore:
    """Score a video that is a face crop already; it is resized regardless of its aspect ratio.

    Raises:
        MediaError: the media cannot be decoded, or audio and frames overlap too little.
    """
    progress.stage("counting frames")
    frames = sum(1 for _ in frames_at_25(source))
    progress.stage("comparing lips and audio", frames)
    meter = _meter(towers, source, sound, 0, frames)
    for frame in frames_at_25(source):
        meter.add(resize(frame.picture.rgb()))
        progress.advance(1)
    return _score(meter, 0, frames)


def _meter(towers: Towers, source: VideoSource, sound: VideoSound, first: int, frames: int) -> TrackMeter:
    samples = min(frames * FRAME_SAMPLES, max(0, sound.sample_count - first * FRAME_SAMPLES))
    windows = window_count(frames, samples)
    if not windows:
        raise MediaError(
            about=source.path,
            expected=f"more than {WINDOW_FRAMES} frames with sound from {first / FPS:g} s on",
            got=f"{frames} frames and {samples / AUDIO_SAMPLE_RATE:g} s of sound",
            advice="Choose a longer video",
        )
    return TrackMeter(towers, sound.open(first), windows)


def _score(meter: TrackMeter, first: int, end: int) -> TrackScore:
    distances = meter.distances()
    return TrackScore(first / FPS, end / FPS, score(distances), score_valid_pairs(distances))
