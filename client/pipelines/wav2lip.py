"""The client's half of the `wav2lip` ensemble: smoothed face boxes, and each frame's part of the speech."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Sequence
from typing import Literal

import numpy as np

from client.media import TimelineFrame
from client.option import Option
from client.option_kinds import Choice
from client.pipeline import JobMedia, LipRequest, LiveWindows, Observations, Pipeline
from client.pipelines.face_options import DETECTOR, FACE_BOX, PADS
from client.pipelines.speech import frame_number, sample_count
from client.tracking.boxes import smoothed_boxes, with_box
from client.tracking.faces import Face
from client.tracking.finder import MEDIAPIPE, S3FD
from client.tracking.follow import Observation
from client.tracking.landmarks import stack_landmarks
from lipsync_core.face import quarter_turns
from lipsync_core.wav2lip.boxes import Pads, pad_boxes, smooth_stream
from lipsync_core.wav2lip.faces import boxes_from_landmarks
from lipsync_core.wav2lip.mel import (
    mel_frame_count,
    samples_for_windows,
    starts_within,
    window_start,
    window_starts_at,
)

LIVE = LiveWindows(look_ahead_s=0.25, chunk_frames=2)  # a window of mel frames reaches 0.25 s from the frame's time
ENDLESS = sample_count(1e6)  # of speech whose end is not known; silence follows it

Blend = Literal["soft", "box"]
BLEND: Option[Blend] = Option(
    "blend",
    Choice({"soft": "Lower face only, no visible edge", "box": "The whole box, as the original"}),
    "soft",
    "soft: only the lower face changes, without a visible edge; box: the original's whole rectangle.",
    "How the face is pasted back",
)


class Wav2Lip:
    """Prepares requests in the order of the clip; each is then complete and may go to any server at any time."""

    model = "wav2lip"
    chunk_frames = None

    def __init__(self, media: JobMedia) -> None:
        """Take the audio, the frame rate and the options."""
        self._audio = media.audio
        self._sample_count = ENDLESS if media.live is not None else sample_count(media.audio.duration)
        self._fps = media.video_fps
        self._options = media.options

    def smooth(self, observations: Observations) -> Generator[Observation[TimelineFrame], None, None]:
        """Turn faces into boxes of whole pixels, padded and averaged over each unbroken run of frames."""
        for (_, seen), run in itertools.groupby(observations, lambda o: (o.track, o.face is not None)):
            yield from self._smooth_run(run) if seen else run  # noqa: B031  (one of the two)

    def request(
        self,
        frames: Sequence[TimelineFrame],
        faces: Sequence[Face],
        tracks: Sequence[int],  # noqa: ARG002
    ) -> LipRequest:
        """Prepare boxes, and the speech around these frames."""
        boxes = np.stack([face.box for face in faces])
        audio, starts = self._part_of_speech(self._window_starts(frames))
        inputs = {"audio": audio, "window_starts": starts, "hard_box": np.array([self._options[BLEND] == "box"])}
        (x1, y1), (x2, y2) = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
        places = {"boxes": boxes}
        if all(face.landmarks is not None for face in faces):
            places["landmarks"] = stack_landmarks(faces)
        return LipRequest((float(x1), float(y1), float(x2), float(y2)), places, inputs)

    def _smooth_run(self, run: Observations) -> Generator[Observation[TimelineFrame], None, None]:
        if self._options.has(FACE_BOX):  # taken as it is
            yield from run
            return
        for observation, box in smoothed_boxes(run, self._padded_box, smooth_stream):
            yield with_box(observation, box.astype(np.float32))

    def _padded_box(self, observation: Observation[TimelineFrame]) -> np.ndarray:
        face, picture = observation.face, observation.frame.picture
        assert face is not None
        pads: Pads = self._options[PADS]
        if face.landmarks is None:
            return pad_boxes(np.maximum(face.box, 0), pads, picture.height, picture.width)
        box, turn = boxes_from_landmarks(face.landmarks[None])[0], quarter_turns(face.landmarks[None])[0]
        return pad_boxes(box, pads.turned(turn), picture.height, picture.width)

    def _window_starts(self, frames: Sequence[TimelineFrame]) -> np.ndarray:
        """Place each frame's window by its number where the rate is constant, as the original does, else by time."""
        return np.array([self._window_start(frame) for frame in frames], np.int32)

    def _window_start(self, frame: TimelineFrame) -> int:
        number = frame_number(frame, self._fps)
        return int(window_starts_at(np.array([frame.time_s]))[0]) if number is None else window_start(number, self._fps)

    def _part_of_speech(self, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the samples that the windows need, and the windows' starts within them."""
        starts = starts_within(starts, mel_frame_count(self._sample_count))
        part, starts = samples_for_windows(starts, self._sample_count)
        samples = np.zeros(0, np.float32) if part.start == part.stop else self._audio.window(part.start, part.stop)
        return samples, starts


WAV2LIP = Pipeline(
    name="wav2lip",
    title="Wav2Lip",
    summary="Wav2Lip's lower face",
    description="Generates a new lower face. Quick, a little soft; for personal, research and non-commercial use only.",
    needs="your checkpoint, for non-commercial use; runs on a CPU",
    weights_licence="personal, research and non-commercial use (trained on LRS2)",
    speed="Quick, on a processor too",
    quality="Follows the speech; the lower face is new and a little soft",
    models=(Wav2Lip.model,),
    detectors=(MEDIAPIPE, S3FD),
    make_generator=Wav2Lip,
    options=(DETECTOR, FACE_BOX, PADS, BLEND),
    clip_options=(DETECTOR, FACE_BOX),
    live=LIVE,
)
