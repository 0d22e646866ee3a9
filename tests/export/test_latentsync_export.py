from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="no torch; run: make test")
pytest.importorskip("diffusers", reason="no diffusers; run: make test")

import huggingface_hub  # noqa: E402
from diffusers import UNet2DConditionModel  # noqa: E402

from export.__main__ import main  # noqa: E402
from export.latentsync import download as latentsync_download  # noqa: E402
from export.latentsync import networks as latentsync_networks  # noqa: E402  (imports torch)
from export.latentsync.graph import export, open_session, relative_error  # noqa: E402
from export.latentsync.job import note_resolution  # noqa: E402
from export.latentsync.networks import UNET, VAE, WHISPER, load, original_shapes  # noqa: E402
from export.latentsync.unet import SMALL_CHANNELS, LatentSyncUNet  # noqa: E402
from export.shared import external_data  # noqa: E402
from export.shared.synthetic_weights import latentsync_weights  # noqa: E402
from export.wav2lip.networks import GENERATOR  # noqa: E402
from export.wav2lip.networks import load as load_wav2lip  # noqa: E402
from lipsync_core.contract import read_contract  # noqa: E402
from lipsync_core.latentsync.options import read_trained_resolution  # noqa: E402
from lipsync_core.repository import synthetic_note  # noqa: E402
from tests.conftest import REPOSITORY  # noqa: E402
from tests.synthetic_networks import SMALL_LATENTSYNC  # noqa: E402

Weights = dict[str, torch.Tensor]
ALLOWED_OPERATORS = {  # all of them have importers in TensorRT 10
    *("Add", "Cast", "Concat", "Constant", "Conv", "Cos", "Div", "Erf", "Expand", "Gather", "Gemm"),
    *(
        "InstanceNormalization",
        "LayerNormalization",
        "MatMul",
        "Mul",
        "Pad",
        "Reshape",
        "Resize",
        "Shape",
        "Sigmoid",
        "Sin",
        "Slice",
    ),
    *("Softmax", "Split", "Squeeze", "Sub", "Transpose", "Unsqueeze"),
}


@pytest.fixture(scope="module")
def unet_weights() -> Weights:
    """The small UNet's weights under the original's names, tables included."""
    module = load(UNET, None, small=True)
    names = {key: UNET.original(key) for key in module.state_dict()}
    weights = {names[key]: value for key, value in module.state_dict().items()}
    tables = {key for key in weights if key.endswith(".pe")}
    return weights | {key.replace("blocks.0.pos", "blocks.1.pos"): weights[key] for key in tables}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    for model in SMALL_LATENTSYNC.models:
        (folder / model).mkdir(parents=True)
        shutil.copy(REPOSITORY / model / "config.pbtxt", folder / model)
    return folder


def save(path: Path, weights: Weights, wrapped: bool = True) -> Path:
    torch.save({"state_dict": weights, "global_step": 7} if wrapped else weights, path)
    return path


def test_the_originals_checkpoint_loads(tmp_path: Path, unet_weights: Weights) -> None:
    """As a training checkpoint, under its own names, in half precision too."""
    found = load(UNET, save(tmp_path / "latentsync_unet.pt", unet_weights), small=True)
    expected = load(UNET, None, small=True).state_dict()
    for key, value in found.state_dict().items():
        assert torch.equal(value, expected[key]), key
    halved = {key: value.half() for key, value in unet_weights.items()}
    assert (
        load(UNET, save(tmp_path / "half.pt", halved), small=True).state_dict()["network.conv_in.bias"].dtype
        == torch.float32
    )


def stable_diffusion(weights: Weights) -> Weights:
    model = UNet2DConditionModel(
        block_out_channels=SMALL_CHANNELS, cross_attention_dim=768, attention_head_dim=8, norm_num_groups=32
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
    "Wav2Lip": (lambda _: load_wav2lip(GENERATOR, None).state_dict(), "got no conv_in.weight, .* unexpected face_enc"),
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
        load(UNET, path, small=True)
    assert str(caught.value).startswith(f"{path}: expected ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("content", "message"), [(b"<html>", "got an HTML page"), (b"PK\x03\x04cut", "cut off")])
def test_loading_fails_on_a_bad_download(tmp_path: Path, content: bytes, message: str) -> None:
    """Before anything else is looked at."""
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load(UNET, path, small=True)


def test_loading_fails_on_the_other_network(tmp_path: Path) -> None:
    """And says where it belongs."""
    save(tmp_path / "vae.pt", load(VAE, None, small=True).state_dict(), wrapped=False)
    with pytest.raises(ValueError, match="It holds the VAE sd-vae-ft-mse; give it with --vae"):
        load(UNET, tmp_path / "vae.pt", small=True)


def test_the_vae_loads_from_its_folder(tmp_path: Path) -> None:
    """As diffusers writes it, and with the attention's older names as sd-vae-ft-mse is published."""
    vae = load(VAE, None, small=True)
    vae.save_pretrained(tmp_path / "new")
    names = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    old = vae.state_dict()
    for new_name, old_name in names.items():
        old = {key.replace(new_name, old_name): value for key, value in old.items()}
    assert any(".proj_attn." in key for key in old)
    (tmp_path / "old").mkdir()
    save(tmp_path / "old" / "diffusion_pytorch_model.bin", old, wrapped=False)
    for folder in ("new", "old"):
        found = load(VAE, tmp_path / folder, small=True).state_dict()
        assert all(torch.equal(found[key], value) for key, value in vae.state_dict().items())


def test_whisper_loads_from_openais_file_and_from_hugging_faces(tmp_path: Path) -> None:
    """The decoder beside the encoder is left out of either; half precision becomes float32."""
    made = latentsync_weights(original_shapes(WHISPER, WHISPER.build(False)))
    whisper = load(WHISPER, None)
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
        found = load(WHISPER, path).state_dict()
        for key, value in whisper.state_dict().items():
            assert found[key].dtype == torch.float32
            assert (found[key] - value).abs().max() <= bound, key


def test_loading_fails_on_a_folder_without_weights(tmp_path: Path) -> None:
    """The names looked for are said."""
    with pytest.raises(ValueError, match=r"folder with diffusion_pytorch_model.safetensors or .*, got one without"):
        load(VAE, tmp_path)


@pytest.mark.parametrize("model", SMALL_LATENTSYNC.models)
def test_graphs_hold_operators_that_tensorrt_reads(model: str) -> None:
    """Opset 18, free axes where config.pbtxt has them, nothing of the machine that exported."""
    graph = onnx.load(SMALL_LATENTSYNC.folder() / model / "1" / "model.onnx")
    assert {node.op_type for node in graph.graph.node} <= ALLOWED_OPERATORS
    assert [(entry.domain, entry.version) for entry in graph.opset_import] == [("", 18)]
    assert not any(node.metadata_props or node.doc_string for node in graph.graph.node)
    specs = {spec.name for spec in read_contract(REPOSITORY / model).inputs}
    assert {value.name for value in graph.graph.input} == specs


def test_a_small_network_is_exported_in_half_precision(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Same inputs and outputs, half the size; errors, hashes and licences are printed."""
    shallow = UNET.parts(load(UNET, None, small=True))[1]
    lines = export(shallow, "fp16", repository)
    path = repository / "latentsync_unet_shallow" / "1" / "model.onnx"
    content = path.read_bytes()
    assert f"{len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}" in lines
    assert "fp16, largest difference from torch in fp32 0.00" in lines
    types = {tensor.data_type for tensor in onnx.load_from_string(content).graph.initializer}
    assert onnx.TensorProto.FLOAT16 in types
    assert sorted(path.parent.iterdir()) == [path]


def test_large_weights_lie_beside_the_graph(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a file named by its hash; a later export replaces both, and only both."""
    monkeypatch.setattr(external_data, "EMBEDDED_BYTES", 0)
    folder = repository / "latentsync_unet_shallow" / "1"
    for shift in (0, 1):
        shallow = UNET.parts(load(UNET, None, small=True, seed_shift=shift))[1]
        lines = export(shallow, "fp32", repository)
        (data,) = folder.glob("model-*.data")
        digest = hashlib.sha256(data.read_bytes()).hexdigest()
        assert data.name == f"model-{digest[:16]}.data"
        assert digest in lines
        assert sorted(path.name for path in folder.iterdir()) == [data.name, "model.onnx"]
        assert relative_error(folder / "model.onnx", shallow.module, shallow.trial(3)) < 1e-4


def test_export_fails_where_a_graph_is_unlike_torch(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written then."""
    monkeypatch.setattr("export.latentsync.graph.BOUNDS", {"fp32": 0.0})
    shallow = UNET.parts(load(UNET, None, small=True))[1]
    with pytest.raises(ValueError, match="_unet_shallow: expected ONNX within 0 standard deviations of torch, got"):
        export(shallow, "fp32", repository)
    assert not list((repository / "latentsync_unet_shallow" / "1").iterdir())


def test_export_fails_where_a_graph_is_unlike_its_config(repository: Path) -> None:
    """Names and sizes stand in config.pbtxt."""
    path = repository / "latentsync_unet_shallow" / "config.pbtxt"
    path.write_text(path.read_text().replace("[ -1, 50, 384 ]", "[ -1, 50, 768 ]"))
    with pytest.raises(
        ValueError, match=r"expected the inputs of config.pbtxt, audio_tokens float32 \[-1, -1, 50, 768"
    ):
        export(UNET.parts(load(UNET, None, small=True))[1], "fp32", repository)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected --unet, --vae, --whisper, --download or --synthetic-weights, got none"),
        (["--size", "small", "--unet", "x.pt"], "--size: expected full with real weights, got small"),
        (["--unet", "missing.pt"], "missing.pt: expected a checkpoint file, got no such file"),
    ],
)
def test_the_command_fails_in_one_line(
    repository: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    """What to give is said, and nothing is written."""
    assert main(["latentsync", *arguments, "--repository", str(repository)]) == 1
    line = capsys.readouterr().err
    assert line.startswith("export latentsync: ")
    assert message in line
    assert line.count("\n") == 1
    assert not list(repository.glob("*/1/*"))


class FakeHub:
    """Stands for huggingface_hub: files by repository, revision and path."""

    def __init__(self, folder: Path, files: dict[tuple[str, str, str], bytes]) -> None:
        self.folder, self.files = folder, files

    def __call__(self, repo_id: str, filename: str, *, revision: str) -> str:
        content = self.files.get((repo_id, revision, filename))
        if content is None:
            raise huggingface_hub.errors.LocalEntryNotFoundError("no network\nand no such file in the cache")
        path = self.folder / repo_id / revision / filename
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return str(path)


def serve(monkeypatch: pytest.MonkeyPatch, folder: Path, *files: tuple[latentsync_download.HubFile, bytes]) -> None:
    known = {(file.repository, file.revision, file.file): content for file, content in files}
    monkeypatch.setattr(latentsync_download, "hf_hub_download", FakeHub(folder, known))


def test_downloads_are_pinned() -> None:
    """By a whole commit hash and by content."""
    for file in (*latentsync_download.UNETS.values(), latentsync_download.VAE, latentsync_download.WHISPER):
        assert len(file.revision) == 40
        assert len(file.sha256) == 64


def test_what_is_not_given_is_downloaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At its revision; the hash is shown, and the licence of what was loaded."""
    whisper = {f"model.{key}": value for key, value in load(WHISPER, None).state_dict().items()}
    content = save(tmp_path / "tiny.pt", whisper, wrapped=False).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    file = latentsync_download.HubFile("openai/whisper", "0" * 40, "tiny.pt", digest)
    monkeypatch.setattr(latentsync_download, "WHISPER", file)
    monkeypatch.setattr("export.latentsync.job.NETWORKS", (WHISPER,))
    serve(monkeypatch, tmp_path / "hub", (file, content))
    assert main(["latentsync", "--download", "--repository", str(repository)]) == 0
    printed = capsys.readouterr().out
    assert f"tiny.pt: sha256 {digest}, as published" in printed
    assert WHISPER.license_line in printed
    assert open_session(repository / "whisper_encoder" / "1" / "model.onnx").get_outputs()[0].shape[1:] == [
        1500,
        5,
        384,
    ]


def test_a_download_fails_without_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line: the file, its revision, and that it can be resumed or given."""
    serve(monkeypatch, tmp_path)
    assert main(["latentsync", "--download", "--version", "1.6", "--repository", str(repository)]) == 1
    line = capsys.readouterr().err
    assert "ByteDance/LatentSync-1.6/latentsync_unet.pt: expected a download at revision c42c7e6c8e9c" in line
    assert "got: no network. Run it again to resume, or get the file elsewhere and give it with --unet" in line
    assert line.count("\n") == 1


def test_a_download_fails_with_other_content(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is never loaded."""
    serve(monkeypatch, tmp_path, (latentsync_download.VAE, b"other"))
    with pytest.raises(
        ValueError, match="expected sha256 a1d993488569.*, got .* or give a file that you trust with --vae"
    ):
        latentsync_download.fetch(latentsync_download.VAE, "--vae")


def test_the_other_versions_checkpoint_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both versions have the same keys: only the hash tells weights for 256 pixels from those for 512."""
    path = tmp_path / "latentsync_unet.pt"
    path.write_bytes(b"weights of 1.5")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    pinned = latentsync_download.HubFile("a/b", "0" * 40, path.name, digest)
    monkeypatch.setitem(latentsync_download.UNETS, "1.5", pinned)
    arguments = ["--unet", str(path), "--version", "1.6", "--repository", str(repository)]
    assert main(["latentsync", *arguments]) == 1
    line = capsys.readouterr().err
    assert "expected LatentSync 1.6 for faces of 512 pixels, got LatentSync 1.5 for 256. Give --version 1.5" in line


def test_the_resolution_of_given_weights_is_noted(repository: Path) -> None:
    """Beside the UNet, by its version; made-up weights serve any resolution and take an older note away."""
    folder = repository / "latentsync_unet" / "1"
    folder.mkdir(exist_ok=True)
    for version, resolution in (("1.6", 512), ("1.5", 256)):
        note_resolution(folder, version)
        assert read_trained_resolution(folder) == resolution
    note_resolution(folder, None)
    assert read_trained_resolution(folder) is None


def test_made_up_weights_are_noted_beside_each_network(latentsync_repository: Path) -> None:
    """For both formats, and for all that comes from the same weights."""
    for model in ("latentsync_unet", "latentsync_unet_shallow", "vae_encoder", "vae_decoder", "whisper_encoder"):
        for backend in ("onnxruntime", "torch"):
            assert synthetic_note(latentsync_repository / model, backend).is_file()


def test_a_network_keeps_its_weights_apart_from_its_half(unet_weights: Weights) -> None:
    """Halving for the export changes nothing in the network that it is compared with; norms stay as they are."""
    from export.shared.torch_onnx import HalfPrecision

    network = load(UNET, None, small=True)
    assert isinstance(network, LatentSyncUNet)
    half = HalfPrecision(network)
    whole = {key for key, value in half.state_dict().items() if value.dtype != torch.float16}
    assert whole == {key for key in half.state_dict() if "norm" in key}
    inputs = latentsync_networks.UNET.parts(network)[0].trial(2)
    with torch.inference_mode():
        expected, found = network(*inputs.values()), half(*inputs.values())
    assert not network.kept
    assert [value.dtype for value in found] == [torch.float32] * 2
    for ours, theirs in zip(found, expected, strict=True):
        assert float(np.abs(ours.numpy() - theirs.numpy()).max()) < 0.05 * float(theirs.std())
