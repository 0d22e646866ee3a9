"""The client's half of the `musetalk` ensemble: smoothed face boxes, and each frame's window of the speech."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from client.errors import UsageError, ref
from client.media import Picture, TimelineFrame
from client.option import Option, OptionValues
from client.option_kinds import Choice, Number, Text, comma_separated, numbers
from client.pipeline import JobMedia, LipRequest, LiveWindows, Observations, Pipeline
from client.pipelines.face_options import FACE_BOX
from client.pipelines.heard_speech import HeardFeatures
from client.pipelines.padded_speech import PADDED_FEATURES_MODEL, PaddedSpeechFeatures
from client.pipelines.seed_options import SEED
from client.pipelines.speech import frame_number
from client.prepared.known import FirstKnown, HeldAnalyses
from client.servers.calls import TritonCalls, check_served
from client.tracking.boxes import smoothed_boxes, with_box
from client.tracking.faces import Face
from client.tracking.finder import MEDIAPIPE
from client.tracking.follow import Observation, smooth_landmarks
from client.tracking.landmarks import stack_landmarks
from lipsync_core.face import quarter_turns
from lipsync_core.musetalk.boxes import (
    BRIDGE,
    MARGIN,
    BoxRule,
    clipped,
    original_box,
    place_boxes,
    smooth_stream,
    turned_mesh_boxes,
    with_margin,
)
from lipsync_core.musetalk.compose import DEFAULT_AREA, MESH_AREA, MOUTH_AREAS, MouthArea
from lipsync_core.musetalk.faces import faces_extent
from lipsync_core.musetalk.parsing import CHEEK_WIDTHS, MAX_CHEEK_WIDTH, CheekWidths
from lipsync_core.musetalk.windows import (
    check_original_rate,
    features_for_windows,
    original_feature_count,
    original_window_start,
    window_start,
    window_starts_at,
)

PARSER_MODEL = "face_parsing"
LIVE = LiveWindows(look_ahead_s=0.25, chunk_frames=4)  # a window of features ends 0.12 s after the frame's time
ENDLESS = 1 << 40  # features of speech whose end is not known
MuseTalkMode = Literal["default", "original"]
MuseTalkVersion = Literal["1.0", "1.5"]
MARGINS: Mapping[MuseTalkVersion, int] = {"1.0": 0, "1.5": MARGIN}  # of boxes below the chin, in pixels
MAX_SHIFT = 99  # pixels


def _read_widths(text: str) -> CheekWidths:
    left, right = numbers(2, low=0, high=MAX_CHEEK_WIDTH)(text)
    return CheekWidths(round(left), round(right))


MOUTH_AREA: Option[MouthArea] = Option(
    "mouth_area",
    Choice(
        {
            "jaw": "Mouth, cheeks and jaw",
            "mouth": "The mouth alone: beards stay",
            "raw": "Skin of the lower face",
            "neck": "Skin of the lower face and the neck",
        }
    ),
    DEFAULT_AREA,
    "What is repainted below the nose: mouth, cheeks and jaw (jaw), the mouth alone, which keeps beards and needs no"
    " face parser (mouth), all skin of the lower face (raw), or that and the neck (neck).",
    "What is repainted",
)
CHEEK_WIDTH: Option[CheekWidths] = Option(
    "cheek_width",
    Text(
        _read_widths,
        f"two numbers from 0 to {MAX_CHEEK_WIDTH}, LEFT,RIGHT",
        "LEFT,RIGHT",
        r"[0-9]{1,3},[0-9]{1,3}",
        comma_separated(CHEEK_WIDTHS),
        comma_separated,
    ),
    CHEEK_WIDTHS,
    f"How far from the middle the cheeks stay as they are, for {ref(MOUTH_AREA.name)} jaw; the picture of the face is"
    " 512 wide.",
    "Width of the jaw",
    "Left, right; the face is about 340 wide.",
)
MUSETALK_MODE: Option[MuseTalkMode] = Option(
    "musetalk_mode",
    Choice({"default": "Mended", "original": "As the original, below 50 fps"}),
    "default",
    "default: steady faces, exact frame rates and soft edges; original: MuseTalk's own windows of the speech, a box for"
    " each frame alone, and narrow edges.",
    "Windows, boxes and edges",
)


MUSETALK_VERSION: Option[MuseTalkVersion] = Option(
    "musetalk_version",
    Choice({"1.5": "1.5", "1.0": "1.0"}),
    "1.5",
    "Version of the UNet's weights; with 1.0 boxes end at the chin, with 1.5 they reach 10 pixels below it.",
    "Version of the weights",
)
BBOX_SHIFT: Option[int] = Option(
    "bbox_shift",
    Number(-MAX_SHIFT, MAX_SHIFT, integer=True, unit="pixels"),
    0,
    "How far the middle of face boxes is moved down, in pixels, as the original's option for version 1.0; more opens"
    " the mouth further.",
    "Shift of the face box",
    "In pixels; more opens the mouth further.",
)


class MuseTalkFaces:
    """What is known of faces whatever they say: boxes, latents, visible mouths, and the classes of their pixels."""

    model = "musetalk_prepare"

    def __init__(self, triton: TritonCalls, options: OptionValues) -> None:
        """Take the server and the options.

        Raises:
            UsageError: options exclude each other.
            RequestRejected: the server has no face parser, and the mouth area needs one.
        """
        _check_area(options)
        if options[MOUTH_AREA] != MESH_AREA:
            check_served(
                triton,
                PARSER_MODEL,
                f"a server with the face parser, for {ref(MOUTH_AREA.name)} other than {MESH_AREA}",
                f"Export it (its weights are for non-commercial use), or choose {ref(MOUTH_AREA.name)} {MESH_AREA}",
            )
        self._options = options
        self._rule = BoxRule(MARGINS[options[MUSETALK_VERSION]], options[BBOX_SHIFT])
        self._keeps_boxes = options.has(FACE_BOX) or options[MUSETALK_MODE] == "original"
        self.chunk_frames = int(triton.contract(self.model).parameters["num_frames"])

    @property
    def kept(self) -> tuple[str, ...]:
        """What `musetalk_prepared` takes; the mouth alone needs no classes."""
        labels = () if self._options[MOUTH_AREA] == MESH_AREA else ("labels",)
        return ("face_latents", "mouth_strengths", "mouth_reasons", *labels)

    def smooth(self, observations: Observations) -> Generator[Observation[TimelineFrame], None, None]:
        """Turn faces into boxes of whole pixels, smoothed over each unbroken run of frames."""
        if self._keeps_boxes:
            for o in observations:
                yield o if o.face is None else with_box(o, _unsmoothed_box(o, o.face, self._rule))
            return
        for (_, turn), run in itertools.groupby(smooth_landmarks(observations), lambda o: (o.track, _turn_of(o))):
            yield from run if turn is None else _smooth_run(run, turn, self._rule)  # noqa: B031  (one of the two)

    def places(self, faces: Sequence[Face]) -> dict[str, np.ndarray]:
        """Return boxes, float32 [F, 4], and if all are known landmarks, float32 [F, 468, 3]."""
        places = {"boxes": np.stack([face.box for face in faces])}
        if all(face.landmarks is not None for face in faces):
            places["landmarks"] = stack_landmarks(faces)
        return places

    def request(self, frames: Sequence[TimelineFrame], places: Mapping[str, np.ndarray]) -> LipRequest:
        """Prepare boxes, and what the latents' noise depends on."""
        inputs: dict[str, np.ndarray] = {
            "seed": np.array([self._options[SEED]], np.int64),
            "frame_numbers": np.array([frame.index for frame in frames], np.int32),
            **self.area_inputs,
        }
        return LipRequest(faces_extent(places["boxes"]), places, inputs)

    @property
    def area_inputs(self) -> dict[str, np.ndarray]:
        """The inputs that say what is repainted."""
        return {
            "mouth_area": np.array([self._options[MOUTH_AREA].encode()]),
            "cheek_widths": np.array(self._options[CHEEK_WIDTH], np.int32),
        }


class MuseTalk:
    """Prepares requests in the order of the clip; each is then complete and may go to any server at any time."""

    model = "musetalk"
    prepared_model = "musetalk_prepared"  # for frames whose faces are known

    def __init__(self, media: JobMedia) -> None:
        """Take the audio, the frame rate and the options.

        Raises:
            MediaError: the audio is too short for any feature.
            UsageError: options exclude each other, or the original has no result at this frame rate.
            RequestRejected: the server has no face parser, and the mouth area needs one.
        """
        self._original = media.options[MUSETALK_MODE] == "original"
        self._live = media.live
        self._fps = media.video_fps
        _check_rate(media.options, media.video_fps)
        self._faces = MuseTalkFaces(media.triton, media.options)
        self._known = FirstKnown(media.known_faces, HeldAnalyses(media.triton, self._faces))
        self.chunk_frames: int | None = self._faces.chunk_frames
        if media.live is not None:
            self._heard = HeardFeatures(media.triton, media.audio, media.live)
            self.chunk_frames = None  # frames of silence are not asked for
            self._feature_count = ENDLESS
            return
        self._features = PaddedSpeechFeatures(media.triton, media.audio)
        self._feature_count = self._features.count
        if self._original:
            self._feature_count = original_feature_count(self._features.sample_count)

    def smooth(self, observations: Observations) -> Generator[Observation[TimelineFrame], None, None]:
        """Turn faces into boxes of whole pixels, smoothed over each unbroken run of frames."""
        return self._faces.smooth(observations)

    def request(
        self,
        frames: Sequence[TimelineFrame],
        faces: Sequence[Face],
        tracks: Sequence[int],  # noqa: ARG002
    ) -> LipRequest:
        """Prepare boxes, the speech around these frames, and the job's choices."""
        places = self._faces.places(faces)
        spoken = self._speech_inputs(frames) | {"original": np.array([self._original])}
        known = self._known.find(frames, places)
        if known is None:
            request = self._faces.request(frames, places)
            return replace(request, inputs={**request.inputs, **spoken})
        coordinates = {f"face_{name}": array for name, array in places.items()}
        inputs = {**self._faces.area_inputs, **known, **spoken}
        return LipRequest(faces_extent(places["boxes"]), coordinates, inputs, self.prepared_model)

    def _speech_inputs(self, frames: Sequence[TimelineFrame]) -> dict[str, np.ndarray]:
        starts = np.array([self._window_start(frame) for frame in frames])
        if self._live is not None:
            part, own_starts = features_for_windows(starts, self._feature_count)
            features = self._heard.between(part.start, part.stop, frames[-1].middle_s)
            return {"audio_features": features, "window_starts": own_starts}
        part, own_starts = features_for_windows(starts, self._feature_count)
        return {"audio_features": self._features.between(part.start, part.stop), "window_starts": own_starts}

    def _window_start(self, frame: TimelineFrame) -> int:
        if self._original:
            return original_window_start(round(frame.time_s * self._fps), self._fps, self._feature_count)
        number = frame_number(frame, self._fps)
        return int(window_starts_at(np.array([frame.time_s]))[0]) if number is None else window_start(number, self._fps)


def _check_area(options: OptionValues) -> None:
    if options.has(FACE_BOX) and options[MOUTH_AREA] == MESH_AREA:
        raise UsageError(
            option=MOUTH_AREA.name,
            expected=f"an area other than {MESH_AREA} with {ref(FACE_BOX.name)}, which gives no landmarks",
            got=MESH_AREA,
            advice="Leave one of them out",
        )


def _check_rate(options: OptionValues, fps: float) -> None:
    if options[MUSETALK_MODE] != "original":
        return
    try:
        check_original_rate(fps)
    except ValueError as error:
        raise UsageError(
            option=MUSETALK_MODE.name,
            expected="default at 50 frames per second and above, where the original itself ends without a result",
            got=f"original at {fps:g}",
            advice="Choose default, or a lower rate",
        ) from error


def _unsmoothed_box(observation: Observation[TimelineFrame], face: Face, rule: BoxRule) -> np.ndarray:
    """Return the given box as it is, or the original's for a mesh."""
    picture = observation.frame.picture
    if face.landmarks is None:
        return clipped(face.box, picture.height, picture.width)
    box = original_box(face.landmarks[:, :2], BRIDGE, np.maximum(face.box, 0), rule.shift)
    return with_margin(box, picture.height, rule.margin).astype(np.float32)


def _turn_of(observation: Observation[TimelineFrame]) -> int | None:
    """Return by how many quarters a face is turned; None without a face."""
    if observation.face is None or observation.face.landmarks is None:
        return None
    return int(quarter_turns(observation.face.landmarks[None])[0])


def _smooth_run(run: Observations, turn: int, rule: BoxRule) -> Generator[Observation[TimelineFrame], None, None]:
    """Smooth the boxes of a run of frames whose faces are turned alike."""
    turns = np.array([turn])

    def upright_box(observation: Observation[TimelineFrame]) -> np.ndarray:
        assert observation.face is not None
        assert observation.face.landmarks is not None
        return turned_mesh_boxes(observation.face.landmarks[None], turns, *_size(observation.frame.picture), rule)[0]

    for observation, box in smoothed_boxes(run, upright_box, smooth_stream):
        yield with_box(observation, place_boxes(box[None], turns, *_size(observation.frame.picture), rule)[0])


def _size(picture: Picture) -> tuple[int, int]:
    return picture.height, picture.width


# A prepared clip depends on all of them.
CLIP_OPTIONS = (MOUTH_AREA, CHEEK_WIDTH, MUSETALK_MODE, MUSETALK_VERSION, BBOX_SHIFT, FACE_BOX, SEED)
MUSETALK = Pipeline(
    name="musetalk",
    title="MuseTalk",
    summary="MuseTalk 1.0's or 1.5's lower face",
    description="Generates a new lower face in one step. Sharper than Wav2Lip, and much faster than LatentSync.",
    needs="your checkpoints, or a download; a GPU for speed",
    weights_licence="any purpose; the face parser's are for non-commercial use, and the mouth alone needs no parser",
    speed="Needs a graphics card for speed",
    quality="The lower face is new, and sharper than Wav2Lip's",
    models=(MuseTalk.model, PADDED_FEATURES_MODEL, MuseTalkFaces.model, MuseTalk.prepared_model),
    detectors=(MEDIAPIPE,),
    make_generator=MuseTalk,
    options=CLIP_OPTIONS,
    modes=None,
    choice_models={MOUTH_AREA.name: {area: (PARSER_MODEL,) for area in MOUTH_AREAS if area != MESH_AREA}},
    keeps_parts=True,
    make_analysis=MuseTalkFaces,
    analysis_models=(MuseTalkFaces.model,),
    live=LIVE,
    clip_options=CLIP_OPTIONS,
)
