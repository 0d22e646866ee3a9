"""Finds the face tracks of a video at 25 fps, as SyncNet's pipeline does, with either of two face detectors."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from fractions import Fraction

import numpy as np
import torch

from client.chunks import chunk_frames
from client.errors import NoFaceError, ref
from client.flow import batched, prefetch
from client.media import TimelineFrame, VideoSource, at_rate, from_first_frame, timeline
from client.progress import JobProgress
from client.report import StageClock
from client.servers.connection import TritonConnection
from client.tracking.faces import MIN_CHOSEN_SCORE
from client.tracking.finder import FaceFinder
from export.wav2lip.s3fd import S3FD
from lipsync_core.syncnet.mfcc import FPS
from lipsync_core.wav2lip.faces import boxes_from_landmarks
from perf.scores.syncnet.s3fd import MIN_SCORE, faces_in_frame, find_faces, shrink
from perf.scores.syncnet.tracks import MIN_FACE_SIZE, SceneCutter, Track, find_tracks

DECODED_AHEAD = 2  # windows

Window = Sequence[TimelineFrame]
FindBoxes = Callable[[Window], list[np.ndarray]]  # frames -> float [N, 4] for each: x1, y1, x2, y2 in pixels


def frames_at_25(source: VideoSource) -> Iterator[TimelineFrame]:
    """Resample a video to 25 fps by its timestamps: frames are dropped or repeated."""
    return at_rate(from_first_frame(timeline(source, 0.0, if_audio_longer="cut")), Fraction(FPS))


def find_video_tracks(source: VideoSource, find: FindBoxes, min_track: int, progress: JobProgress) -> list[Track]:
    """Find the face tracks of a video's scenes.

    Args:
        source: The video.
        find: Finds the faces in a window of frames.
        min_track: A track has more detections than this.
        progress: Told the number of frames done.

    Raises:
        NoFaceError: there is no track.
        LipSyncError: the media cannot be decoded, or the server fails.
    """
    estimate = source.duration
    progress.stage("finding faces", None if estimate is None else round(estimate * FPS))
    tracks: list[Track] = []
    scene: list[np.ndarray] = []
    frames = with_face = first = 0
    with closing(_detections(source, find, progress)) as detections:
        for is_cut, boxes in detections:
            if is_cut:
                tracks += find_tracks(scene, first, min_track)
                scene, first = [], frames
            scene.append(boxes)
            frames += 1
            with_face += bool(len(boxes))
    tracks += find_tracks(scene, first, min_track)
    if not tracks:
        raise NoFaceError(
            about=source.path,
            expected=f"a face larger than {MIN_FACE_SIZE} pixels through more than {min_track} frames",
            got=f"{with_face} of {frames} frames with a face and no such track",
            advice=f"Lower {ref('min_track')}, or give a face crop and {ref('cropped')}",
        )
    return tracks


def _detections(
    source: VideoSource, find: FindBoxes, progress: JobProgress
) -> Generator[tuple[bool, np.ndarray], None, None]:
    """Yield for each frame whether it begins a scene, and the boxes of its faces, float [N, 4]."""
    cutter = SceneCutter()
    windows = batched(frames_at_25(source), chunk_frames(source.frame_bytes))
    with closing(prefetch(windows, DECODED_AHEAD)) as ahead:
        for window in ahead:
            cuts = [cutter.is_cut(frame.picture.rgb()) for frame in window]
            yield from zip(cuts, find(window), strict=True)
            progress.advance(len(window))


def served_detector(connection: TritonConnection) -> FindBoxes:
    """Find faces through the server; a box around the landmarks is close to that of S3FD."""
    finder = FaceFinder(connection, StageClock())

    def find(window: Window) -> list[np.ndarray]:
        found = finder.find(window)
        return [_boxes(face.landmarks for face in frame.faces if face.score >= MIN_CHOSEN_SCORE) for frame in found]

    return find


def original_detector(network: S3FD) -> FindBoxes:
    """Find faces with the protocol's own detector, frame by frame; slow without a GPU."""

    def find(window: Window) -> list[np.ndarray]:
        return [detect(network, frame.picture.rgb()) for frame in window]

    return find


def detect(network: S3FD, frame: np.ndarray, min_score: float = MIN_SCORE) -> np.ndarray:
    """Find the faces in a frame, uint8 RGB [H, W, 3]; returns boxes, float [N, 4] in pixels, best first."""
    shrunken = shrink(frame)
    with torch.inference_mode():
        logits, offsets = network(torch.from_numpy(shrunken[None]))
    faces = find_faces(logits[0].numpy(), offsets[0].numpy(), shrunken.shape[0], shrunken.shape[1], min_score)
    return faces_in_frame(faces, shrunken.shape, frame.shape).boxes


def _boxes(landmarks: Iterable[np.ndarray | None]) -> np.ndarray:
    known = [points for points in landmarks if points is not None]
    return boxes_from_landmarks(np.stack(known)) if known else np.zeros((0, 4), np.float32)
