"""Runs crops and audio through SyncNet, a block of windows at a time, and scores the distances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from client.errors import MediaError
from client.media import AudioSource, VideoSource
from client.progress import JobProgress
from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE
from perf.scores.syncnet.distances import MAX_SHIFT, SyncNetScore, pair_distances, score, score_valid_pairs
from perf.scores.syncnet.mfcc import (
    FPS,
    FRAME_SAMPLES,
    WINDOW_FRAMES,
    WINDOW_SAMPLES,
    audio_windows,
    whole_samples,
    window_count,
)
from perf.scores.syncnet.network import EMBEDDING, SyncNet
from perf.scores.syncnet.tracks import Track, crop_face, crop_path, resize
from perf.scores.syncnet.video_tracks import frames_at_25

BLOCK_WINDOWS = 24  # per call of the network, whose first layer makes 4.6 MB of each
SILENT_PEAK = 1e-3  # of full scale, -60 dB


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


class VideoSound:
    """Audio on the timeline of a video: sample 0 belongs to the first frame."""

    def __init__(self, audio: AudioSource, late_s: float = 0.0) -> None:
        """Take the audio, and by how many seconds it starts after the first frame."""
        self._audio = audio
        self._shift = round(late_s * AUDIO_SAMPLE_RATE)
        self.sample_count = max(0, self._shift + round(audio.duration * AUDIO_SAMPLE_RATE))

    @classmethod
    def of_video(cls, video: VideoSource) -> VideoSound:
        """Take the audio of a video.

        Raises:
            MediaError: the video has none.
        """
        audio = AudioSource(video.path)
        return cls(audio, audio.start_s - float(video.facts.start_pts * video.time_base))

    @property
    def is_silent(self) -> bool:
        """Whether the audio never exceeds -60 dB of full scale."""
        return all(np.abs(block).max() < SILENT_PEAK for block in self._audio.speech_blocks())

    def open(self, first: int) -> TrackSound:
        """Read from a frame on, counted at 25 fps."""
        return TrackSound(self._audio, first * FRAME_SAMPLES, self._shift)


class TrackSound:
    """The audio of one track, cut into the network's windows and read once from the beginning."""

    def __init__(self, speech: AudioSource, start: int, shift: int) -> None:
        """Start at a sample of the video's timeline; `shift` is where the audio starts on it, in samples."""
        self._speech = speech
        self._start = start
        self._shift = shift

    def windows(self, first: int, end: int) -> np.ndarray:
        """Return the windows first to end - 1, float32 [N, 13, 20]; `first` never decreases."""
        begin = self._start + first * FRAME_SAMPLES - self._shift
        length = (end - 1 - first) * FRAME_SAMPLES + WINDOW_SAMPLES
        samples = whole_samples(self._speech.window(begin - 1, begin + length))
        return audio_windows(samples[1:], before=int(samples[0]) if first else 0)


class TrackMeter:
    """Takes the crops of a track one by one and computes its distances."""

    def __init__(self, network: SyncNet, sound: TrackSound, windows: int) -> None:
        """Prepare to measure `windows` windows."""
        self._network = network
        self._sound = sound
        self._windows = windows
        self._crops: list[np.ndarray] = []
        self._distances: list[np.ndarray] = []
        self._done = 0  # windows
        self._heard = 0  # windows
        self._sounds = np.zeros((MAX_SHIFT, EMBEDDING), np.float32)  # from window _done - MAX_SHIFT on

    def add(self, crop: np.ndarray) -> None:
        """Take the next crop, uint8 BGR [224, 224, 3]; crops beyond the last window are ignored."""
        if self._done < self._windows:
            self._crops.append(crop)
            waiting = len(self._crops) - WINDOW_FRAMES + 1
            if waiting == BLOCK_WINDOWS or self._done + waiting == self._windows:
                self._measure(waiting)

    def distances(self) -> np.ndarray:
        """Return the distances of all windows, float32 [N, 31]; see `pair_distances`."""
        return np.concatenate(self._distances)

    def _measure(self, count: int) -> None:
        with torch.inference_mode():
            lips = self._network.embed_lips(torch.from_numpy(np.stack(self._crops))).numpy()
        self._listen(min(self._done + count + MAX_SHIFT, self._windows))
        missing = count + 2 * MAX_SHIFT - len(self._sounds)
        around = np.pad(self._sounds, ((0, max(0, missing)), (0, 0)))
        self._distances.append(pair_distances(lips, around[: count + 2 * MAX_SHIFT]))
        self._crops = self._crops[count:]
        self._sounds = self._sounds[count:]
        self._done += count

    def _listen(self, end: int) -> None:
        if end > self._heard:
            windows = torch.from_numpy(np.ascontiguousarray(self._sound.windows(self._heard, end)))
            with torch.inference_mode():
                self._sounds = np.concatenate([self._sounds, self._network.embed_sounds(windows).numpy()])
            self._heard = end


def measure_tracks(
    network: SyncNet, source: VideoSource, sound: VideoSound, tracks: list[Track], progress: JobProgress
) -> list[TrackScore]:
    """Score each face track of a video.

    Raises:
        MediaError: the media cannot be decoded, or audio and frames overlap too little.
    """
    progress.stage("comparing lips and audio", max(track.end for track in tracks))
    paths = [crop_path(track.boxes) for track in tracks]
    meters = [_meter(network, source, sound, track.first, len(track.boxes)) for track in tracks]
    for number, frame in enumerate(frames_at_25(source)):
        for track, path, meter in zip(tracks, paths, meters, strict=True):
            if track.first <= number < track.end:
                meter.add(crop_face(frame.picture.rgb()[..., ::-1], path, number - track.first))
        progress.advance(1)
    return [_score(meter, track.first, track.end) for track, meter in zip(tracks, meters, strict=True)]


def measure_crop(network: SyncNet, source: VideoSource, sound: VideoSound, progress: JobProgress) -> TrackScore:
    """Score a video that is a face crop already; it is resized regardless of its aspect ratio.

    Raises:
        MediaError: the media cannot be decoded, or audio and frames overlap too little.
    """
    progress.stage("counting frames")
    frames = sum(1 for _ in frames_at_25(source))
    progress.stage("comparing lips and audio", frames)
    meter = _meter(network, source, sound, 0, frames)
    for frame in frames_at_25(source):
        meter.add(resize(np.ascontiguousarray(frame.picture.rgb()[..., ::-1])))
        progress.advance(1)
    return _score(meter, 0, frames)


def _meter(network: SyncNet, source: VideoSource, sound: VideoSound, first: int, frames: int) -> TrackMeter:
    samples = min(frames * FRAME_SAMPLES, max(0, sound.sample_count - first * FRAME_SAMPLES))
    windows = window_count(frames, samples)
    if not windows:
        raise MediaError(
            about=source.path,
            expected=f"more than {WINDOW_FRAMES} frames with sound from {first / FPS:g} s on",
            got=f"{frames} frames and {samples / AUDIO_SAMPLE_RATE:g} s of sound",
            advice="Choose a longer video",
        )
    return TrackMeter(network, sound.open(first), windows)


def _score(meter: TrackMeter, first: int, end: int) -> TrackScore:
    distances = meter.distances()
    return TrackScore(first / FPS, end / FPS, score(distances), score_valid_pairs(distances))
