"""Material to fit on: a folder for each speaker with clips whose sound belongs to their picture.

Tracking takes about a second per second of a small video, so tracks are kept in a cache.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from client.media import AudioSource, VideoSource
from client.servers.calls import TritonCalls
from client.tracking.clip import track_clip
from lipsync_core.mouth.lips import align_lips, frontal_template

SUFFIXES = (".avi", ".mkv", ".mov", ".mp4", ".mpg", ".webm")


@dataclass(frozen=True, eq=False)
class SpokenClip:
    """A clip's lips and sound.

    Attributes:
        path: The file.
        lips: float64 [F, 40, 2], on the speaker's template; no frame is without a face.
        times_s: float64 [F], the frames' centres, in seconds from the first sample.
        speech: float32 [S], mono at 16 kHz.
    """

    path: Path
    lips: np.ndarray
    times_s: np.ndarray
    speech: np.ndarray


@dataclass(frozen=True, eq=False)
class Speaker:
    """One speaker's clips, at least one."""

    name: str
    clips: tuple[SpokenClip, ...]

    @property
    def mean_lips(self) -> np.ndarray:
        """Mean of the lips over all frames, float64 [40, 2]."""
        return np.concatenate([clip.lips for clip in self.clips]).mean(axis=0)


@dataclass(frozen=True, eq=False)
class _Track:
    landmarks: np.ndarray
    times_s: np.ndarray
    speech: np.ndarray


def find_clips(folder: Path) -> dict[str, list[Path]]:
    """List each speaker's clips, sorted: FOLDER/SPEAKER/CLIP.

    Raises:
        ValueError: there are clips of fewer than two speakers.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*/*")):
        if path.suffix.lower() in SUFFIXES:
            found.setdefault(path.parent.name, []).append(path)
    if len(found) < 2:
        raise ValueError(f"{folder}: expected clips of at least two speakers as SPEAKER/CLIP, got {len(found)}")
    return found


def read_speaker(triton: TritonCalls, name: str, paths: Sequence[Path], cache: Path) -> Speaker:
    """Track a speaker's clips, and align their lips with one template.

    Args:
        triton: A server with the model `faces`.
        name: The speaker's.
        paths: Their clips.
        cache: Folder of tracks that are known; new ones are added.

    Raises:
        ValueError: no clip shows a face.
        LipSyncError: a clip cannot be decoded, or the server fails.
    """
    tracks = [_cached_track(triton, path, cache) for path in paths]
    template = frontal_template(np.concatenate([track.landmarks for track in tracks]))
    clips = []
    for path, track in zip(paths, tracks, strict=True):
        seen = np.isfinite(track.landmarks).all(axis=(1, 2))
        if seen.any():
            lips = align_lips(track.landmarks[seen], template)
            clips.append(SpokenClip(path, lips, track.times_s[seen], track.speech))
    return Speaker(name, tuple(clips))


def _cached_track(triton: TritonCalls, path: Path, cache: Path) -> _Track:
    with path.open("rb") as file:
        stamp = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    kept = cache / f"{path.stem}-{stamp}.npz"
    if not kept.is_file():
        track = _track(triton, path)
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(kept, **vars(track))
        return track
    with np.load(kept) as arrays:
        return _Track(arrays["landmarks"], arrays["times_s"], arrays["speech"])


def _track(triton: TritonCalls, path: Path) -> _Track:
    tracked = track_clip(triton, path)
    with AudioSource(path, delay_s=VideoSource(path).speech_delay_s) as audio:
        speech = audio.window(0, audio.speech_length)
    return _Track(tracked.landmarks, tracked.times_s, speech)
