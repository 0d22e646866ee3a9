from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="no torch; run: make test")
pytest.importorskip("diffusers", reason="no diffusers; run: make test")

from lipsync_core import face  # noqa: E402
from lipsync_core.latentsync import windows  # noqa: E402
from lipsync_core.latentsync.alignment import affine_matrices, align_faces, running_bias  # noqa: E402
from lipsync_core.latentsync.composite import composite_faces  # noqa: E402
from lipsync_core.latentsync.diffusion import draw_noise, sync_faces  # noqa: E402
from lipsync_core.latentsync.options import DiffusionOptions  # noqa: E402
from lipsync_core.weights import WeightsNote, note_path, write_note  # noqa: E402
from lipsync_core.whisper.mel import cut_segments, log_mel, normalise, segment_part  # noqa: E402
from tests import fake_triton  # noqa: E402
from tests.unit.latentsync_fakes import FakeNetworks  # noqa: E402
from tests.unit.test_latentsync_faces import PHOTO, POINTS  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"
NO_FACE = np.full_like(POINTS, np.nan)
FRAMES = np.repeat(PHOTO[None], 3, axis=0)
THREE_POINTS = np.stack([POINTS, NO_FACE, POINTS + 1])
MATRICES = affine_matrices(THREE_POINTS, running_bias(THREE_POINTS), 256)
SPEECH = np.random.default_rng(0).normal(0, 0.1, 16_000 * 31).astype(np.float32)
FEATURES = np.random.default_rng(1).standard_normal((20, 5, 384), np.float32)
FACES = np.random.default_rng(2).integers(0, 256, (3, 64, 64, 3), np.uint8)
TOKENS = np.random.default_rng(3).standard_normal((3, 50, 384), np.float32)

Calls = Mapping[str, Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]]


def answer(
    name: str, request: fake_triton.Request, calls: Calls | None = None, repository: Path = Path("/nowhere")
) -> Any:
    """Load a model into the fake and send it one request."""
    fake_triton.install(calls)
    model = fake_triton.load_module(REPOSITORY / name / "1" / "model.py", f"{name}_model").TritonPythonModel()
    model.initialize(fake_triton.arguments((REPOSITORY / name / "config.pbtxt").read_text(), name, repository / name))
    return model.execute([request])[0]


def ask(
    name: str, calls: Calls | None = None, repository: Path = Path("/nowhere"), **inputs: np.ndarray
) -> dict[str, np.ndarray]:
    response = answer(name, fake_triton.Request(inputs), calls, repository)
    assert not response.has_error(), response.error().message()
    return {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}


def error_of(name: str, calls: Calls | None = None, **inputs: np.ndarray) -> fake_triton.TritonError:
    error: fake_triton.TritonError = answer(name, fake_triton.Request(inputs), calls).error()
    return error


def served(networks: FakeNetworks) -> Calls:
    """Answer as the models of the networks do."""

    def unet(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        noise_pred, deep_features = networks.unet(*tensors(inputs), deep=True)
        assert deep_features is not None
        return {"noise_pred": noise_pred.numpy(), "deep_features": deep_features.numpy()}

    def tensors(inputs: dict[str, np.ndarray]) -> list[torch.Tensor]:
        return [torch.from_numpy(array) for array in inputs.values()]

    return {
        "vae_encoder": lambda inputs: {"moments": networks.encode(*tensors(inputs)).numpy()},
        "vae_decoder": lambda inputs: {"decoded": networks.decode(*tensors(inputs)).numpy()},
        "latentsync_unet": unet,
        "latentsync_unet_shallow": lambda inputs: {"noise_pred": networks.unet_shallow(*tensors(inputs)).numpy()},
    }


def test_a_speech_becomes_segments() -> None:
    """By itself the whole; with the optional inputs a part of a longer one, on that one's floor."""
    columns = log_mel(SPEECH)
    mel, counts = cut_segments(normalise(columns, float(columns.max())))
    whole = ask("whisper_mel", audio=SPEECH)
    assert np.array_equal(whole["mel"], mel)
    assert whole["position_counts"].tolist() == counts.tolist() == [1500, 50]
    part = segment_part(1, len(SPEECH))
    options = {
        "first_mel_frame": np.array([part.first_mel_frame], np.int32),
        "mel_frame_count": np.array([part.mel_frame_count], np.int32),
        "log_mel_peak": columns.max(keepdims=True).reshape(1),
    }
    assert np.array_equal(ask("whisper_mel", audio=SPEECH[part.samples], **options)["mel"], mel[1:])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"audio": SPEECH[:300]}, "audio: expected at least 320 samples"),
        ({"audio": np.tile(SPEECH, 8)}, "audio: expected at most 240 s in one request, got 248.0 s"),
        ({"audio": SPEECH, "log_mel_peak": np.array([np.nan], np.float32)}, "log_mel_peak: expected a finite number"),
        ({"audio": SPEECH, "first_mel_frame": np.array([3100], np.int32)}, "expected mel frames within 0 to 3100"),
    ],
)
def test_whisper_mel_fails_on_audio_that_does_not_fit(inputs: dict[str, np.ndarray], message: str) -> None:
    """What is wrong is named."""
    error = error_of("whisper_mel", **inputs)
    assert message in error.message()
    assert error.code() == fake_triton.TritonError.INVALID_ARG


def test_states_are_trimmed_to_what_counts() -> None:
    """And joined."""
    states = np.random.default_rng(0).random((2, 1500, 5, 384), np.float32)
    counts = np.array([1500, 7], np.int32)
    trimmed = ask("whisper_trim", states=states, position_counts=counts)["audio_features"]
    assert np.array_equal(trimmed, np.concatenate([states[0], states[1, :7]]))


def test_given_points_are_aligned() -> None:
    """One face fewer than frames where one has none; with given biases a chunk is what the whole clip gives."""
    found = ask("latentsync_align", frames=FRAMES, alignment_points=THREE_POINTS)
    assert np.array_equal(found["affine_matrices"], MATRICES, equal_nan=True)
    assert np.array_equal(found["faces"], align_faces(FRAMES[[0, 2]], MATRICES[[0, 2]], 256))
    later = ask(
        "latentsync_align",
        frames=FRAMES[2:],
        alignment_points=THREE_POINTS[2:],
        smoothing_biases=running_bias(THREE_POINTS)[2:],
    )
    assert np.array_equal(later["affine_matrices"][0], MATRICES[2])


def test_faces_have_the_edge_that_is_asked_for() -> None:
    """In pixels; the configuration's own otherwise."""
    asked = {"frames": FRAMES, "alignment_points": THREE_POINTS, "resolution": np.array([512], np.int32)}
    found = ask("latentsync_align", **asked)
    matrices = affine_matrices(THREE_POINTS, running_bias(THREE_POINTS), 512)
    assert np.array_equal(found["affine_matrices"], matrices, equal_nan=True)
    assert found["faces"].shape == (2, 512, 512, 3)


def test_landmarks_become_points() -> None:
    """Given ones, or those of the largest face."""
    landmarks = np.random.default_rng(0).uniform(50, 250, (3, 468, 3)).astype(np.float32)
    landmarks[1] = np.nan
    expected = ask("latentsync_align", frames=FRAMES, alignment_points=face.alignment_points(landmarks))
    found = {"largest_face": lambda inputs: {"face_landmarks": landmarks[: len(inputs["frames"])]}}
    for given in (
        ask("latentsync_align", frames=FRAMES, landmarks=landmarks),
        ask("latentsync_align", found, frames=FRAMES),
    ):
        assert np.array_equal(given["faces"], expected["faces"])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"frames": FRAMES[:0]}, "frames: expected at least one frame with pixels, got "),
        ({"frames": FRAMES[:, :0]}, "frames: expected at least one frame with pixels, got "),
        ({"frames": np.zeros((25, 8, 8, 3), np.uint8)}, "frames: expected at most 24 in a chunk, got 25"),
        ({"frames": FRAMES[:2]}, "alignment_points: expected one row for each of 2 frames, got 3"),
        ({"smoothing_biases": np.zeros((2, 2), np.float32)}, "smoothing_biases: expected one row for each of 3 frames"),
        ({"smoothing_biases": np.full((3, 2), np.nan, np.float32)}, "smoothing_biases: expected finite values"),
        ({"resolution": np.array([300], np.int32)}, "resolution: expected a multiple of 64 up to 512 pixels, got 300"),
        (
            {"resolution": np.array([1024], np.int32)},
            "resolution: expected a multiple of 64 up to 512 pixels, got 1024",
        ),
    ],
)
def test_latentsync_align_fails_on_what_makes_no_chunk(inputs: dict[str, np.ndarray], message: str) -> None:
    """No frames, too many, or rows that do not fit them."""
    error = error_of("latentsync_align", **{"frames": FRAMES, "alignment_points": THREE_POINTS, **inputs})
    assert message in error.message()
    assert error.code() == fake_triton.TritonError.INVALID_ARG


def test_tokens_come_from_what_is_given() -> None:
    """Audio, features or tokens, of the frames with a face alone; without positions a frame takes two."""
    positions = np.array([0, 2, 4], np.int32)
    expected = windows.audio_tokens(FEATURES, positions)[[0, 2]]
    whisper = {"whisper_features": lambda inputs: {"audio_features": FEATURES[: len(inputs["audio"])]}}
    for found in (
        ask("latentsync_tokens", affine_matrices=MATRICES, audio_features=FEATURES),
        ask("latentsync_tokens", affine_matrices=MATRICES, audio_features=FEATURES, audio_positions=positions),
        ask("latentsync_tokens", whisper, affine_matrices=MATRICES, audio=SPEECH),
        ask(
            "latentsync_tokens",
            affine_matrices=MATRICES,
            audio_tokens=windows.audio_tokens(FEATURES, positions),
        ),
    ):
        assert np.array_equal(found["face_tokens"], expected)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "audio: expected audio, audio_features or audio_tokens, got none"),
        ({"audio_features": FEATURES[:0]}, "audio_features: expected at least one position, got none"),
        ({"audio_features": FEATURES, "audio_positions": np.array([0, 2, 99], np.int32)}, "expected 0 to 23"),
        (
            {"audio_features": FEATURES, "audio_positions": np.array([0], np.int32)},
            "audio_positions: expected one row for each of 3 frames",
        ),
        ({"audio_tokens": TOKENS[:1]}, "audio_tokens: expected one row for each of 3 frames, got 1"),
        ({"audio_tokens": TOKENS * np.nan}, "audio_tokens: expected finite values"),
    ],
)
def test_latentsync_tokens_fails_without_fitting_audio(inputs: dict[str, np.ndarray], message: str) -> None:
    """What is missing is named."""
    error = error_of("latentsync_tokens", affine_matrices=MATRICES, **inputs)
    assert message in error.message()
    assert error.code() == fake_triton.TritonError.INVALID_ARG


def job(networks: FakeNetworks, seen: list[str] | None = None) -> Calls:
    """Answer as all models that latentsync calls do; `seen` gets what reached the first two."""

    def align(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if seen is not None:
            seen.extend(inputs)
        return {"faces": FACES[: len(inputs["frames"]) - 1], "affine_matrices": MATRICES[: len(inputs["frames"])]}

    def tokens(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if seen is not None:
            seen.extend(inputs)
        return {"face_tokens": TOKENS[: np.isfinite(inputs["affine_matrices"][:, 0, 0]).sum()]}

    def composite(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"synced_frames": as_bytes(inputs["synced_faces"])}

    return {
        **served(networks),
        "latentsync_align": align,
        "latentsync_tokens": tokens,
        "latentsync_composite": composite,
    }


def expected_frames(options: DiffusionOptions, chunk_index: int = 0) -> np.ndarray:
    noise = draw_noise(options.seed, chunk_index, 2, 64)
    drawn = sync_faces(FACES[:2], TOKENS[:2], FakeNetworks(), options, noise)
    return as_bytes(drawn)


def as_bytes(array: np.ndarray) -> np.ndarray:
    """Let drawn faces pass for frames, to the last bit."""
    return np.ascontiguousarray(array).view(np.uint8)


def test_the_loop_calls_the_networks_as_models() -> None:
    """The same as the pure function, with the request's options."""
    networks = FakeNetworks()
    found = ask(
        "latentsync",
        job(networks),
        frames=FRAMES,
        seed=np.array([5], np.int64),
        chunk_index=np.array([2], np.int32),
        num_inference_steps=np.array([4], np.int32),
        guidance_scale=np.array([2.0], np.float32),
        scheduler=np.array([b"unipc"], np.object_),
        speed=np.array([b"cached"], np.object_),
    )
    expected = expected_frames(DiffusionOptions(4, 2.0, "unipc", "cached", 5), 2)
    assert np.array_equal(found["synced_frames"], expected)
    assert networks.calls.count("unet") == 2


def test_a_request_without_options_takes_the_originals() -> None:
    """20 steps of DDIM, guidance 1.5, seed 1247, nothing cached; and passes on what it got, nothing else."""
    seen: list[str] = []
    found = ask(
        "latentsync",
        job(FakeNetworks(), seen),
        frames=FRAMES,
        audio=SPEECH,
        landmarks=np.zeros((3, 468, 3), np.float32),
    )
    assert np.array_equal(found["synced_frames"], expected_frames(DiffusionOptions(20, 1.5, "ddim", "exact", 1247)))
    assert seen == ["frames", "landmarks", "affine_matrices", "audio"]


def test_faces_are_as_large_as_the_weights_were_trained_on(tmp_path: Path) -> None:
    """What the export noted beside the UNet goes to the alignment; without a note, what the request says, if any."""
    seen: list[dict[str, np.ndarray]] = []

    def align(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        seen.append(inputs)
        return {"faces": FACES[:2], "affine_matrices": MATRICES}

    calls = {**job(FakeNetworks()), "latentsync_align": align}
    asked = {"resolution": np.array([512], np.int32)}
    ask("latentsync", calls, frames=FRAMES)
    ask("latentsync", calls, frames=FRAMES, **asked)
    note_resolution(tmp_path, 512)
    ask("latentsync", calls, tmp_path, frames=FRAMES)
    ask("latentsync", calls, tmp_path, frames=FRAMES, **asked)
    assert [None if inputs.get("resolution") is None else int(inputs["resolution"][0]) for inputs in seen] == [
        None,
        512,
        512,
        512,
    ]


def test_latentsync_fails_on_another_resolution_than_the_weights(tmp_path: Path) -> None:
    """256 weights at 512 would draw badly: said before any work."""
    note_resolution(tmp_path, 256)
    request = fake_triton.Request({"frames": FRAMES, "resolution": np.array([512], np.int32)})
    error = answer("latentsync", request, job(FakeNetworks()), tmp_path).error()
    assert error.code() == fake_triton.TritonError.INVALID_ARG
    assert "resolution: expected 256, which these weights were trained on, got 512. Leave it out" in error.message()


def test_latentsync_fails_to_load_beside_an_unreadable_note(tmp_path: Path) -> None:
    """The note is the export's; what to do is said."""
    note_path(note_resolution(tmp_path, 256)).write_text("large")
    with pytest.raises(ValueError, match="expected a note on weights, got .* Export the network again"):
        ask("latentsync", job(FakeNetworks()), tmp_path, frames=FRAMES)


def note_resolution(repository: Path, resolution: int) -> Path:
    network = repository / "latentsync_unet" / "1" / "model.onnx"
    network.parent.mkdir(parents=True, exist_ok=True)
    network.touch()
    write_note(network, WeightsNote("0" * 64, trained_resolution=resolution))
    return network


def test_given_noise_replaces_the_seeds() -> None:
    """All of it, or a part."""
    noise = draw_noise(9, 1, 2, 64)
    given = {"initial_noise": noise.initial, "masked_noise": noise.masked, "reference_noise": noise.reference}
    found = ask("latentsync", job(FakeNetworks()), frames=FRAMES, **given)["synced_frames"]
    assert np.array_equal(found, expected_frames(DiffusionOptions(seed=9), 1))


def test_a_chunk_without_faces_needs_no_network() -> None:
    """Its frames come back."""
    calls = {
        "latentsync_align": lambda _: {"faces": FACES[:0], "affine_matrices": MATRICES[1:2]},
        "latentsync_tokens": lambda _: {"face_tokens": TOKENS[:0]},
    }
    found = ask("latentsync", calls, frames=FRAMES[1:2], audio=SPEECH)
    assert np.array_equal(found["synced_frames"], FRAMES[1:2])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"num_inference_steps": np.array([0], np.int32)}, "num_inference_steps: expected 1 to 999, got 0"),
        ({"guidance_scale": np.array([0.5], np.float32)}, "guidance_scale: expected a finite number of at least 1"),
        ({"seed": np.array([-1], np.int64)}, "seed: expected 0 to 4294967295, got -1"),
        ({"chunk_index": np.array([-1], np.int32)}, "chunk_index: expected 0 or more, got -1"),
        ({"scheduler": np.array([b"euler"], np.object_)}, "scheduler: expected one of ddim, dpm, unipc, got 'euler'"),
        (
            {"speed": np.array([b"warp"], np.object_)},
            "speed: expected one of exact, cached, fast, preview, got 'warp'",
        ),
        ({"speed": np.array([b"\xff"], np.object_)}, "speed: expected UTF-8 text, got other bytes"),
        ({"initial_noise": np.zeros((4, 4, 4), np.float32)}, "initial_noise: expected"),
    ],
)
def test_latentsync_fails_on_absurd_options(inputs: dict[str, np.ndarray], message: str) -> None:
    """Before any network is asked."""
    networks = FakeNetworks()
    error = error_of("latentsync", job(networks), frames=FRAMES, **inputs)
    assert error.code() == fake_triton.TritonError.INVALID_ARG
    with pytest.raises(ValueError, match=message):
        raise ValueError(error.message())
    assert not networks.calls


def test_latentsync_fails_on_overflow() -> None:
    """As an error of the server, in words that reach the caller."""
    error = error_of("latentsync", job(FakeNetworks(overflow="unet")), frames=FRAMES)
    assert "noise_pred: expected finite values, got NaN or infinity in step 1 of 20" in error.message()
    assert error.code() == fake_triton.TritonError.INTERNAL


def test_latentsync_fails_when_cancelled() -> None:
    """Within one step; the network is not asked again."""
    networks = FakeNetworks()
    request = fake_triton.Request(frames=FRAMES)
    calls = dict(job(networks))
    unet = calls["latentsync_unet"]

    def cancelling_unet(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        request.cancelled = networks.calls.count("unet") == 2
        return unet(inputs)

    error = answer("latentsync", request, {**calls, "latentsync_unet": cancelling_unet}).error()
    assert error.code() == fake_triton.TritonError.CANCELLED
    assert networks.calls.count("unet") == 3


def test_drawn_faces_are_pasted_where_there_are_any() -> None:
    """A frame without a face stays."""
    drawn = np.random.default_rng(0).uniform(-1, 1, (2, 256, 256, 3)).astype(np.float32)
    synced = ask("latentsync_composite", frames=FRAMES, affine_matrices=MATRICES, synced_faces=drawn)["synced_frames"]
    assert np.array_equal(synced[[0, 2]], composite_faces(FRAMES[[0, 2]], drawn, MATRICES[[0, 2]]))
    assert np.array_equal(synced[1], FRAMES[1])
    error = error_of("latentsync_composite", frames=FRAMES, affine_matrices=MATRICES, synced_faces=drawn[:1])
    assert "synced_faces: expected 2, one for each matrix, got 1" in error.message()
