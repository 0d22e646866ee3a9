from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="no torch; run: make test")
pytest.importorskip("diffusers", reason="no diffusers; run: make test")

from export.latentsync.network import UNET  # noqa: E402  (imports torch)
from export.latentsync.unet import LatentSyncUNet, ShallowUNet  # noqa: E402
from export.shared.arguments import Size  # noqa: E402
from export.shared.network import Network, checkpoint_shapes, load_synthetic  # noqa: E402
from export.shared.onnx_graph import open_session  # noqa: E402
from export.shared.synthetic_weights import scaled_weights  # noqa: E402
from export.vae.network import VAE  # noqa: E402
from export.wav2lip.networks import DETECTOR, GENERATOR  # noqa: E402
from export.whisper.network import WHISPER  # noqa: E402
from tests.closeness import assert_close  # noqa: E402
from tests.synthetic_networks import LATENTSYNC_UNET, exported_models, exported_network  # noqa: E402
from tests.synthetic_networks import VAE as VAE_EXPORT  # noqa: E402
from tests.synthetic_networks import WHISPER as WHISPER_EXPORT  # noqa: E402

BOUND = 1e-4  # of the output's standard deviation: float32 sums in another order; measured 6e-6, 4e-6 over 20 steps
SHALLOW_EVERY = 3


@pytest.fixture(scope="module")
def latentsync_dir(reference_dir: Path) -> Path:
    return reference_dir / "latentsync"


@pytest.fixture(scope="module")
def unet() -> LatentSyncUNet:
    network = load_synthetic(UNET, size="small")
    assert isinstance(network, LatentSyncUNet)
    return network


@pytest.fixture(scope="module")
def sessions() -> dict[str, onnxruntime.InferenceSession]:
    return {model: open_session(exported_network(model)) for model in LATENTSYNC_UNET.models}


@pytest.fixture(scope="module")
def other_sessions() -> dict[str, onnxruntime.InferenceSession]:
    """Those of the networks around the UNet."""
    return {model: open_session(exported_network(model)) for model in exported_models((VAE_EXPORT, WHISPER_EXPORT))}


Run = dict[str, np.ndarray]


class Networks:
    """The UNet and its shallow step behind one interface: torch or ONNX Runtime."""

    def __init__(self, unet: LatentSyncUNet, sessions: dict[str, onnxruntime.InferenceSession] | None = None) -> None:
        self.modules = {"latentsync_unet": unet, "latentsync_unet_shallow": ShallowUNet(unet)}
        self.sessions = sessions

    def __call__(self, model: str, **inputs: np.ndarray) -> list[np.ndarray]:
        if self.sessions:
            return self.sessions[model].run(None, inputs)
        with torch.inference_mode():
            outputs = self.modules[model](**{name: torch.from_numpy(value) for name, value in inputs.items()})
        return [value.numpy() for value in (outputs if isinstance(outputs, tuple) else (outputs,))]


# The export of the UNet takes minutes.
@pytest.fixture(scope="module", params=["torch", pytest.param("onnx", marks=pytest.mark.long)])
def networks(unet: LatentSyncUNet, request: pytest.FixtureRequest) -> Networks:
    return Networks(unet, request.getfixturevalue("sessions") if request.param == "onnx" else None)


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / expected.std())


def chunk(sample: np.ndarray, audio: np.ndarray, timestep: float, *, branches: int = 1) -> Run:
    batch, frames = sample.shape[0], sample.shape[2]
    return {
        "sample": np.ascontiguousarray(sample),
        "timestep": np.full((batch, branches), timestep, np.float32),
        "audio_tokens": np.ascontiguousarray(audio.reshape(batch, -1, 50, 384)[:, :frames]),
    }


KEY_FILES: dict[str, tuple[Network, Size]] = {
    "keys_unet_full.json": (UNET, "full"),
    "keys_unet_small.json": (UNET, "small"),
    "keys_vae_small.json": (VAE, "small"),
    "keys_whisper_tiny_encoder.json": (WHISPER, "full"),
}


@pytest.mark.parametrize("file", KEY_FILES)
def test_keys_and_shapes_are_the_originals(latentsync_dir: Path, file: str) -> None:
    """Every key used and none left over, so that checkpoints load strictly."""
    network, size = KEY_FILES[file]
    expected = {key: tuple(shape) for key, shape in json.loads((latentsync_dir / file).read_text())["keys"].items()}
    assert checkpoint_shapes(network, network.build(size)) == expected


RECIPE_SUMS: dict[
    str, tuple[Network, Size, int, float, float]
] = {  # RECIPE.md: number of values, their sum, the sum of their squares
    "small UNet": (UNET, "small", 8_823_268, 14147.1904, 74671.3538),
    "Whisper": (WHISPER, "full", 7_632_384, 3535.5991, 17921.8620),
    "small VAE": (VAE, "small", 1_028_935, 1931.6911, 4271.0022),
}


@pytest.mark.parametrize("name", RECIPE_SUMS)
def test_synthetic_weights_are_the_recipes(name: str) -> None:
    """Their checksums."""
    network, size, *expected = RECIPE_SUMS[name]
    values = scaled_weights(checkpoint_shapes(network, network.build(size))).values()
    count = sum(value.size for value in values)
    total = sum(float(value.sum(dtype=np.float64)) for value in values)
    squares = sum(float(np.square(value, dtype=np.float64).sum()) for value in values)
    assert [count, total, squares] == pytest.approx(expected, rel=0, abs=1e-3)  # printed with four digits


def test_another_seed_gives_other_weights() -> None:
    """It shifts the recipe's own."""
    first, second = (scaled_weights({"conv_in.bias": (3,)}, shift)["conv_in.bias"] for shift in (0, 1))
    assert not np.array_equal(first, second)


def test_the_golden_unet_holds(networks: Networks, latentsync_dir: Path) -> None:
    """The original's output at four timesteps, and without audio."""
    goldens = np.load(latentsync_dir / "unet_small.npz")
    for timestep, expected in zip(goldens["timesteps"], goldens["out"], strict=True):
        found = networks("latentsync_unet", **chunk(goldens["x"], goldens["audio"], timestep))[0]
        assert relative(found[:, 0], expected) <= BOUND
    silent = networks("latentsync_unet", **chunk(goldens["x"], np.zeros_like(goldens["audio"]), 501))[0]
    assert relative(silent[:, 0], goldens["out_null_audio_t501"]) <= BOUND


def test_the_second_branch_hears_silence(networks: Networks, latentsync_dir: Path) -> None:
    """Both of the original's outputs, with the speech and without, from one call that is given the speech alone."""
    goldens = np.load(latentsync_dir / "unet_small.npz")
    place = goldens["timesteps"].tolist().index(501)
    found, _ = networks("latentsync_unet", **chunk(goldens["x"], goldens["audio"], 501, branches=2))
    expected = np.stack([goldens["out"][place], goldens["out_null_audio_t501"]], axis=1)
    assert relative(found, expected) <= BOUND


def test_the_golden_unet_holds_for_other_sizes(networks: Networks, latentsync_dir: Path) -> None:
    """A last chunk of ten frames, of one frame, and twice the resolution, from the same graph."""
    goldens = np.load(latentsync_dir / "unet_small.npz")
    for frames, name in ((10, "out_10frames_t501"), (1, "out_1frame_t501")):
        found = networks("latentsync_unet", **chunk(goldens["x"][:, :, :frames], goldens["audio"], 501))[0]
        assert relative(found[:, 0], goldens[name]) <= BOUND
    found = networks("latentsync_unet", **chunk(goldens["x16"], goldens["audio"][:16], 501))[0]
    assert relative(found[:, 0], goldens["out16_t501"]) <= BOUND


@pytest.mark.parametrize("branches", [1, 2])
def test_samples_of_a_batch_carry_their_own_timesteps(networks: Networks, latentsync_dir: Path, branches: int) -> None:
    """Chunks of different jobs meet in one batch; neither changes the other."""
    goldens = np.load(latentsync_dir / "unet_small.npz")
    inputs = chunk(goldens["x"], goldens["audio"], 0)
    inputs["timestep"] = np.repeat(goldens["timesteps"][:2, None].astype(np.float32), branches, axis=1)
    found = networks("latentsync_unet", **inputs)[0]
    for i in range(2):
        assert relative(found[i, 0], goldens["out"][i, i]) <= BOUND


@pytest.mark.parametrize("branches", [1, 2])
def test_the_shallow_step_of_fresh_features_is_the_whole_step(
    networks: Networks, latentsync_dir: Path, branches: int
) -> None:
    """It differs only by what it is given from an earlier step."""
    goldens = np.load(latentsync_dir / "unet_small.npz")
    inputs = chunk(goldens["x"], goldens["audio"], 261, branches=branches)
    noise_pred, deep_features = networks("latentsync_unet", **inputs)
    assert relative(networks("latentsync_unet_shallow", **inputs, deep_features=deep_features)[0], noise_pred) <= BOUND


def test_the_golden_probes_hold(unet: LatentSyncUNet, latentsync_dir: Path) -> None:
    """Where a difference would begin: every block's value at one place, by the original's names."""
    goldens = np.load(latentsync_dir / "unet_small.npz")
    names = [str(name) for name in goldens["block_names"]]
    found: dict[str, np.ndarray] = {}

    def probe(name: str, output: object) -> None:
        value = output[0] if isinstance(output, tuple) else getattr(output, "sample", output)
        assert isinstance(value, torch.Tensor)
        found[name] = value[0, :16].numpy() if value.ndim == 2 else value[:16, 0, 0, 0].numpy()

    modules = dict(unet.network.named_modules())
    hooks = [
        modules[name].register_forward_hook(lambda _module, _inputs, output, name=name: probe(name, output))
        for name in names
        if name in modules
    ]
    with torch.inference_mode():
        unet(**{name: torch.from_numpy(value) for name, value in chunk(goldens["x"], goldens["audio"], 501).items()})
    for hook in hooks:
        hook.remove()
    assert len(found) == len(names)
    for name, expected in zip(names, goldens["block_probe_t501"], strict=True):
        assert_close(found[name], expected, rel=BOUND, what=name)


@pytest.mark.parametrize(("steps", "guidance_scale"), [(20, 1.5), (5, 1.0)])
@pytest.mark.parametrize("cached", [False, True])
def test_golden_loops_hold(
    networks: Networks, latentsync_dir: Path, steps: int, guidance_scale: float, cached: bool
) -> None:
    """The original's latents after every step, without and with DeepCache."""
    inputs = np.load(latentsync_dir / "ddim_small.npz")
    goldens = np.load(latentsync_dir / ("deepcache_small.npz" if cached else "ddim_small.npz"))
    name = f"{steps}_g{'1p5' if guidance_scale > 1 else '1p0'}"
    found = denoise(networks, inputs, steps, guidance_scale, SHALLOW_EVERY if cached else 1)
    assert len(found) == len(goldens[f"steps_{name}"])
    for latents, expected in zip(found, goldens[f"steps_{name}"], strict=True):
        assert relative(latents, expected) <= BOUND
    assert np.array_equal(goldens[f"steps_{name}"][-1], goldens[f"final_{name}"])


def denoise(networks: Networks, inputs: Run, steps: int, guidance_scale: float, interval: int) -> list[np.ndarray]:
    """The loop in its plainest form, with diffusers' own scheduler; the server's has its own tests."""
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    scheduler.set_timesteps(steps)
    latents = np.repeat(inputs["noise"], 16, axis=2)
    constants = np.concatenate([inputs["mask"], inputs["masked"], inputs["ref"]], axis=1)
    guided = guidance_scale > 1
    after, features = [], np.empty(0)
    for index, timestep in enumerate(scheduler.timesteps):
        sample = np.concatenate([latents, constants], axis=1)
        step = chunk(sample, inputs["audio"], float(timestep), branches=2 if guided else 1)
        if index % interval == 0:
            noise_pred, features = networks("latentsync_unet", **step)
        else:
            (noise_pred,) = networks("latentsync_unet_shallow", **step, deep_features=features)
        speech, silence = noise_pred[:, 0], noise_pred[:, -1]
        noise = silence + guidance_scale * (speech - silence)  # without guidance both are the same
        moved = scheduler.step(torch.from_numpy(noise), timestep, torch.from_numpy(latents)).prev_sample
        latents = moved.numpy()
        after.append(latents)
    return after


@pytest.mark.long  # 6 GB and a minute
def test_the_golden_full_size_unet_holds(latentsync_dir: Path) -> None:
    """The original's output at its own size."""
    goldens = np.load(latentsync_dir / "unet_full.npz")
    full = load_synthetic(UNET)
    assert isinstance(full, LatentSyncUNet)
    networks = Networks(full)
    inputs = chunk(goldens["x"], goldens["audio"], float(goldens["timestep"]), branches=2)
    found = networks("latentsync_unet", **inputs)[0]
    assert relative(found, np.stack([goldens["out"], goldens["out_null_audio"]], axis=1)) <= BOUND


@pytest.fixture(params=["torch", "onnx"])
def whisper_states(request: pytest.FixtureRequest) -> object:
    if request.param == "torch":
        module = load_synthetic(WHISPER)
        return lambda mel: module(torch.from_numpy(mel))[0].numpy()
    session = request.getfixturevalue("other_sessions")["whisper_encoder"]
    return lambda mel: session.run(None, {"mel": mel})[0]


def test_the_golden_whisper_states_hold(whisper_states: object, latentsync_dir: Path) -> None:
    """All five states of 9.6 s, the tail of the segment filled with the value 0."""
    goldens = np.load(latentsync_dir / "whisper.npz")
    mel = np.zeros((1, 80, 3000), np.float32)
    mel[0, :, : goldens["mel"].shape[1]] = goldens["mel"]
    states = whisper_states(mel)  # type: ignore[operator]
    assert states.shape == (1, 1500, 5, 384)
    assert_close(states[0, :480], goldens["feat"], rel=BOUND)  # states up to 30; measured 3e-7


@pytest.mark.parametrize("kind", ["torch", "onnx"])
def test_the_golden_vae_holds(
    kind: str, other_sessions: dict[str, onnxruntime.InferenceSession], latentsync_dir: Path
) -> None:
    """The original pipeline's decoded faces from its latents, kept in half precision."""
    goldens = np.load(latentsync_dir / "pipeline_small.npz")
    latents = goldens["final_latents"][0].transpose(1, 0, 2, 3)[:16] / np.float32(0.18215)
    found = vae_model("vae_decoder", kind, other_sessions, latents=np.ascontiguousarray(latents))
    expected = goldens["decoded"][:16].astype(np.float32)
    assert_close(found, expected, rel=2 * float(np.finfo(np.float16).eps))


def test_the_vae_encoder_is_the_whole_vaes(other_sessions: dict[str, onnxruntime.InferenceSession]) -> None:
    """Its moments are what diffusers' own encode gives."""
    vae = load_synthetic(VAE, size="small")
    images = np.random.default_rng(0).uniform(-1, 1, (3, 3, 64, 48)).astype(np.float32)
    with torch.inference_mode():
        expected = vae.encode(torch.from_numpy(images)).latent_dist.parameters.numpy()
    for kind in ("torch", "onnx"):
        assert relative(vae_model("vae_encoder", kind, other_sessions, images=images), expected) <= BOUND


def vae_model(
    model: str, kind: str, sessions: dict[str, onnxruntime.InferenceSession], **inputs: np.ndarray
) -> np.ndarray:
    if kind == "onnx":
        return sessions[model].run(None, inputs)[0]
    served = next(served for served in VAE.models(load_synthetic(VAE, size="small")) if served.name == model)
    with torch.inference_mode():
        return served.module(**{name: torch.from_numpy(value) for name, value in inputs.items()}).numpy()


@pytest.mark.parametrize("network", [UNET, VAE, WHISPER, GENERATOR, DETECTOR], ids=lambda network: network.title)
def test_every_network_has_its_licence(network: Network) -> None:
    """It is printed where real weights are loaded."""
    assert network.license_line.startswith("licence of the weights: ")
