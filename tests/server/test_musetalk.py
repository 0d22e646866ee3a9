"""The MuseTalk models in a real Triton: the original's goldens on small networks, and what the ensembles promise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from client.errors import RequestRejected
from client.servers.calls import InferRequest
from client.servers.connection import TritonConnection
from lipsync_core.musetalk.boxes import original_box, with_margin
from lipsync_core.musetalk.windows import window_start
from lipsync_core.serving.server import EmbeddedServer
from tests.closeness import assert_close
from tests.data.wav2lip_goldens import astronaut
from tests.musetalk_original import original_windows

pytest.importorskip("torch", reason="no torch; run: make test")

pytestmark = [pytest.mark.server, pytest.mark.long]

BRIDGE_OF_68 = 29
FLOAT_ERROR = 1e-4  # of the largest value: float32 sums in another order
SOURCE_FRAMES, FRAMES_PER_CALL = 12, 4
PICTURE = np.ascontiguousarray(astronaut()[:256, 96:352])
TOKENS = np.random.default_rng(0).normal(size=(2, 50, 384)).astype(np.float32)
BOXES = np.array([[80, 60, 180, 190], [82, 60, 180, 191]], np.float32)
JAW, MOUTH = (np.array([name], object) for name in (b"jaw", b"mouth"))


@pytest.fixture
def musetalk(musetalk_server: EmbeddedServer) -> Iterator[TritonConnection]:
    with TritonConnection(musetalk_server.url) as opened:
        yield opened


@pytest.fixture(scope="module")
def goldens(reference_dir: Path) -> dict[str, np.ndarray]:
    return dict(np.load(reference_dir / "musetalk" / "e2e_small.npz"))


def ask(connection: TritonConnection, model: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    return connection.infer(InferRequest(model, inputs))


def golden_tokens(connection: TritonConnection, goldens: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the speech's features, and where the original's windows begin."""
    audio = goldens["pcm"].astype(np.float32) / 32768
    features = ask(connection, "whisper_padded_features", audio=audio)["audio_features"]
    starts = original_windows(len(audio), 25)
    assert starts.tolist() == [window_start(index, 25) for index in range(len(starts))]
    return features, starts.astype(np.int32)


def golden_labels(reference_dir: Path) -> list[np.ndarray]:
    """Return the label map of each output frame: moved by -4, 0 and 4 pixels in turn."""
    plain = np.load(reference_dir / "musetalk" / "parse.npz")["labels"][0]
    return [np.roll(plain, 4 * (-1, 0, 1)[index % 3], axis=1) for index in range(20)]


def golden_latents(connection: TritonConnection, goldens: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes and latents of the source frames, with the golden's noise."""
    frames = np.ascontiguousarray(goldens["frames"][..., ::-1])
    boxes = np.array([original_box(points, BRIDGE_OF_68, np.zeros(4, int)) for points in goldens["points"]])
    assert np.array_equal(boxes, goldens["boxes"])
    boxes = with_margin(boxes, frames.shape[1]).astype(np.float32)
    latents = []
    for begin in range(0, SOURCE_FRAMES, FRAMES_PER_CALL):
        rows = slice(begin, begin + FRAMES_PER_CALL)
        images = ask(connection, "musetalk_crop", frames=frames[rows], boxes=boxes[rows])["images"]
        moments = ask(connection, "vae_encoder", images=images)["moments"]
        noise = goldens["noise"][2 * begin : 2 * (begin + FRAMES_PER_CALL)]
        latents.append(ask(connection, "musetalk_latents", moments=moments, noise=noise)["face_latents"])
    return boxes, np.concatenate(latents)


def test_musetalk_golden_frames_hold(
    musetalk: TritonConnection, goldens: dict[str, np.ndarray], reference_dir: Path
) -> None:
    """From frames and samples to the original's frames: 99.9 % of the values within one level."""
    features, starts = golden_tokens(musetalk, goldens)
    boxes, latents = golden_latents(musetalk, goldens)
    assert_close(latents, goldens["latents"], rel=FLOAT_ERROR, what="latents")
    frames, labels = goldens["frames"][..., ::-1], golden_labels(reference_dir)
    there_and_back = [*range(SOURCE_FRAMES), *reversed(range(SOURCE_FRAMES))]
    synced = []
    for begin in range(0, len(starts), FRAMES_PER_CALL):
        numbers = range(begin, min(begin + FRAMES_PER_CALL, len(starts)))
        sources = [there_and_back[number] for number in numbers]
        answer = ask(
            musetalk,
            "musetalk_prepared",
            frames=np.ascontiguousarray(frames[sources]),
            face_boxes=boxes[sources],
            face_latents=latents[sources],
            labels=np.stack([labels[number] for number in numbers]),
            audio_features=features,
            window_starts=starts[list(numbers)],
            original=np.array([True]),
        )
        synced.append(answer["synced_frames"])
    difference = np.abs(np.concatenate(synced)[..., ::-1].astype(int) - goldens["out_frames"])
    assert (difference <= 1).mean() >= 0.999
    assert (difference > 0).mean() <= 0.002


def test_musetalk_golden_tokens_hold(
    musetalk: TritonConnection, goldens: dict[str, np.ndarray], reference_dir: Path
) -> None:
    """Whisper's states after the final norm; a minute of segments of 30 s by themselves."""
    features, starts = golden_tokens(musetalk, goldens)
    tokens = ask(musetalk, "musetalk_tokens", audio_features=features, window_starts=starts[[0, 1, 10, 19]])
    assert_close(tokens["face_tokens"], goldens["audio_tokens"], rel=FLOAT_ERROR)
    long = np.load(reference_dir / "musetalk" / "audio.npz")
    samples = np.resize(long["pcm"], 560_000).astype(np.float32) / 32768
    features = ask(musetalk, "whisper_padded_features", audio=samples)["audio_features"]
    assert len(features) == 1750
    starts = np.array([window_start(frame, 25) for frame in long["long_frames"].tolist()], np.int32)
    tokens = ask(musetalk, "musetalk_tokens", audio_features=features, window_starts=starts)["face_tokens"]
    assert_close(tokens - long["pe"], long["long_chunks"].astype(np.float32), rel=1e-3)  # the golden is float16


def test_musetalk_parts_of_the_ensemble_give_what_it_gives(musetalk: TritonConnection) -> None:
    """Analysed before, frames are the same to the last bit."""
    frames = np.stack([PICTURE, np.roll(PICTURE, 2, axis=1)])
    whole = ask(musetalk, "musetalk", frames=frames, boxes=BOXES, audio_tokens=TOKENS)
    crop = ask(musetalk, "musetalk_crop", frames=frames, boxes=BOXES)
    moments = ask(musetalk, "vae_encoder", images=crop["images"])["moments"]
    latents = ask(musetalk, "musetalk_latents", moments=moments)["face_latents"]
    places = {name: crop[name] for name in ("face_boxes", "face_landmarks")}
    labels = ask(musetalk, "musetalk_parse", frames=frames, **places)["labels"]
    prepared = ask(
        musetalk, "musetalk_prepared", frames=frames, **places, face_latents=latents, labels=labels, audio_tokens=TOKENS
    )
    assert np.array_equal(prepared["synced_frames"], whole["synced_frames"])
    assert whole["strengths"].tolist() == [1, 1]


def test_musetalk_rows_do_not_depend_on_their_company(musetalk: TritonConnection) -> None:
    """Alone, together, in another order: a float32 sum at most, one level."""
    frames = np.stack([PICTURE, np.roll(PICTURE, 2, axis=1)])
    numbers = np.array([5, 9], np.int32)
    inputs = {"frames": frames, "boxes": BOXES, "audio_tokens": TOKENS, "frame_numbers": numbers}

    def synced(rows: list[int]) -> np.ndarray:
        return ask(musetalk, "musetalk", **{name: values[rows] for name, values in inputs.items()})["synced_frames"]

    together = synced([0, 1]).astype(int)
    assert np.array_equal(together, synced([0, 1]))
    assert np.abs(synced([1, 0])[::-1] - together).max() <= 1
    assert np.abs(np.concatenate([synced([0]), synced([1])]) - together).max() <= 1


def test_musetalk_shuffled_rows_are_identical(musetalk: TritonConnection) -> None:
    """To the last bit on the processors tried; other kernels may sum in another order."""
    frames = np.stack([np.roll(PICTURE, shift, axis=1) for shift in (0, 1, 2, 3)])
    numbers, tokens = np.array([5, 9, 2, 7], np.int32), np.concatenate([TOKENS, TOKENS[::-1]])
    inputs = {"frames": frames, "boxes": np.repeat(BOXES[:1], 4, axis=0), "audio_tokens": tokens}

    def synced(rows: list[int]) -> np.ndarray:
        chosen = {name: values[rows] for name, values in inputs.items()}
        return ask(musetalk, "musetalk", **chosen, frame_numbers=numbers[rows])["synced_frames"]

    whole = synced([0, 1, 2, 3])
    for order in ([3, 1, 0, 2], [2, 3, 1, 0]):
        assert np.array_equal(synced(order), whole[order])


def test_musetalk_without_boxes_the_largest_face_speaks(musetalk: TritonConnection) -> None:
    """A frame without a face stays and says so; the mouth alone changes less than the jaw."""
    frames = np.stack([PICTURE, np.full_like(PICTURE, 90)])
    changed = {}
    for name, area in (("jaw", JAW), ("mouth", MOUTH)):
        answer = ask(musetalk, "musetalk", frames=frames, audio_tokens=TOKENS, mouth_area=area)
        assert answer["strengths"][1] == 0
        changed[name] = (answer["synced_frames"] != frames).any(axis=-1).sum(axis=(1, 2))
        assert changed[name][1] == 0
    assert changed["mouth"][0] > 0


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "expected audio_tokens, or audio_features with window_starts, got neither"),
        ({"audio_tokens": TOKENS[:1]}, "audio_tokens: expected one row for each of 2 frames, got 1"),
        ({"audio_tokens": TOKENS, "mouth_area": np.array([b"chin"], object)}, "mouth_area: expected one of mouth"),
        ({"audio_tokens": TOKENS, "frames": np.zeros((17, 64, 64, 3), np.uint8)}, "frames: expected at most 16"),
        ({"audio_tokens": TOKENS, "mouth_area": MOUTH}, "landmarks: expected those of every face"),
    ],
)
def test_musetalk_inputs_that_do_not_fit_fail_with_their_name(
    musetalk: TritonConnection, inputs: dict[str, np.ndarray], message: str
) -> None:
    """The request is refused."""
    given = {"frames": np.stack([PICTURE] * 2), "boxes": BOXES}
    with pytest.raises(RequestRejected, match=message):
        ask(musetalk, "musetalk", **{**given, **inputs})
