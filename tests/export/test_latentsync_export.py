from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import onnx
import pytest

torch = pytest.importorskip("torch", reason="no torch; run: make test")
pytest.importorskip("diffusers", reason="no diffusers; run: make test")


from export.__main__ import main  # noqa: E402
from export.latentsync import source as latentsync_source  # noqa: E402
from export.latentsync.network import UNET  # noqa: E402  (imports torch)
from export.shared import hub  # noqa: E402
from export.shared.exporter import export_model  # noqa: E402
from export.shared.network import (  # noqa: E402
    ServedModel,
    load_synthetic,
)
from export.shared.onnx_graph import open_session  # noqa: E402
from export.vae import source as vae_source  # noqa: E402
from export.whisper import source as whisper_source  # noqa: E402
from export.whisper.network import WHISPER  # noqa: E402
from lipsync_core.config_file import read_contract  # noqa: E402
from lipsync_core.weights import WeightsNote, read_note, read_trained_resolution, write_note  # noqa: E402
from tests.conftest import REPOSITORY  # noqa: E402
from tests.imitation_hub import Fault, ImitationHub  # noqa: E402
from tests.synthetic_networks import (  # noqa: E402
    LATENTSYNC_UNET,
    SMALL_LATENTSYNC,
    TENSORRT_OPERATORS,
    FileFormat,
    exported_models,
    exported_network,
)

MODELS = exported_models(SMALL_LATENTSYNC)
OF_EVERY_MODEL = [  # the export of the UNet takes minutes
    pytest.param(model, marks=pytest.mark.long) if model in LATENTSYNC_UNET.models else model for model in MODELS
]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    for model in MODELS:
        (folder / model).mkdir(parents=True)
        shutil.copy(REPOSITORY / model / "config.pbtxt", folder / model)
    return folder


def small_shallow(seed_shift: int = 0) -> ServedModel:
    return UNET.models(load_synthetic(UNET, size="small", seed_shift=seed_shift))[1]


@pytest.mark.parametrize("model", OF_EVERY_MODEL)
def test_graphs_hold_operators_that_tensorrt_reads(model: str) -> None:
    """Opset 18, free axes where config.pbtxt has them, nothing of the machine that exported."""
    graph = onnx.load(exported_network(model))
    assert {node.op_type for node in graph.graph.node} <= TENSORRT_OPERATORS
    assert [(entry.domain, entry.version) for entry in graph.opset_import] == [("", 18)]
    assert not any(node.metadata_props or node.doc_string for node in graph.graph.node)
    specs = {spec.name for spec in read_contract(REPOSITORY / model).inputs}
    assert {value.name for value in graph.graph.input} == specs


@pytest.mark.long
def test_the_unet_is_exported_in_half_precision(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Same inputs and outputs, half the size; errors, hashes and licences are printed."""
    lines = export_model(small_shallow(), repository, precision="fp16")
    path = repository / "latentsync_unet_shallow" / "1" / "model.onnx"
    content = path.read_bytes()
    assert f"{len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}" in lines
    assert "fp16, largest difference from torch in fp32 0.00" in lines
    types = {tensor.data_type for tensor in onnx.load_from_string(content).graph.initializer}
    assert onnx.TensorProto.FLOAT16 in types
    assert sorted(path.parent.iterdir()) == [path]


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


def test_downloads_are_pinned() -> None:
    """By a whole commit hash and by content."""
    for file in (*latentsync_source.PUBLISHED.values(), vae_source.PUBLISHED, whisper_source.PUBLISHED):
        assert len(file.revision) == 40
        assert len(file.sha256) == 64


@pytest.fixture
def published_whisper(imitation_hub: ImitationHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> hub.HubFile:
    """Synthetic weights of Whisper, published on the imitation hub."""
    weights = {f"model.{key}": value for key, value in load_synthetic(WHISPER).state_dict().items()}
    torch.save(weights, tmp_path / "tiny.pt")
    content = (tmp_path / "tiny.pt").read_bytes()
    sha256 = imitation_hub.add("owner/whisper", "0" * 40, "whisper/tiny.pt", content)
    file = hub.HubFile("owner/whisper", "0" * 40, "whisper/tiny.pt", sha256)
    monkeypatch.setattr(whisper_source, "PUBLISHED", file)
    return file


@pytest.mark.usefixtures("networks_of_the_tests")
def test_what_is_not_given_is_downloaded(
    repository: Path, published_whisper: hub.HubFile, capsys: pytest.CaptureFixture[str]
) -> None:
    """The licence is named first, with where the file comes from; then its hash."""
    assert main(["whisper", "--download", "--repository", str(repository)]) == 0
    license_line, checkpoint_line, *_ = capsys.readouterr().out.splitlines()
    assert license_line == f"Whisper tiny: {WHISPER.license_line}, from owner/whisper/whisper/tiny.pt on Hugging Face"
    assert checkpoint_line.endswith(f"tiny.pt: sha256 {published_whisper.sha256}, as published")
    session = open_session(repository / "whisper_encoder" / "1" / "model.onnx")
    assert session.get_outputs()[0].shape[1:] == [1500, 5, 384]


@pytest.mark.parametrize(("command", "licences"), [("whisper", 1), ("latentsync", 3)])
def test_licences_are_named_before_the_first_download(
    imitation_hub: ImitationHub,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    licences: int,
) -> None:
    """Those of all networks of the command, so that one can still stop it."""
    printed: list[str] = []

    def stop(*_: object) -> None:
        printed.extend(capsys.readouterr().out.splitlines())
        raise ValueError("stopped")

    monkeypatch.setattr("export.shared.sources.fetch", stop)
    assert main([command, "--download", "--repository", str(repository)]) == 1
    named = [line for line in printed if "licence of the weights: " in line and line.endswith("on Hugging Face")]
    assert len(named) == licences
    assert imitation_hub.seen == []


def test_a_failed_download_is_told_after_the_licence(
    imitation_hub: ImitationHub, published_whisper: hub.HubFile, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line; nothing is written."""
    imitation_hub.faults = [Fault(status=403)]
    assert main(["whisper", "--download", "--repository", str(repository)]) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith(f"Whisper tiny: {WHISPER.license_line}")
    assert printed.err.startswith("export whisper: owner/whisper/whisper/tiny.pt: expected a download at revision 000")
    assert printed.err.count("\n") == 1
    assert not list(repository.glob("*/1/*"))


def test_what_cannot_be_exported_is_not_downloaded(
    imitation_hub: ImitationHub, repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong file beside the download, other weights in place, and another repository are noticed before."""
    arguments = ["latentsync", "--download", "--vae", str(tmp_path / "no.pt"), "--repository", str(repository)]
    assert main(arguments) == 1
    assert "no.pt: expected a checkpoint file, got no such file" in capsys.readouterr().err
    network = repository / "vae_encoder" / "1" / "model.onnx"
    network.parent.mkdir()
    network.write_bytes(b"put there by hand")
    assert main(["vae", "--download", "--repository", str(repository)]) == 1
    assert "expected a note on its weights" in capsys.readouterr().err
    assert main(["whisper", "--download", "--repository", str(tmp_path)]) == 1
    line = capsys.readouterr().err
    assert f"{tmp_path}: expected a model repository with whisper_encoder, got none. It is the folder" in line
    assert imitation_hub.seen == []


def test_an_interrupted_command_ends_in_one_line(
    published_whisper: hub.HubFile,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With the exit code of Ctrl-C, without a traceback."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(hub, "download", interrupt)
    assert main(["whisper", "--download", "--repository", str(repository)]) == 130
    assert capsys.readouterr().err == "export whisper: interrupted\n"


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


@pytest.mark.parametrize("file_format", ["onnx", pytest.param("torch", marks=pytest.mark.long)])
@pytest.mark.parametrize("model", OF_EVERY_MODEL)
def test_synthetic_weights_are_noted_beside_each_network(model: str, file_format: FileFormat) -> None:
    """All models that come from the same weights say so."""
    size = "full" if model == "whisper_encoder" else "small"
    note = read_note(exported_network(model, file_format))
    assert note == WeightsNote(seed_shift=0, size=size)


VAE_COMMAND = ["vae", "--synthetic-weights", "--size", "small"]


@pytest.mark.usefixtures("networks_of_the_tests")
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


@pytest.mark.usefixtures("networks_of_the_tests")
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
