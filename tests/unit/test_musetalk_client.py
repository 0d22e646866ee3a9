from __future__ import annotations

import dataclasses
import types
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.errors import RequestRejected, UsageError
from client.offer import offers
from client.option import OptionValues
from client.pipeline import JobMedia, LipRequest
from client.pipelines.musetalk import BBOX_SHIFT, MUSETALK, MUSETALK_VERSION, MuseTalk
from client.servers.calls import InferRequest
from client.tracking.faces import Face
from client.tracking.follow import Observation
from lipsync_core.musetalk.boxes import original_box, turn_box
from lipsync_core.musetalk.faces import place_face, surroundings
from lipsync_core.musetalk.windows import audio_tokens, window_start
from lipsync_core.whisper.padded import padded_position_counts

DATA = Path(__file__).resolve().parent.parent / "data"
LANDMARKS = np.load(DATA / "astronaut_landmarks.npy").astype(np.float32)
SIZE = types.SimpleNamespace(width=512, height=512, shared=False)
FACE = Face(np.array([170, 60, 270, 180], np.float32), 1.0, LANDMARKS)


class Triton:
    """Answers with features whose values are their positions, and keeps what it was asked."""

    def __init__(self, *lacking: str) -> None:
        self._lacking = lacking
        self.asked: list[InferRequest] = []
        self._positions = 0

    def contract(self, model: str) -> Any:
        if model in self._lacking:
            raise RequestRejected(about=model, expected="a model", got="none")
        return types.SimpleNamespace(parameters={"num_frames": "8"})

    def infer(self, request: InferRequest) -> dict[str, np.ndarray]:
        self.asked.append(request)
        count = int(padded_position_counts(len(request.inputs["audio"])).sum())
        values = np.arange(self._positions, self._positions + count, dtype=np.float32)
        self._positions += count
        return {"audio_features": np.broadcast_to(values[:, None, None], (count, 5, 384)).copy()}


def frame(index: int, fps: Fraction = Fraction(25)) -> types.SimpleNamespace:
    return types.SimpleNamespace(picture=SIZE, time_s=float(index / fps), duration_s=float(1 / fps), index=index % 30)


def silence(seconds: float) -> types.SimpleNamespace:
    return types.SimpleNamespace(
        path=Path("a.wav"), duration=seconds, window=lambda start, stop: np.zeros(stop - start, np.float32)
    )


def musetalk(fps: float = 25.0, triton: Triton | None = None, seconds: float = 3.3, **options: object) -> MuseTalk:
    audio = silence(seconds)
    media = JobMedia(triton or Triton(), OptionValues(options), audio, fps, None)  # type: ignore[arg-type]
    return MuseTalk(media)


def observations(meshes: np.ndarray, missing: frozenset[int] = frozenset()) -> list[Observation[Any]]:
    faces = [None if i in missing else Face(FACE.box, 0.9, mesh) for i, mesh in enumerate(meshes)]
    return [Observation(frame(i), face, 1) for i, face in enumerate(faces)]


def trembling(count: int) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 0.7, (count, 1, 3))
    return (LANDMARKS + noise).astype(np.float32)


def ask(client: MuseTalk, numbers: range, fps: Fraction = Fraction(25)) -> LipRequest:
    frames = [frame(i, fps) for i in numbers]
    return client.request(frames, [FACE] * len(frames), [1] * len(frames))  # type: ignore[arg-type]


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(24000, 1001), Fraction(60)])
@pytest.mark.parametrize("size", [1, 8])
def test_musetalk_each_frame_gets_its_own_window(fps: Fraction, size: int) -> None:
    """Chunk by chunk, the features that travel give the tokens that all features give; after them comes silence."""
    client = musetalk(float(fps))
    count = 165
    whole = np.broadcast_to(np.arange(count, dtype=np.float32)[:, None, None], (count, 5, 384))
    numbers = range(int(count / 50 * fps) + 20)
    for begin in range(0, len(numbers), size):
        part = numbers[begin : begin + size]
        inputs = ask(client, part, fps).inputs
        found = audio_tokens(inputs["audio_features"], inputs["window_starts"])
        starts = np.array([window_start(i, float(fps)) for i in part])
        assert np.array_equal(found, audio_tokens(whole, starts))


def test_musetalk_noise_is_of_the_source_frame() -> None:
    """A frame that is shown again, as when a short clip plays back and forth, has the same latents."""
    client = musetalk(seed=3)
    first, again = ask(client, range(8)), ask(client, range(30, 38))
    assert first.inputs["frame_numbers"].tolist() == again.inputs["frame_numbers"].tolist() == list(range(8))
    assert first.inputs["seed"].tolist() == [3]


def test_musetalk_boxes_are_steady_and_keep_every_frame() -> None:
    """Runs end at faceless frames, whose place is kept."""
    meshes = trembling(40)
    smoothed = list(musetalk().smooth(iter(observations(meshes, frozenset({20})))))
    assert [o.frame.time_s for o in smoothed] == [frame(i).time_s for i in range(40)]
    assert smoothed[20].face is None
    original = list(musetalk(musetalk_mode="original").smooth(iter(observations(meshes))))
    moves = []
    for seen in (original, smoothed):
        boxes = np.array([o.face.box for o in seen[:20] if o.face is not None])
        moves.append(np.abs(np.diff(boxes, axis=0)).mean())
    assert moves[0] > 0.5
    assert moves[1] < moves[0] / 2


def test_musetalk_original_boxes_are_the_rules() -> None:
    """Unsmoothed, with the margin of version 1.5."""
    meshes = trembling(5)
    found = list(musetalk(musetalk_mode="original").smooth(iter(observations(meshes))))
    for seen, mesh in zip(found, meshes, strict=True):
        assert seen.face is not None
        expected = original_box(mesh[:, :2], 5, FACE.box)
        assert seen.face.box.tolist() == [*expected[:3], expected[3] + 10]


def test_musetalk_original_windows_are_early_below_25_fps() -> None:
    """By two positions at 20 fps, as in the original."""
    starts = []
    for mode in ("original", "default"):
        inputs = ask(musetalk(20.0, musetalk_mode=mode), range(40, 41), Fraction(20)).inputs
        starts.append(inputs["audio_features"][0, 0, 0] + inputs["window_starts"][0])
    assert starts[1] - starts[0] == 2


@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize("box", [(170, 60, 270, 180), (171, 60, 270, 180), (170, 61, 270, 180), (171, 61, 270, 180)])
def test_musetalk_a_region_holds_the_square_around_the_face(box: tuple[int, int, int, int], turn: int) -> None:
    """Whichever way the face is turned, also where halves of pixels fall; boxes and landmarks travel in its pixels."""
    face = dataclasses.replace(FACE, box=np.array(box, np.float32))
    request = musetalk().request([frame(0)], [face], [1])  # type: ignore[list-item]
    x1, y1, x2, y2 = request.extent
    placed = place_face(np.zeros((512, 512, 3), np.uint8), face.box, turn)
    assert placed is not None
    square = turn_box(np.array(surroundings(placed.box)), -turn, 512, 512).tolist()
    assert x1 <= square[0]
    assert y1 <= square[1]
    assert x2 >= square[2]
    assert y2 >= square[3]
    moved = request.inputs_for((100, 32, 400, 400))
    assert moved["boxes"][0].tolist() == [box[0] - 100, box[1] - 32, box[2] - 100, box[3] - 32]
    np.testing.assert_allclose(moved["landmarks"][0, :, 0], LANDMARKS[:, 0] - 100, atol=1e-4)


def test_musetalk_long_speech_is_encoded_in_parts() -> None:
    """Of 30 s each, when they are needed, and no more than two are held."""
    triton = Triton()
    client = musetalk(triton=triton, seconds=70)
    ask(client, range(8))
    assert [len(request.inputs["audio"]) for request in triton.asked] == [480_000]
    found = ask(client, range(748, 756)).inputs["audio_features"]
    assert found[:, 0, 0].tolist() == list(range(1492, 1516))
    ask(client, range(1700, 1708))
    assert [len(request.inputs["audio"]) for request in triton.asked] == [480_000, 480_000, 160_000]


def test_musetalk_speech_that_no_frame_needs_is_not_encoded() -> None:
    """After a jump, only what follows it: positions 3396 on are 396 on of the third segment."""
    triton = Triton()
    client = musetalk(triton=triton, seconds=70)
    ask(client, range(8))
    inputs = ask(client, range(1700, 1708)).inputs
    assert [len(request.inputs["audio"]) for request in triton.asked] == [480_000, 160_000]
    assert inputs["audio_features"][:, 0, 0].tolist() == list(range(1500 + 396, 1500 + 420))
    assert inputs["window_starts"].tolist() == list(range(0, 16, 2))


def test_musetalk_given_boxes_are_taken_as_they_are() -> None:
    """Within the frame."""
    face = Face(np.array([-5, 60, 270, 700], np.float32), 1.0)
    options = {"face_box": (-5.0, 60.0, 270.0, 700.0)}
    (seen,) = musetalk(**options).smooth(iter([Observation(frame(0), face, 1)]))  # type: ignore[list-item]
    assert seen.face is not None
    assert seen.face.box.tolist() == [0, 60, 270, 512]
    request = musetalk(**options).request([frame(0)], [seen.face], [1])  # type: ignore[list-item]
    assert list(request.coordinates) == ["boxes"]


@pytest.mark.parametrize(
    ("fps", "options", "message"),
    [
        (50.0, {"musetalk_mode": "original"}, "musetalk_mode: expected default at 50 frames per second and above"),
        (25.0, {"mouth_area": "mouth", "face_box": (0.0, 0.0, 9.0, 9.0)}, "mouth_area: expected an area other than"),
    ],
)
def test_musetalk_fails_on_options_that_do_not_fit(fps: float, options: dict[str, object], message: str) -> None:
    """Before anything is sent."""
    with pytest.raises(UsageError, match=message):
        musetalk(fps, **options)


def test_musetalk_without_a_parser_draws_the_mouth_alone() -> None:
    """The other areas say what they need."""
    with pytest.raises(RequestRejected, match="face_parsing: expected a server with the face parser"):
        musetalk(triton=Triton("face_parsing"))
    assert ask(musetalk(triton=Triton("face_parsing"), mouth_area="mouth"), range(2)).inputs["mouth_area"] == b"mouth"


def test_musetalk_version_and_shift_reach_the_boxes() -> None:
    """In both modes; a clip prepared with other values would not fit, so that both belong to the clip."""
    for mode in ("default", "original"):
        usual, old = (
            next(musetalk(musetalk_mode=mode, **options).smooth(iter(observations(trembling(1)))))
            for options in ({}, {"musetalk_version": "1.0", "bbox_shift": 3})
        )
        assert usual.face is not None
        assert old.face is not None
        assert (usual.face.box - old.face.box).tolist() == [0, -6, 0, 10]
    assert {MUSETALK_VERSION, BBOX_SHIFT} <= set(MUSETALK.clip_options)


def test_musetalk_areas_without_the_parser_are_told_before_a_job() -> None:
    """A server without it offers the mouth alone."""
    models = {*MUSETALK.models, "faces"}
    (offer,) = (offer for offer in offers(models) if offer.pipeline is MUSETALK)
    assert offer.is_ready
    assert offer.unavailable == {"mouth_area": ("jaw", "raw", "neck")}
    (whole,) = (offer for offer in offers({*models, "face_parsing"}) if offer.pipeline is MUSETALK)
    assert not whole.unavailable
