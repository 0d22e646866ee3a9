"""The client's half of the `mouth_motion` ensemble: what its requests carry beside the frames."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import cached_property

import numpy as np

from client.media import TimelineFrame
from client.option import Option
from client.option_kinds import Number
from client.pipeline import JobMedia, LipRequest, LiveWindows, Observations, Pipeline, never
from client.pipelines.heard_speech import HeardShapes, ShapeGain
from client.pipelines.speech import SpeechShapes, closed_shapes, faded_shapes, speech_statistics_of, spoken_shapes
from client.tracking.faces import Face
from client.tracking.finder import MEDIAPIPE
from client.tracking.follow import Observation, smooth_landmarks
from client.tracking.landmarks import boxes_extent, face_extent, stack_landmarks
from lipsync_core.audio.lip_shapes import SpeechStatistics
from lipsync_core.mouth import (
    InteriorChooser,
    MouthProfile,
    opening_gain,
    wanted_lips,
    widest_change,
)
from lipsync_core.mouth.lips import openings, widths

AHEAD_S = (0.1, 0.2, 0.3, 0.4, 0.5)  # a mouth that opens is judged by the widest of now and these moments

LIVE = LiveWindows(look_ahead_s=0.25, chunk_frames=1)  # shapes are smoothed over 0.25 s on either side

STRENGTH: Option[float] = Option(
    "strength",
    Number(0.5, 1.5, step=0.1),
    1.0,
    "How far the lips move: 1 as far as the speaker's own in the clip, less for calm, more for lively mouths.",
    "How far the lips move",
    "1 is as far as the speaker's own lips.",
)


class MouthMotion:
    """Prepares requests in the order of the clip; each is then complete and may go to any server at any time."""

    model = "mouth_motion"
    chunk_frames = None

    def __init__(self, media: JobMedia) -> None:
        """Learn the speaker's mouth; the audio is not read before the first speech."""
        self._profile = media.mouth_profile()
        self._speech = _WholeSpeech(media, self._profile) if media.live is None else _HeardSpeech(media, self._profile)
        self._chooser: InteriorChooser | None = None  # of the followed face; a new one for every track
        self._track: int | None = None

    def smooth(self, observations: Observations) -> Generator[Observation[TimelineFrame], None, None]:
        """Take the jitter out of the landmarks."""
        return smooth_landmarks(observations)

    def request(self, frames: Sequence[TimelineFrame], faces: Sequence[Face], tracks: Sequence[int]) -> LipRequest:
        """Prepare landmarks, mouth shapes, and what the scan found."""
        times_s = np.array([frame.middle_s for frame in frames])
        shapes = self._speech.at(times_s)
        inputs = {"shapes": shapes}
        if any(face.landmarks is None for face in faces):  # the server looks for the face
            return LipRequest(boxes_extent(faces), {}, inputs)
        landmarks = stack_landmarks(faces)
        if self._profile is not None:
            inputs |= self._profile.tensors
            if len(self._profile.interior_frames):
                inputs["interior_indices"] = self._choose_interiors(self._profile, times_s, shapes, landmarks, tracks)
        return LipRequest(face_extent(landmarks), {"landmarks": landmarks}, inputs)

    def _choose_interiors(
        self,
        profile: MouthProfile,
        times_s: np.ndarray,
        shapes: np.ndarray,
        landmarks: np.ndarray,
        tracks: Sequence[int],
    ) -> np.ndarray:
        """Return int32 [F]; what a frame shows depends on how far the mouth is about to open."""
        coming = self._speech.coming(times_s)
        lips = wanted_lips(profile.mouth, np.concatenate([shapes, *coming]))
        lips = lips.reshape(1 + len(coming), len(times_s), -1, 2)
        gaps, breadths = openings(lips), widths(lips)
        widest = gaps.argmax(axis=0), np.arange(len(times_s))
        forms = np.stack([gaps[widest], breadths[widest]], axis=1)
        indices = np.empty(len(tracks), np.int32)
        for i, track in enumerate(tracks):
            if track != self._track:
                self._track = track
                self._chooser = InteriorChooser(profile)
            assert self._chooser is not None
            indices[i] = self._chooser.choose(gaps[0, i], forms[i], landmarks[i])
        return indices


class _WholeSpeech:
    """Shapes of speech that is known to its end."""

    def __init__(self, media: JobMedia, profile: MouthProfile | None) -> None:
        self._media = media
        self._profile = profile

    def at(self, times_s: np.ndarray) -> np.ndarray:
        """Return the shapes at frames, float32 [F, 7]; closed where nobody speaks."""
        speaking = self._media.speaking(times_s)
        if not speaking.any():
            return closed_shapes(len(times_s))
        return spoken_shapes(self._shapes, times_s, speaking)

    def coming(self, times_s: np.ndarray) -> np.ndarray:
        """Return the shapes at some moments after each frame, float32 [A, F, 7]."""
        shapes = self.at(np.concatenate([times_s + ahead for ahead in AHEAD_S]))
        return shapes.reshape(len(AHEAD_S), len(times_s), -1)

    @cached_property
    def _shapes(self) -> SpeechShapes:
        """The audio's shapes, enlarged to the speaker's range; its statistics are taken now."""
        media = self._media
        statistics = speech_statistics_of(media.audio)
        gain = _gain_of(self._profile, statistics) * media.options[STRENGTH]
        return SpeechShapes(media.triton, media.audio, statistics, gain)


class _HeardSpeech:
    """Shapes of speech that is still being spoken."""

    def __init__(self, media: JobMedia, profile: MouthProfile | None) -> None:
        assert media.live is not None
        self._speaking = media.speaking
        self._heard = HeardShapes(media.triton, media.audio, media.live)
        self._ahead_s = tuple(ahead for ahead in AHEAD_S if ahead < media.live.look_ahead_s)
        self._gain = ShapeGain(lambda statistics: _gain_of(profile, statistics), media.options[STRENGTH])

    def at(self, times_s: np.ndarray) -> np.ndarray:
        """Return the shapes at frames, float32 [F, 7]; closed where nobody speaks."""
        speaking = self._speaking(times_s)
        if speaking.any():
            return faded_shapes(self._around(times_s)[0], speaking)
        if self._speaking is not never:
            self._heard.listen(float(times_s[-1]))
        return closed_shapes(len(times_s))

    def coming(self, times_s: np.ndarray) -> np.ndarray:
        """Return the shapes at those moments after each frame that are known by then, float32 [A, F, 7]."""
        if self._speaking(times_s).any():
            return self._around(times_s)[1:]
        return np.tile(closed_shapes(len(times_s)), (len(self._ahead_s), 1, 1))

    def _around(self, times_s: np.ndarray) -> np.ndarray:
        return self._heard.around(times_s, self._ahead_s, self._gain)


def _gain_of(profile: MouthProfile | None, statistics: SpeechStatistics) -> float:
    """Return how far shapes must be enlarged to open the mouth as far as the speaker does."""
    own = np.zeros(0) if profile is None else profile.openings
    return opening_gain(own, widest_change(statistics.shapes))


MOUTH_MOTION = Pipeline(
    name="mouth-motion",
    title="Mouth motion",
    summary="warps the lips to shapes learned from people, and borrows the mouth's inside from the clip's own frames",
    description="Moves the lips of the picture itself, as a small learned model hears them. Fast, needs no download.",
    needs="nothing",
    weights_licence="none needed; the face models are MediaPipe's, Apache-2.0",
    speed="Fast, on any processor",
    quality="Keeps the lips of the picture; follows the rhythm of speech and misses some sounds",
    models=(MouthMotion.model,),
    detectors=(MEDIAPIPE,),
    make_generator=MouthMotion,
    options=(STRENGTH,),
    closes_mouths=True,
    live=LIVE,
)
