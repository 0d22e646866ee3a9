"""The client's half of the `wav2lip` ensemble: smoothed face boxes, and each frame's part of the speech."""

from __future__ import annotations

import dataclasses
import itertools
from collections import deque
from collections.abc import Generator, Sequence
from typing import Literal

import numpy as np

from client.media import TimelineFrame
from client.option import Choice, Option
from client.pipeline import JobMedia, LipRequest, Observations, Pipeline
from client.pipelines.face_options import DETECTOR, FACE_BOX, PADS
from client.pipelines.speech import frame_number
from client.tracking.faces import Face
from client.tracking.finder import MEDIAPIPE, S3FD
from client.tracking.follow import Observation
from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE
from lipsync_core.wav2lip.boxes import pad_boxes, smooth_stream
from lipsync_core.wav2lip.faces import boxes_from_landmarks
from lipsync_core.wav2lip.mel import (
    HOP,
    WINDOW_MEL_FRAMES,
    samples_for_windows,
    window_start,
    window_starts_at,
)

Blend = Literal["soft", "box"]
ENDLESS = 1 << 62  # samples: the speech is followed by silence
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
        self._sample_count = round(media.audio.duration * AUDIO_SAMPLE_RATE)
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
        return LipRequest((float(x1), float(y1), float(x2), float(y2)), {"boxes": boxes}, inputs)

    def _smooth_run(self, run: Observations) -> Generator[Observation[TimelineFrame], None, None]:
        if self._options.has(FACE_BOX):  # taken as it is
            yield from run
            return
        waiting: deque[Observation[TimelineFrame]] = deque()  # their boxes are being averaged with later ones

        def padded_boxes() -> Generator[np.ndarray, None, None]:
            for observation in run:
                waiting.append(observation)
                yield self._padded_box(observation)

        for box in smooth_stream(padded_boxes()):
            observation = waiting.popleft()
            assert observation.face is not None
            face = dataclasses.replace(observation.face, box=box.astype(np.float32))
            yield dataclasses.replace(observation, face=face)

    def _padded_box(self, observation: Observation[TimelineFrame]) -> np.ndarray:
        face, picture = observation.face, observation.frame.picture
        assert face is not None
        box = np.maximum(face.box, 0) if face.landmarks is None else boxes_from_landmarks(face.landmarks[None])[0]
        return pad_boxes(box, self._options[PADS], picture.height, picture.width)

    def _window_starts(self, frames: Sequence[TimelineFrame]) -> np.ndarray:
        """Place each frame's window by its number where the rate is constant, as the original does, else by time."""
        return np.array([self._window_start(frame) for frame in frames], np.int32)

    def _window_start(self, frame: TimelineFrame) -> int:
        number = frame_number(frame, self._fps)
        return int(window_starts_at(np.array([frame.time_s]))[0]) if number is None else window_start(number, self._fps)

    def _part_of_speech(self, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the samples that the windows need, and the windows' starts within them.

        Windows that reach beyond the speech are its last one, as in the original; frames after the speech are silent.
        """
        columns = 1 + self._sample_count // HOP
        if starts.max() < columns:
            last = max(columns - WINDOW_MEL_FRAMES, 0)
            part, starts = samples_for_windows(np.minimum(starts, last), self._sample_count)
        else:
            part, starts = samples_for_windows(starts, ENDLESS)
        return self._audio.window(part.start, part.stop), starts


WAV2LIP = Pipeline(
    name="wav2lip",
    title="Wav2Lip",
    summary="Wav2Lip's lower face",
    description="Generates a new lower face. Quick, a little soft; for personal, research and non-commercial use only.",
    needs="your checkpoint, for non-commercial use; runs on a CPU",
    weights_licence="personal, research and non-commercial use (trained on LRS2)",
    models=(Wav2Lip.model,),
    detectors=(MEDIAPIPE, S3FD),
    make_generator=Wav2Lip,
    options=(DETECTOR, FACE_BOX, PADS, BLEND),
)
