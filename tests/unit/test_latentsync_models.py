from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="no torch; run: make test")
pytest.importorskip("diffusers", reason="no diffusers; run: make test")

from lipsync_core.latentsync.composite import composite_faces  # noqa: E402
from lipsync_core.latentsync.diffusion import draw_noise, sync_faces  # noqa: E402
from lipsync_core.latentsync.options import DiffusionOptions  # noqa: E402
from lipsync_core.mouth import visible_mouths  # noqa: E402
from lipsync_core.reasons import Reason  # noqa: E402
from lipsync_core.weights import WeightsNote, note_path, write_note  # noqa: E402
from tests import fake_triton  # noqa: E402
from tests.unit.latentsync_fakes import FakeNetworks  # noqa: E402
from tests.unit.latentsync_served import (  # noqa: E402
    FRAMES,
    MATRICES,
    SPEECH,
    TOKENS,
    Calls,
    answer,
    ask,
    error_of,
)

torch = pytest.importorskip("torch", reason="no torch; run: make test")


pytest.importorskip("diffusers", reason="no diffusers; run: make test")


FACES = np.random.default_rng(2).integers(0, 256, (3, 64, 64, 3), np.uint8)
NO_LANDMARKS = np.full((3, 468, 3), np.nan, np.float32)


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


def judge(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Answer as visible_mouths does."""
    judged = visible_mouths(inputs["frames"], inputs["face_landmarks"])
    return {"mouth_strengths": judged.strengths, "mouth_reasons": judged.reasons}


def job(networks: FakeNetworks, seen: list[str] | None = None) -> Calls:
    """Answer as all models that latentsync calls do; `seen` gets what reached the first two."""

    def align(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if seen is not None:
            seen.extend(inputs)
        count = len(inputs["frames"])
        unknown = {"face_landmarks": NO_LANDMARKS[:count]}
        return {"faces": FACES[: count - 1], "affine_matrices": MATRICES[:count], **unknown}

    def tokens(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if seen is not None:
            seen.extend(inputs)
        return {"face_tokens": TOKENS[: np.isfinite(inputs["affine_matrices"][:, 0, 0]).sum()]}

    def composite(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"synced_frames": as_bytes(inputs["synced_faces"])}

    return {
        **served(networks),
        "visible_mouths": judge,
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
        return {"faces": FACES[:2], "affine_matrices": MATRICES, "face_landmarks": NO_LANDMARKS}

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
        "latentsync_align": lambda _: {
            "faces": FACES[:0],
            "affine_matrices": MATRICES[1:2],
            "face_landmarks": NO_LANDMARKS[1:2],
        },
        "visible_mouths": judge,
    }
    found = ask("latentsync", calls, frames=FRAMES[1:2], audio=SPEECH)
    assert np.array_equal(found["synced_frames"], FRAMES[1:2])
    assert (found["strengths"].tolist(), found["reasons"].tolist()) == ([0], [Reason.NO_FACE])


def test_faces_known_by_their_points_alone_are_drawn_unjudged() -> None:
    """Who gives alignment points gets the original's result, whatever is before the mouth."""
    found = ask("latentsync", job(FakeNetworks()), frames=FRAMES)
    assert found["strengths"].tolist() == [1, 0, 1]
    assert found["reasons"].tolist() == [Reason.CHANGED, Reason.NO_FACE, Reason.CHANGED]


def test_mouths_that_cannot_be_seen_need_no_network() -> None:
    """Their frames come back, with the reason."""
    networks = FakeNetworks()
    outside = np.full((3, 468, 3), -50, np.float32)
    calls = dict(job(networks))
    aligned = {"faces": FACES[:2], "affine_matrices": MATRICES, "face_landmarks": outside}
    found = ask("latentsync", {**calls, "latentsync_align": lambda _: aligned}, frames=FRAMES)
    assert np.array_equal(found["synced_frames"], FRAMES)
    assert found["reasons"].tolist() == [Reason.OUTSIDE] * 3
    assert not networks.calls


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
    strengths = np.array([1, 0, 1], np.float32)
    faces = {"affine_matrices": MATRICES, "synced_faces": drawn, "face_strengths": strengths}
    synced = ask("latentsync_composite", frames=FRAMES, **faces)["synced_frames"]
    whole = composite_faces(FRAMES[[0, 2]], drawn, MATRICES[[0, 2]])
    assert np.array_equal(synced[[0, 2]], whole)
    assert np.array_equal(synced[1], FRAMES[1])
    faces["face_strengths"] = np.array([0, 1, 0.5], np.float32)
    faded = ask("latentsync_composite", frames=FRAMES, **faces)["synced_frames"]
    assert np.array_equal(faded[0], FRAMES[0])
    assert np.abs(faded[2] - (whole[1].astype(float) + FRAMES[2]) / 2).max() <= 1
    faces["synced_faces"] = drawn[:1]
    error = error_of("latentsync_composite", frames=FRAMES, **faces)
    assert "synced_faces: expected 2, one for each matrix, got 1" in error.message()
