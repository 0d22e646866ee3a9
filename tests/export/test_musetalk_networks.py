from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="no torch; run: make test")
pytest.importorskip("diffusers", reason="no diffusers; run: make test")

from export.musetalk.network import PARSER, UNET  # noqa: E402  (imports torch)
from export.musetalk.unet import MuseTalkUNet, fold_timestep  # noqa: E402
from export.shared.arguments import Size  # noqa: E402
from export.shared.exporter import export_model  # noqa: E402
from export.shared.network import Network, checkpoint_shapes, load_synthetic  # noqa: E402
from export.shared.onnx_graph import open_session  # noqa: E402
from export.vae.network import VAE, VaeDecoder, VaeEncoder  # noqa: E402
from export.whisper.network import WHISPER  # noqa: E402
from lipsync_core.vae.sizes import SCALING_FACTOR  # noqa: E402
from tests.closeness import assert_close  # noqa: E402
from tests.conftest import REPOSITORY  # noqa: E402
from tests.export.musetalk_helpers import BOUND, TRAINING_HEADS, figures_of, run  # noqa: E402
from tests.synthetic_networks import (  # noqa: E402
    MUSETALK_NETWORKS,
    SMALL_MUSETALK,
    TENSORRT_OPERATORS,
    exported_models,
    exported_network,
)

Sessions = dict[str, onnxruntime.InferenceSession]

KINDS = ["torch", pytest.param("onnx", marks=pytest.mark.long)]  # exports take a minute


@pytest.fixture(scope="module")
def musetalk_dir(reference_dir: Path) -> Path:
    return reference_dir / "musetalk"


@pytest.fixture(scope="module")
def unet_goldens(musetalk_dir: Path) -> dict[str, np.ndarray]:
    return dict(np.load(musetalk_dir / "unet_small.npz"))


@pytest.fixture(scope="module")
def small_network() -> torch.nn.Module:
    """The small UNet as it is loaded, its timestep not folded."""
    return load_synthetic(UNET, size="small")


@pytest.fixture(scope="module")
def unet(small_network: torch.nn.Module) -> MuseTalkUNet:
    return MuseTalkUNet(copy.deepcopy(small_network))


@pytest.fixture(scope="module")
def sessions() -> Sessions:
    return {model: open_session(exported_network(model)) for model in exported_models(SMALL_MUSETALK)}


@pytest.mark.parametrize(
    ("file", "network", "size"),
    [
        ("keys_unet.json", UNET, "full"),
        ("keys_unet_small.json", UNET, "small"),
        ("keys_bisenet.json", PARSER, "full"),
        ("keys_vae.json", VAE, "full"),
        ("keys_vae_small.json", VAE, "small"),
        ("keys_whisper_tiny_encoder.json", WHISPER, "full"),
    ],
)
def test_musetalk_keys_and_shapes_are_the_originals(
    musetalk_dir: Path, file: str, network: Network, size: Size
) -> None:
    """Every key but those of the parser's heads of training; VAE and Whisper are LatentSync's."""
    keys = json.loads((musetalk_dir / file).read_text())["keys"]
    expected = {key: tuple(shape) for key, shape in keys.items() if not key.startswith(TRAINING_HEADS)}
    assert checkpoint_shapes(network, network.build(size)) == expected


SMALL_SUMS = (6_200_868, 8351.3307, 42123.8937)  # RECIPE.md: number of values, their sum, the sum of their squares
FULL_SUMS = (849_947_844, 99736.5586, 504926.3178)


@pytest.mark.parametrize(
    ("size", "expected"), [("small", SMALL_SUMS), pytest.param("full", FULL_SUMS, marks=pytest.mark.long)]
)
def test_musetalk_synthetic_weights_are_the_recipes(size: Size, expected: tuple[int, float, float]) -> None:
    """Their checksums; the parser's are proved by its golden."""
    count, total, squares = 0, 0.0, 0.0
    for value in load_synthetic(UNET, size=size).parameters():
        count += value.numel()
        total += float(value.sum(dtype=torch.float64))
        squares += float(value.double().square().sum())
    assert (count, total, squares) == pytest.approx(expected, rel=0, abs=1e-3)  # printed with four digits


@pytest.mark.parametrize("kind", KINDS)
def test_musetalk_unet_holds(
    kind: str, unet: MuseTalkUNet, unet_goldens: dict[str, np.ndarray], request: pytest.FixtureRequest
) -> None:
    """The original's output with speech and without, from a graph that takes no timestep."""
    silence = np.zeros_like(unet_goldens["audio"])
    for audio_tokens, name in ((unet_goldens["audio"], "out"), (silence, "out_zero_audio")):
        if kind == "torch":
            latents = run(unet, unet_goldens["x"], audio_tokens)
        else:
            session = request.getfixturevalue("sessions")["musetalk_unet"]
            latents = session.run(None, {"face_latents": unet_goldens["x"], "audio_tokens": audio_tokens})[0]
        assert_close(latents * np.float32(SCALING_FACTOR), unet_goldens[name], rel=BOUND)


@pytest.mark.long
def test_musetalk_unet_takes_rows_of_different_jobs(sessions: Sessions, unet_goldens: dict[str, np.ndarray]) -> None:
    """Frames meet in one batch; each gives what it gives alone."""
    session, x, audio_tokens = sessions["musetalk_unet"], unet_goldens["x"], unet_goldens["audio"]
    together = session.run(None, {"face_latents": x[[0, 1, 1]], "audio_tokens": audio_tokens[[0, 1, 0]]})[0]
    for row, (face, speech) in enumerate([(0, 0), (1, 1), (1, 0)]):
        alone = session.run(None, {"face_latents": x[[face]], "audio_tokens": audio_tokens[[speech]]})[0]
        assert_close(together[[row]], alone, rel=BOUND)


def test_musetalk_unet_folds_one_timestep_alone(
    small_network: torch.nn.Module, unet_goldens: dict[str, np.ndarray]
) -> None:
    """Any timestep can be folded, as another one's golden shows, and folding again changes nothing."""
    network = copy.deepcopy(small_network)
    fold_timestep(network, 501)
    fold_timestep(network, 0)
    assert not any("time_emb" in key for key in network.state_dict())
    with torch.inference_mode():
        x, audio_tokens = torch.from_numpy(unet_goldens["x"]), torch.from_numpy(unet_goldens["audio"])
        found = network(x, 0, audio_tokens, return_dict=False)[0]
    assert_close(found, unet_goldens["out_t501"], rel=BOUND)


def test_musetalk_unet_probes_hold(unet: MuseTalkUNet, unet_goldens: dict[str, np.ndarray]) -> None:
    """Where a difference would begin: every block's first values and figures, by the original's names."""
    found: dict[str, np.ndarray] = {}

    def probe(name: str, output: object) -> None:
        value = output[0] if isinstance(output, tuple) else getattr(output, "sample", output)
        assert isinstance(value, torch.Tensor)
        found[name] = value.numpy()

    modules = dict(unet.network.named_modules())
    names = [str(name) for name in unet_goldens["block_names"]]
    blocks = [name for name in names if not name.startswith("time_")]  # those are folded
    hooks = [
        modules[name].register_forward_hook(lambda _module, _inputs, output, name=name: probe(name, output))
        for name in blocks
    ]
    run(unet, unet_goldens["x"], unet_goldens["audio"])
    for hook in hooks:
        hook.remove()
    assert len(found) == len(blocks) > 40
    for name, values, figures in zip(names, unet_goldens["block_probe"], unet_goldens["block_stats"], strict=True):
        if name in found:
            output = found[name]
            assert_close(output[0].ravel()[: len(values)], values, rel=BOUND, what=name)
            assert_close(figures_of(output), figures, rel=BOUND, what=name)


@pytest.mark.long
@pytest.mark.parametrize("model", MUSETALK_NETWORKS.models)
def test_musetalk_graphs_hold_operators_that_tensorrt_reads(model: str) -> None:
    """Opset 18, no timestep, and classes cast to bytes from floating-point numbers, as TensorRT wants."""
    graph = onnx.load(exported_network(model))
    assert {node.op_type for node in graph.graph.node} <= TENSORRT_OPERATORS
    assert [(entry.domain, entry.version) for entry in graph.opset_import] == [("", 18)]
    assert not any("time_emb" in tensor.name for tensor in graph.graph.initializer)
    if model == "face_parsing":
        before, last = list(graph.graph.node)[-2:]
        assert [node.op_type for node in (before, last)] == ["Cast", "Cast"]
        assert [node.attribute[0].i for node in (before, last)] == [onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8]


@pytest.mark.long  # half a minute each
@pytest.mark.parametrize("network", [UNET, PARSER], ids=lambda network: network.title)
def test_musetalk_networks_are_exported_in_half_precision(network: Network, tmp_path: Path) -> None:
    """Same inputs and outputs, half the size, near enough."""
    size: Size = "small" if "small" in network.sizes else "full"
    (served,) = network.models(load_synthetic(network, size=size))
    (tmp_path / served.name).mkdir()
    shutil.copy(REPOSITORY / served.name / "config.pbtxt", tmp_path / served.name)
    assert "fp16, largest difference from torch in fp32 0.0" in export_model(served, tmp_path, precision="fp16")
    half = (tmp_path / served.name / "1" / "model.onnx").stat().st_size
    assert half < 0.55 * exported_network(served.name).stat().st_size


@pytest.mark.long  # 4 GB and half a minute
def test_musetalk_full_size_unet_holds(musetalk_dir: Path) -> None:
    """The original's output at its own size, with speech and without."""
    goldens = np.load(musetalk_dir / "unet_full.npz")
    full = MuseTalkUNet(load_synthetic(UNET))
    for audio_tokens, name in ((goldens["audio"], "out"), (np.zeros_like(goldens["audio"]), "out_zero_audio")):
        latents = run(full, goldens["x"], audio_tokens)
        assert_close(latents * np.float32(SCALING_FACTOR), goldens[name], rel=BOUND)


@pytest.mark.parametrize("kind", KINDS)
def test_musetalk_vae_holds(kind: str, musetalk_dir: Path, request: pytest.FixtureRequest) -> None:
    """The original's latents of a face with its lower half black, and of the whole one; and a decoded face."""
    goldens = np.load(musetalk_dir / "vae_small.npz")
    face = goldens["face"][..., ::-1].astype(np.float32).transpose(2, 0, 1) / 255  # stored as BGR
    images = np.stack([face, face])
    images[0, :, 128:] = 0
    images = np.ascontiguousarray(images * 2 - 1)  # torch's group norm is 100 times less exact with channels last
    vae = load_synthetic(VAE, size="small")
    latents = goldens["decode_in"] / np.float32(SCALING_FACTOR)
    if kind == "torch":
        moments, decoded = run(VaeEncoder(vae), images), run(VaeDecoder(vae), latents)
    else:
        sessions = request.getfixturevalue("sessions")
        moments = sessions["vae_encoder"].run(None, {"images": images})[0]
        decoded = sessions["vae_decoder"].run(None, {"latents": latents})[0]
    mean, log_variance = np.split(moments, 2, axis=1)
    deviation = np.exp(0.5 * log_variance.clip(-30, 20))
    assert_close(mean, goldens["mean"], rel=BOUND)
    assert_close(deviation, goldens["std"], rel=BOUND)
    sampled = (mean + deviation * goldens["noise"][:, 0]) * np.float32(goldens["scaling"])
    assert_close(sampled.reshape(1, 8, 32, 32), goldens["latents"], rel=BOUND)
    levels = np.rint((decoded / 2 + 0.5).clip(0, 1) * 255)[:, ::-1].transpose(0, 2, 3, 1)
    assert np.abs(levels - goldens["decoded_bgr"]).max() <= 1
    assert (levels == goldens["decoded_bgr"]).mean() > 0.999


@pytest.mark.parametrize("kind", KINDS)
def test_musetalk_whisper_states_hold(kind: str, musetalk_dir: Path, request: pytest.FixtureRequest) -> None:
    """States 0 to 3 and the last one after the final norm, of a segment padded with silence."""
    goldens = np.load(musetalk_dir / "audio.npz")
    mel = np.repeat(goldens["mel_last"][None, :, None], 3000, axis=2)
    mel[0, :, : goldens["mel"].shape[1]] = goldens["mel"]
    if kind == "torch":
        with torch.inference_mode():
            states, normalised_state = (value.numpy() for value in load_synthetic(WHISPER)(torch.from_numpy(mel)))
    else:
        session = request.getfixturevalue("sessions")["whisper_encoder"]
        states, normalised_state = session.run(["states", "normalised_state"], {"mel": mel})
    assert normalised_state.shape == (1, 1500, 384)
    rows = goldens["state_rows"]
    assert_close(states[0, rows, :4], goldens["states"][:, :4], rel=BOUND)
    assert_close(normalised_state[0, rows], goldens["states"][:, 4], rel=BOUND)


@pytest.mark.parametrize("network", [UNET, PARSER], ids=lambda network: network.title)
def test_musetalk_networks_have_their_licences(network: Network) -> None:
    """They are printed where real weights are loaded."""
    assert network.license_line.startswith("licence of the weights: ")
