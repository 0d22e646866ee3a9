from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="no torch; run: make test")
pytest.importorskip("diffusers", reason="no diffusers; run: make test")

from diffusers import UNet2DConditionModel  # noqa: E402

from export.latentsync.network import UNET  # noqa: E402  (imports torch)
from export.latentsync.unet import CHANNELS, LatentSyncUNet  # noqa: E402
from export.shared.half_precision import HalfPrecision  # noqa: E402
from export.shared.network import (  # noqa: E402
    checkpoint_shapes,
    find_checkpoint,
    load_checkpoint,
    load_synthetic,
)
from export.shared.synthetic_weights import scaled_weights  # noqa: E402
from export.vae.network import VAE  # noqa: E402
from export.wav2lip.networks import GENERATOR  # noqa: E402
from export.whisper.network import WHISPER  # noqa: E402

Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def unet_weights() -> Weights:
    """The small UNet's weights under the original's names, tables included."""
    module = load_synthetic(UNET, size="small")
    names = {key: UNET.checkpoint_key(key) for key in module.state_dict()}
    weights = {names[key]: value for key, value in module.state_dict().items()}
    tables = {key for key in weights if key.endswith(".pe")}
    return weights | {key.replace("blocks.0.pos", "blocks.1.pos"): weights[key] for key in tables}


def save(path: Path, weights: Weights, wrapped: bool = True) -> Path:
    torch.save({"state_dict": weights, "global_step": 7} if wrapped else weights, path)
    return path


def test_the_originals_checkpoint_loads(tmp_path: Path, unet_weights: Weights) -> None:
    """As a training checkpoint, under its own names, in half precision too."""
    found = load_checkpoint(UNET, save(tmp_path / "latentsync_unet.pt", unet_weights), size="small")
    expected = load_synthetic(UNET, size="small").state_dict()
    for key, value in found.state_dict().items():
        assert torch.equal(value, expected[key]), key
    halved = {key: value.half() for key, value in unet_weights.items()}
    loaded = load_checkpoint(UNET, save(tmp_path / "half.pt", halved), size="small").state_dict()
    assert loaded["network.conv_in.bias"].dtype == torch.float32


def stable_diffusion(weights: Weights) -> Weights:
    model = UNet2DConditionModel(
        block_out_channels=CHANNELS["small"], cross_attention_dim=768, attention_head_dim=8, norm_num_groups=32
    )
    return model.state_dict()


def with_wide_audio(weights: Weights) -> Weights:
    """As LatentSync 1.0's, whose audio has 768 channels."""
    return {
        key: value.repeat(1, 2) if key.endswith(("attn2.to_k.weight", "attn2.to_v.weight")) else value
        for key, value in weights.items()
    }


def with_nan(weights: Weights) -> Weights:
    broken = weights["conv_out.weight"].clone()
    broken[0, 0, 0, 0] = float("nan")
    return weights | {"conv_out.weight": broken}


def with_other_table(weights: Weights) -> Weights:
    key = "down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.1.pos_encoder.pe"
    return weights | {key: weights[key] + 1}


WRONG: dict[str, tuple[Callable[[Weights], Weights], str]] = {
    "Stable Diffusion": (stable_diffusion, "expected LatentSync's UNet, got no down_blocks.0.motion_modules.0"),
    "LatentSync 1.0": (
        with_wide_audio,
        r"wrong shapes: down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight \[32, 768\] for \[32, 384\]",
    ),
    "Wav2Lip": (lambda _: load_synthetic(GENERATOR).state_dict(), "got no conv_in.weight, .* unexpected face_enc"),
    "not a number": (with_nan, "expected finite weights, got NaN or infinity in conv_out.weight"),
    "two tables": (with_other_table, "to be a copy of down_blocks.0.motion_modules.0.temporal_transformer"),
    "one key less": (
        lambda weights: {key: value for key, value in weights.items() if key != "conv_in.bias"},
        "got no conv_in.bias. Give the original checkpoint",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_loading_fails_on_another_checkpoint(tmp_path: Path, unet_weights: Weights, name: str) -> None:
    """One line with the first keys that are wrong, by the original's names."""
    change, message = WRONG[name]
    path = save(tmp_path / "x.pt", change(unet_weights))
    with pytest.raises(ValueError, match=message) as caught:
        load_checkpoint(UNET, path, size="small")
    assert str(caught.value).startswith(f"{path}: expected ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("content", "message"), [(b"<html>", "got an HTML page"), (b"PK\x03\x04cut", "cut off")])
def test_loading_fails_on_a_bad_download(tmp_path: Path, content: bytes, message: str) -> None:
    """Before anything else is looked at."""
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_checkpoint(UNET, path, size="small")


def test_loading_fails_on_the_other_network(tmp_path: Path) -> None:
    """And says where it belongs."""
    save(tmp_path / "vae.pt", load_synthetic(VAE, size="small").state_dict(), wrapped=False)
    with pytest.raises(ValueError, match="It holds the VAE sd-vae-ft-mse; give it with --vae"):
        load_checkpoint(UNET, tmp_path / "vae.pt", size="small", others={"--vae": VAE})


def test_the_vae_loads_from_its_folder(tmp_path: Path) -> None:
    """As diffusers writes it, and with the attention's older names as sd-vae-ft-mse is published."""
    vae = load_synthetic(VAE, size="small")
    vae.save_pretrained(tmp_path / "new")
    names = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    old = vae.state_dict()
    for new_name, old_name in names.items():
        old = {key.replace(new_name, old_name): value for key, value in old.items()}
    assert any(".proj_attn." in key for key in old)
    (tmp_path / "old").mkdir()
    save(tmp_path / "old" / "diffusion_pytorch_model.bin", old, wrapped=False)
    for folder in ("new", "old"):
        path = find_checkpoint(VAE, tmp_path / folder, "--vae")
        found = load_checkpoint(VAE, path, size="small").state_dict()
        assert all(torch.equal(found[key], value) for key, value in vae.state_dict().items())


COMPVIS = {  # today's name -> CompVis's; the decoder's levels are counted from the other end
    ".down_blocks.": ".down.",
    ".resnets.": ".block.",
    ".downsamplers.0.": ".downsample.",
    ".upsamplers.0.": ".upsample.",
    ".mid_block.block.0.": ".mid.block_1.",
    ".mid_block.block.1.": ".mid.block_2.",
    ".mid_block.attentions.0.group_norm.": ".mid.attn_1.norm.",
    ".mid_block.attentions.0.to_out.0.": ".mid.attn_1.proj_out.",
    ".mid_block.attentions.0.to_": ".mid.attn_1.",
    ".conv_shortcut.": ".nin_shortcut.",
    ".conv_norm_out.": ".norm_out.",
    **{f".up_blocks.{level}.": f".up.{3 - level}." for level in range(4)},
}


def in_compvis_names(weights: Weights) -> Weights:
    renamed = {}
    for key, value in weights.items():
        name = key
        for ours, theirs in COMPVIS.items():
            name = name.replace(ours, theirs)
        is_attention = ".attn_1." in name and value.ndim == 2
        renamed[name] = value[:, :, None, None] if is_attention else value
    return renamed


@pytest.mark.parametrize("whole", [False, True])
def test_the_vae_loads_from_compvis_files(tmp_path: Path, whole: bool) -> None:
    """Alone, or in a whole Stable Diffusion model; attention is held in 1x1 convolutions there."""
    expected = load_synthetic(VAE, size="small").state_dict()
    weights = in_compvis_names(expected)
    assert {"encoder.down.3.block.0.conv1.weight", "decoder.up.3.upsample.conv.bias"} <= weights.keys()
    assert weights["decoder.mid.attn_1.q.weight"].shape[2:] == (1, 1)
    others = {"loss.logvar": torch.zeros(1)}
    if whole:
        weights = {f"first_stage_model.{key}": value for key, value in weights.items()}
        others = {"model.diffusion_model.out.0.bias": torch.zeros(4), "model_ema.decay": torch.zeros(1)}
    path = save(tmp_path / "vae.ckpt", weights | others)
    found = load_checkpoint(VAE, path, size="small").state_dict()
    assert all(torch.equal(found[key], value) for key, value in expected.items())


@pytest.mark.parametrize("folder", [".", "vae"])
def test_the_vae_loads_from_a_folder_in_half_precision(tmp_path: Path, folder: str) -> None:
    """Where there is nothing better; the folder of a whole model works too."""
    vae = load_synthetic(VAE, size="small")
    vae.half().save_pretrained(tmp_path / folder, variant="fp16")
    path = find_checkpoint(VAE, tmp_path, "--vae")
    assert path.name == "diffusion_pytorch_model.fp16.safetensors"
    found = load_checkpoint(VAE, path, size="small").state_dict()
    assert all(torch.equal(found[key], value.float()) for key, value in vae.state_dict().items())


def test_position_tables_may_be_missing(tmp_path: Path, unet_weights: Weights) -> None:
    """They are computed; one of two copies is enough."""
    tables = sorted(key for key in unet_weights if key.endswith("attention_blocks.0.pos_encoder.pe"))
    dropped = {key for key in unet_weights if key.endswith(".pos_encoder.pe")} - {tables[0]}
    weights = {key: value for key, value in unet_weights.items() if key not in dropped}
    found = load_checkpoint(UNET, save(tmp_path / "latentsync_unet.pt", weights), size="small").state_dict()
    expected = load_synthetic(UNET, size="small").state_dict()
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    assert find_checkpoint(UNET, tmp_path, "--unet") == tmp_path / "latentsync_unet.pt"


def test_whispers_position_table_may_be_missing(tmp_path: Path) -> None:
    """It is sines, then cosines, of 192 frequencies from 1 to 1/10000 of a radian per position."""
    whisper = load_synthetic(WHISPER)
    weights = {key: value for key, value in whisper.state_dict().items() if "embed_positions" not in key}
    found = load_checkpoint(WHISPER, save(tmp_path / "tiny.pt", weights, wrapped=False)).state_dict()
    phases = np.arange(1500)[:, None] * 10_000 ** (-np.arange(192) / 191)
    expected = np.concatenate([np.sin(phases), np.cos(phases)], axis=1)
    table = found["encoder.embed_positions.weight"].numpy()
    assert np.abs(table - expected).max() < 2e-4  # phases up to 1500 in float32
    assert find_checkpoint(WHISPER, tmp_path, "--whisper") == tmp_path / "tiny.pt"


def test_whisper_loads_from_openais_file_and_from_hugging_faces(tmp_path: Path) -> None:
    """The decoder beside the encoder is left out of either; half precision becomes float32."""
    made = scaled_weights(checkpoint_shapes(WHISPER, WHISPER.build("full")))
    whisper = load_synthetic(WHISPER)
    openai = {key: torch.from_numpy(value).half() for key, value in made.items()}
    openai |= {
        "encoder.positional_embedding": whisper.state_dict()["encoder.embed_positions.weight"],
        "decoder.ln.weight": torch.ones(384),
    }
    torch.save({"dims": {"n_mels": 80}, "model_state_dict": openai}, tmp_path / "tiny.pt")
    hugging_face = {f"model.{key}": value for key, value in whisper.state_dict().items()}
    hugging_face |= {"model.decoder.layer_norm.weight": torch.ones(384), "proj_out.weight": torch.ones(2, 384)}
    (tmp_path / "hf").mkdir()
    save(tmp_path / "hf" / "pytorch_model.bin", hugging_face, wrapped=False)
    for path, bound in ((tmp_path / "tiny.pt", 1e-3), (tmp_path / "hf", 0)):
        found = load_checkpoint(WHISPER, find_checkpoint(WHISPER, path, "--whisper")).state_dict()
        for key, value in whisper.state_dict().items():
            assert found[key].dtype == torch.float32
            assert (found[key] - value).abs().max() <= bound, key


def test_loading_fails_on_a_folder_without_weights(tmp_path: Path) -> None:
    """The names looked for are said."""
    with pytest.raises(ValueError, match=r"folder with diffusion_pytorch_model.safetensors or .*, got one without"):
        find_checkpoint(VAE, tmp_path, "--vae")


def test_a_network_keeps_its_weights_apart_from_its_half(unet_weights: Weights) -> None:
    """Halving for the export changes nothing in the network that it is compared with; norms stay as they are."""
    network = load_synthetic(UNET, size="small")
    assert isinstance(network, LatentSyncUNet)
    half = HalfPrecision(network)
    whole = {key for key, value in half.state_dict().items() if value.dtype != torch.float16}
    assert whole == {key for key in half.state_dict() if "norm" in key}
    inputs = UNET.models(network)[0].trial(2)
    with torch.inference_mode():
        expected, found = network(*inputs.values()), half(*inputs.values())
    assert not network.kept
    assert [value.dtype for value in found] == [torch.float32] * 2
    for ours, theirs in zip(found, expected, strict=True):
        assert float(np.abs(ours.numpy() - theirs.numpy()).max()) < 0.05 * float(theirs.std())
