from __future__ import annotations

import dataclasses
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
from export.latentsync import source as latentsync_source  # noqa: E402
from export.latentsync.network import UNET  # noqa: E402  (imports torch)
from export.latentsync.unet import CHANNELS, LatentSyncUNet  # noqa: E402
from export.shared import graph_file, hub  # noqa: E402
from export.shared.exporter import export_model  # noqa: E402
from export.shared.half_precision import HalfPrecision  # noqa: E402
from export.shared.network import (  # noqa: E402
    ServedModel,
    checkpoint_shapes,
    find_checkpoint,
    load_checkpoint,
    load_synthetic,
)
from export.shared.onnx_graph import compare_graph, open_session  # noqa: E402
from export.shared.synthetic_weights import scaled_weights  # noqa: E402
from export.vae import source as vae_source  # noqa: E402
from export.vae.network import VAE  # noqa: E402
from export.wav2lip.networks import GENERATOR  # noqa: E402
from export.whisper import source as whisper_source  # noqa: E402
from export.whisper.network import WHISPER  # noqa: E402
from lipsync_core.contract import read_contract  # noqa: E402
from lipsync_core.weights import WeightsNote, read_note, read_trained_resolution, write_note  # noqa: E402
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
    module = load_synthetic(UNET, size="small")
    names = {key: UNET.checkpoint_key(key) for key in module.state_dict()}
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


def small_shallow(seed_shift: int = 0) -> ServedModel:
    return UNET.models(load_synthetic(UNET, size="small", seed_shift=seed_shift))[1]


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
    lines = export_model(small_shallow(), repository, precision="fp16")
    path = repository / "latentsync_unet_shallow" / "1" / "model.onnx"
    content = path.read_bytes()
    assert f"{len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}" in lines
    assert "fp16, largest difference from torch in fp32 0.00" in lines
    types = {tensor.data_type for tensor in onnx.load_from_string(content).graph.initializer}
    assert onnx.TensorProto.FLOAT16 in types
    assert sorted(path.parent.iterdir()) == [path]


def test_large_weights_lie_beside_the_graph(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a file named by its hash; a later export replaces both, and only both."""
    monkeypatch.setattr(graph_file, "EMBEDDED_BYTES", 0)
    folder = repository / "latentsync_unet_shallow" / "1"
    for shift in (0, 1):
        shallow = small_shallow(shift)
        lines = export_model(shallow, repository)
        (data,) = folder.glob("model-*.data")
        digest = hashlib.sha256(data.read_bytes()).hexdigest()
        assert data.name == f"model-{digest[:16]}.data"
        assert digest in lines
        assert sorted(path.name for path in folder.iterdir()) == [data.name, "model.onnx"]
        assert compare_graph(folder / "model.onnx", shallow.module, shallow.trial(3)) < 1e-4


def test_export_fails_where_a_graph_is_unlike_torch(repository: Path) -> None:
    """Nothing is written then."""
    exact = dataclasses.replace(small_shallow(), bounds={"fp32": 0.0})
    with pytest.raises(ValueError, match="_unet_shallow: expected ONNX within 0 of the output's root mean square"):
        export_model(exact, repository)
    assert not list((repository / "latentsync_unet_shallow" / "1").iterdir())


def test_export_fails_where_a_graph_is_unlike_its_config(repository: Path) -> None:
    """Names and sizes stand in config.pbtxt."""
    path = repository / "latentsync_unet_shallow" / "config.pbtxt"
    path.write_text(path.read_text().replace("[ -1, 50, 384 ]", "[ -1, 50, 768 ]"))
    with pytest.raises(
        ValueError, match=r"expected the inputs of config.pbtxt, audio_tokens float32 \[-1, -1, 50, 768"
    ):
        export_model(small_shallow(), repository)


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


def serve(monkeypatch: pytest.MonkeyPatch, folder: Path, *files: tuple[hub.HubFile, bytes]) -> None:
    known = {(file.repository, file.revision, file.file): content for file, content in files}
    monkeypatch.setattr(hub, "hf_hub_download", FakeHub(folder, known))


def test_downloads_are_pinned() -> None:
    """By a whole commit hash and by content."""
    for file in (*latentsync_source.PUBLISHED.values(), vae_source.PUBLISHED, whisper_source.PUBLISHED):
        assert len(file.revision) == 40
        assert len(file.sha256) == 64


def test_what_is_not_given_is_downloaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At its revision; the hash is shown, and the licence of what was loaded."""
    whisper = {f"model.{key}": value for key, value in load_synthetic(WHISPER).state_dict().items()}
    content = save(tmp_path / "tiny.pt", whisper, wrapped=False).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    file = hub.HubFile("openai/whisper", "0" * 40, "tiny.pt", digest)
    monkeypatch.setattr(whisper_source, "PUBLISHED", file)
    serve(monkeypatch, tmp_path / "hub", (file, content))
    assert main(["whisper", "--download", "--repository", str(repository)]) == 0
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
    assert "got: no network. Run the command again to resume, or get the file elsewhere and give it with --unet" in line
    assert line.count("\n") == 1


def test_a_download_fails_with_other_content(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is never loaded."""
    serve(monkeypatch, tmp_path, (vae_source.PUBLISHED, b"other"))
    with pytest.raises(
        ValueError, match="expected sha256 a1d993488569.*, got .* or give a file that you trust with --vae"
    ):
        hub.fetch(vae_source.PUBLISHED, "--vae")


def test_the_other_versions_checkpoint_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both versions have the same keys: only the hash tells weights for 256 pixels from those for 512."""
    path = tmp_path / "latentsync_unet.pt"
    path.write_bytes(b"weights of 1.5")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    pinned = hub.HubFile("a/b", "0" * 40, path.name, digest)
    monkeypatch.setitem(latentsync_source.PUBLISHED, "1.5", pinned)
    arguments = ["--unet", str(path), "--version", "1.6", "--repository", str(repository)]
    assert main(["latentsync", *arguments]) == 1
    line = capsys.readouterr().err
    assert "expected LatentSync 1.6 for faces of 512 pixels, got LatentSync 1.5 for 256. Give --version 1.5" in line


def test_the_source_of_the_unet_knows_its_resolution() -> None:
    """By its version; it is noted beside the exported files."""
    assert latentsync_source.unet_source("--unet", None, "1.5").trained_resolution == 256
    assert latentsync_source.unet_source("--unet", None, "1.6").trained_resolution == 512


def test_a_noted_resolution_is_read(tmp_path: Path) -> None:
    """From the note of either format; synthetic weights serve any resolution."""
    assert read_trained_resolution(tmp_path) is None
    graph, program = tmp_path / "model.onnx", tmp_path / "model.pt2"
    for network in (graph, program):
        network.touch()
    write_note(graph, WeightsNote("0" * 64, trained_resolution=512))
    write_note(program, WeightsNote(seed_shift=0))
    assert read_trained_resolution(tmp_path) == 512
    write_note(program, WeightsNote("1" * 64, trained_resolution=256))
    with pytest.raises(ValueError, match=r"weights of one resolution, got model.onnx for 512, model.pt2 for 256"):
        read_trained_resolution(tmp_path)


def test_synthetic_weights_are_noted_beside_each_network(latentsync_repository: Path) -> None:
    """For both formats, and for all that comes from the same weights."""
    for model in SMALL_LATENTSYNC.models:
        size = "full" if model == "whisper_encoder" else "small"
        for file in ("model.onnx", "model.pt2"):
            assert read_note(latentsync_repository / model / "1" / file) == WeightsNote(seed_shift=0, size=size)


VAE_COMMAND = ["vae", "--synthetic-weights", "--size", "small"]


def test_the_vae_has_its_own_command(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It writes both halves and nothing else; with the same weights it may run again."""
    for _ in range(2):
        assert main([*VAE_COMMAND, "--repository", str(repository)]) == 0
    assert "synthetic weights: the faces are noise" in capsys.readouterr().out
    written = [path.parent.parent.name for path in repository.glob("*/1/model.onnx")]
    assert sorted(written) == ["vae_decoder", "vae_encoder"]


@pytest.mark.parametrize("command", ["whisper", "latentsync"])
def test_a_shared_network_is_not_replaced_by_other_weights(
    repository: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """Neither by its own command nor by a pipeline's: one line says how to, and nothing is written."""
    network = repository / "whisper_encoder" / "1" / "model.onnx"
    network.parent.mkdir()
    network.write_bytes(b"exported before")
    write_note(network, WeightsNote("0" * 64))
    arguments = [command, "--synthetic-weights", "3", "--repository", str(repository)]
    if command == "latentsync":
        arguments += ["--size", "small"]
    assert main(arguments) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert line.startswith(
        f"export {command}: {network}: expected the weights that it holds, those of the checkpoint with"
    )
    assert f"sha256 {'0' * 64}, got synthetic ones, seed 3, size full. Pipelines share this network: " in line
    assert line.endswith("give the same weights, or replace it for all of them with --replace\n")
    assert network.read_bytes() == b"exported before"
    assert list(repository.glob("*/1/model.*")) == [network, network.with_name("model.onnx.weights.json")]


def test_a_shared_network_of_unknown_weights_is_not_replaced(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unless `--replace` asks for it; then the note is written."""
    network = repository / "vae_decoder" / "1" / "model.onnx"
    network.parent.mkdir()
    network.write_bytes(b"put there by hand")
    arguments = [*VAE_COMMAND, "--repository", str(repository)]
    assert main(arguments) == 1
    assert "expected a note on its weights in model.onnx.weights.json, got none" in capsys.readouterr().err
    assert network.read_bytes() == b"put there by hand"
    assert main([*arguments, "--replace"]) == 0
    assert read_note(network) == WeightsNote(seed_shift=0, size="small")
    open_session(network)


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
