from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="no torch; run: make test")
pytest.importorskip("diffusers", reason="no diffusers; run: make test")

from diffusers import UNet2DConditionModel  # noqa: E402

from export.latentsync.network import UNET as LATENTSYNC_UNET  # noqa: E402  (imports torch)
from export.musetalk import source as musetalk_source  # noqa: E402
from export.musetalk.network import PARSER, UNET  # noqa: E402
from export.musetalk.unet import CHANNELS  # noqa: E402
from export.shared.network import find_checkpoint, load_checkpoint, load_synthetic  # noqa: E402
from export.vae.network import VAE  # noqa: E402
from tests.export.musetalk_helpers import Weights, published_parser, save  # noqa: E402


@pytest.fixture(scope="module")
def unet_weights() -> Weights:
    """The small UNet's weights."""
    return load_synthetic(UNET, size="small").state_dict()


@pytest.fixture(scope="module")
def parser_weights() -> Weights:
    """The face parser's weights under the original's names, with the heads of its training."""
    return published_parser()


WRAPPINGS: dict[str, Callable[[Weights], object]] = {
    "flat": lambda weights: weights,
    "state_dict": lambda weights: {"state_dict": weights, "global_step": 7},
    "data parallel": lambda weights: {f"module.{key}": value for key, value in weights.items()},
    "half precision": lambda weights: {key: value.half() for key, value in weights.items()},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_musetalk_unet_loads(tmp_path: Path, unet_weights: Weights, wrapping: str) -> None:
    """As it is published, and as training scripts save it."""
    path = save(tmp_path / "unet.pth", WRAPPINGS[wrapping](unet_weights))
    found = load_checkpoint(UNET, path, size="small").state_dict()
    assert found.keys() == unet_weights.keys()
    for key, value in unet_weights.items():
        expected = value.half().float() if wrapping == "half precision" else value
        assert torch.equal(found[key], expected), key


def test_musetalk_parser_loads(tmp_path: Path, parser_weights: Weights) -> None:
    """Strictly, but for the heads of its training and for counters, under the original's names."""
    counters = {key for key in parser_weights if key.endswith("num_batches_tracked")}
    without = {key: value for key, value in parser_weights.items() if key not in counters}
    expected = load_synthetic(PARSER).state_dict()
    for weights in (parser_weights, {"state_dict": parser_weights}, without):
        found = load_checkpoint(PARSER, save(tmp_path / "79999_iter.pth", weights)).state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], value) for key, value in expected.items() if value.is_floating_point())


def test_musetalk_folders_are_understood(tmp_path: Path, unet_weights: Weights, parser_weights: Weights) -> None:
    """Each version's own folder, and the folder above it with all of the original's models."""
    for version, name in (("1.0", "musetalk/pytorch_model.bin"), ("1.5", "musetalkV15/unet.pth")):
        path = save(tmp_path / name, unet_weights)
        network = musetalk_source.unet_source("--unet", None, version, None).network
        for folder in (tmp_path, path.parent):
            assert find_checkpoint(network, folder, "--unet") == path
    parser = save(tmp_path / "face-parse-bisent" / "79999_iter.pth", parser_weights)
    assert find_checkpoint(PARSER, tmp_path, "--face-parsing") == parser


def stable_diffusion(_weights: Weights) -> Weights:
    return UNet2DConditionModel(
        block_out_channels=CHANNELS["small"], cross_attention_dim=768, attention_head_dim=8, norm_num_groups=32
    ).state_dict()


def latentsync(_weights: Weights) -> Weights:
    module = load_synthetic(LATENTSYNC_UNET, size="small")
    return {LATENTSYNC_UNET.checkpoint_key(key): value for key, value in module.state_dict().items()}


WRONG_UNETS: dict[str, tuple[Callable[[Weights], Weights], str]] = {
    "Stable Diffusion": (
        stable_diffusion,
        r"got wrong shapes: conv_in.weight \[32, 4, 3, 3\] for \[32, 8, 3, 3\], .*\[32, 768\] for \[32, 384\]",
    ),
    "LatentSync": (latentsync, r"got unexpected .*motion_modules.*; wrong shapes: conv_in.weight \[32, 13, 3, 3\]"),
    "one key less": (
        lambda weights: {key: value for key, value in weights.items() if key != "time_embedding.linear_1.bias"},
        "got no time_embedding.linear_1.bias. Give the original checkpoint",
    ),
    "not a number": (
        lambda weights: weights | {"conv_in.bias": weights["conv_in.bias"] * float("nan")},
        "expected finite weights, got NaN or infinity in conv_in.bias",
    ),
}


@pytest.mark.parametrize("name", WRONG_UNETS)
def test_musetalk_unet_fails_on_another_checkpoint(tmp_path: Path, unet_weights: Weights, name: str) -> None:
    """One line with the first keys that are wrong."""
    change, message = WRONG_UNETS[name]
    path = save(tmp_path / "unet.pth", change(unet_weights))
    with pytest.raises(ValueError, match=message) as caught:
        load_checkpoint(UNET, path, size="small")
    assert str(caught.value).startswith(f"{path}: expected ")
    assert "\n" not in str(caught.value)


def test_musetalk_parser_fails_on_other_classes(tmp_path: Path, parser_weights: Weights) -> None:
    """A parser of 11 classes has the same layers; the line says how many it must have."""
    weights = parser_weights | {"conv_out.conv_out.weight": torch.ones(11, 256, 1, 1)}
    path = save(tmp_path / "79999_iter.pth", weights)
    shapes = r"conv_out\.conv_out\.weight \[11, 256, 1, 1\] for \[19, 256, 1, 1\]"
    with pytest.raises(ValueError, match=f"BiSeNet with 19 classes, got wrong shapes: {shapes}") as caught:
        load_checkpoint(PARSER, path)
    assert "\n" not in str(caught.value)


def test_musetalk_parser_fails_on_imagenets_resnet(tmp_path: Path, parser_weights: Weights) -> None:
    """The file beside it, whose layers have the same names below `cp.resnet`."""
    resnet = {
        key.removeprefix("cp.resnet."): value for key, value in parser_weights.items() if key.startswith("cp.resnet.")
    }
    with pytest.raises(ValueError, match=r"got no cp\.resnet\..*; unexpected conv1\.weight"):
        load_checkpoint(PARSER, save(tmp_path / "resnet18-5c106cde.pth", resnet))


@pytest.mark.parametrize("cut", [0.5, 0.999])
def test_musetalk_checkpoints_fail_when_cut_off(tmp_path: Path, parser_weights: Weights, cut: float) -> None:
    """A download that ended early, as a zip archive and in torch's older format."""
    for zipped in (True, False):
        path = tmp_path / "79999_iter.pth"
        torch.save(parser_weights, path, _use_new_zipfile_serialization=zipped)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(cut * len(whole))])
        with pytest.raises(ValueError, match="expected a whole checkpoint, got .* cut off") as caught:
            load_checkpoint(PARSER, path)
        assert "\n" not in str(caught.value)


def test_musetalk_shares_latentsyncs_vae(tmp_path: Path) -> None:
    """sd-vae-ft-mse as the original keeps it: diffusers' file with the attention's older names."""
    vae = load_synthetic(VAE, size="small").state_dict()
    names = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    old = dict(vae)
    for new_name, old_name in names.items():
        old = {key.replace(new_name, old_name): value for key, value in old.items()}
    save(tmp_path / "sd-vae" / "diffusion_pytorch_model.bin", old)
    found = load_checkpoint(VAE, find_checkpoint(VAE, tmp_path / "sd-vae", "--vae"), size="small").state_dict()
    assert all(torch.equal(found[key], value) for key, value in vae.items())
