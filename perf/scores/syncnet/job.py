"""Scores one video by SyncNet: opens media, weights and detector, finds the faces, and collects warnings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from client.errors import UsageError
from client.media import AudioSource, VideoSource
from client.progress import JobProgress
from client.servers.connection import TritonConnection
from client.servers.embedded import open_server
from client.syncnet.sound import VideoSound
from client.tracking.finder import MEDIAPIPE
from export.shared.files import file_sha256
from export.syncnet.source import PUBLISHED_NAME, is_published
from lipsync_core.repository import DEFAULT_REPOSITORY
from lipsync_core.syncnet.distances import MAX_SHIFT
from perf.scores.syncnet.meter import TrackScore, measure_crop, measure_tracks
from perf.scores.syncnet.towers import TorchTowers
from perf.scores.syncnet.tracks import Track
from perf.scores.syncnet.video_tracks import find_video_tracks, original_detector, served_detector
from perf.scores.syncnet.weights import SYNTHETIC_LINE, load_detector, load_syncnet, synthetic_syncnet

FEW_WINDOWS = 75  # with fewer, pairs beyond the ends of the clip dominate the figures
OTHER_WEIGHTS_LINE = (
    f"the weights are not the published {PUBLISHED_NAME}: do not compare these figures with published ones"
)


class SyncNetJob:
    """A video, its audio and the networks, opened and checked."""

    def __init__(
        self, video: Path, weights: Path | None, detector: Path | None = None, audio: Path | None = None
    ) -> None:
        """Open everything, so that bad input is reported before the work begins.

        Args:
            video: The video to score.
            weights: The file syncnet_v2.model; None for synthetic weights.
            detector: The file sfd_face.pth; None to find faces through the server.
            audio: The audio to compare with; None for the video's own.

        Raises:
            MediaError: the video or the audio cannot be used.
            UsageError: a file of weights is missing, broken or another network's.
        """
        self._source = VideoSource(video)
        self._sound = VideoSound.of_video(self._source) if audio is None else VideoSound(AudioSource(audio))
        self._synthetic = weights is None
        try:
            network = synthetic_syncnet() if weights is None else load_syncnet(weights)
            self._towers = TorchTowers(network)
            self._is_known = weights is None or is_published(weights, file_sha256(weights))
            self._detector = None if detector is None else load_detector(detector)
        except ValueError as error:
            raise UsageError(str(error)) from error

    def measure(self, min_track: int, url: str | None, progress: JobProgress) -> list[TrackScore]:
        """Find the faces and score each one's track.

        Args:
            min_track: A track has more detections than this.
            url: HOST:PORT of a running Triton; None starts one. Not used with the original's detector.
            progress: Told the stages and the number of frames done.

        Raises:
            NoFaceError: there is no track.
            LipSyncError: the media cannot be decoded, or the server fails.
        """
        tracks = self._find_tracks(min_track, url, progress)
        return measure_tracks(self._towers, self._source, self._sound, tracks, progress)

    def measure_crop(self, progress: JobProgress) -> list[TrackScore]:
        """Score the whole video as one face crop."""
        return [measure_crop(self._towers, self._source, self._sound, progress)]

    def warnings(self, scores: Sequence[TrackScore]) -> list[str]:
        """Return what limits the meaning of the scores, one sentence each."""
        facts = {
            SYNTHETIC_LINE: self._synthetic,
            OTHER_WEIGHTS_LINE: not self._is_known,
            "the audio is silent: the figures mean nothing": self._sound.is_silent,
            f"fewer than {FEW_WINDOWS} windows: the ends of the clip dominate the published figures;"
            " see valid_pairs_only in the JSON": min(score.published.windows for score in scores) < FEW_WINDOWS,
            f"the offset is at the limit of the search ({MAX_SHIFT} frames): usually a sign of no sync at all": any(
                abs(score.published.offset) == MAX_SHIFT for score in scores
            ),
        }
        return [line for line, holds in facts.items() if holds] + self._source.warnings

    def _find_tracks(self, min_track: int, url: str | None, progress: JobProgress) -> list[Track]:
        if self._detector is not None:
            return find_video_tracks(self._source, original_detector(self._detector), min_track, progress)
        with (
            open_server(url, DEFAULT_REPOSITORY, (MEDIAPIPE.model,)) as (server, _),
            TritonConnection(server) as connection,
        ):
            return find_video_tracks(self._source, served_detector(connection), min_track, progress)
