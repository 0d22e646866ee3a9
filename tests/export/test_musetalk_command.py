from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="no torch; run: make test")
pytest.importorskip("diffusers", reason="no diffusers; run: make test")

from export.__main__ import main  # noqa: E402
from export.musetalk import source as musetalk_source  # noqa: E402  (imports torch)
from export.musetalk.network import PARSER, UNET  # noqa: E402
from export.shared import hub  # noqa: E402
from export.shared.network import load_synthetic  # noqa: E402
from lipsync_core.weights import WeightsNote, read_note  # noqa: E402
from tests.conftest import REPOSITORY  # noqa: E402
from tests.export.musetalk_helpers import TRAINING_HEADS, Weights, published_parser, save  # noqa: E402
from tests.imitation_hub import ImitationHub  # noqa: E402
from tests.synthetic_networks import SMALL_MUSETALK, exported_models  # noqa: E402


@pytest.fixture(scope="module")
def unet_weights() -> Weights:
    """The small UNet's weights."""
    return load_synthetic(UNET, size="small").state_dict()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    for model in exported_models(SMALL_MUSETALK):
        (folder / model).mkdir(parents=True)
        shutil.copy(REPOSITORY / model / "config.pbtxt", folder / model)
    return folder


@pytest.fixture
def small_unet_as_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints of the small UNet are loaded as if they were of full size."""
    monkeypatch.setattr(musetalk_source, "UNET", replace(UNET, build=lambda _size: UNET.build("small")))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected --unet, --face-parsing, --vae, --whisper, --download or --synthetic-weights, got none"),
        (["--size", "small", "--unet", "unet.pth"], "--size: expected full with real weights, got small"),
        (["--face-parsing", "79999_iter.pth"], "79999_iter.pth: expected a checkpoint file, got no such file"),
    ],
)
def test_musetalk_command_fails_in_one_line(
    repository: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    """What to give is said, and nothing is written."""
    assert main(["musetalk", *arguments, "--repository", str(repository)]) == 1
    line = capsys.readouterr().err
    assert line.startswith("export musetalk: ")
    assert message in line
    assert line.count("\n") == 1
    assert not list(repository.glob("*/1/*"))


def test_musetalk_settings_are_no_checkpoint(
    tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file beside the weights is taken for what it is."""
    path = tmp_path / "musetalk.json"
    path.write_text('{"in_channels": 8}')
    assert main(["musetalk", "--unet", str(path), "--repository", str(repository)]) == 1
    line = capsys.readouterr().err
    assert f"{path}: expected a checkpoint, got a JSON file. Give the file that holds the weights" in line


def test_musetalk_command_names_a_mixed_up_option(
    tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The parser given as the UNet: the line says where it belongs."""
    weights = {key: value for key, value in published_parser().items() if not key.startswith(TRAINING_HEADS)}
    path = save(tmp_path / "79999_iter.pth", weights)
    assert main(["musetalk", "--unet", str(path), "--repository", str(repository)]) == 1
    assert f"It holds {PARSER.title}; give it with --face-parsing" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.usefixtures("networks_of_the_tests", "small_unet_as_full")
def test_musetalk_versions_cannot_be_told_apart(
    tmp_path: Path, repository: Path, unet_weights: Weights, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line says so, unless the hash was pinned; the version is noted beside the network."""
    path = save(tmp_path / "unet.pth", unet_weights)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    arguments = ["musetalk", "--unet", str(path), "--version", "1.0", "--repository", str(repository)]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"{path}: sha256 {digest}" in lines
    assert any(line.startswith(f"{path}: taken for MuseTalk 1.0, but 1.0 and 1.5 have the same keys") for line in lines)
    note = WeightsNote(digest, version="1.0")
    assert read_note(repository / "musetalk_unet" / "1" / "model.onnx") == note
    assert main([*arguments, "--sha256", digest.upper()]) == 0
    assert "taken for" not in capsys.readouterr().out


def test_musetalk_version_is_refused_by_its_hash(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Published weights of 1.5 given as 1.0; and any file that is not the pinned one."""
    path = tmp_path / "unet.pth"
    path.write_bytes(b"weights of 1.5")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(musetalk_source.PUBLISHED, "1.5", hub.HubFile("a/b", "0" * 40, path.name, digest))
    arguments = ["musetalk", "--unet", str(path), "--repository", str(repository)]
    assert main([*arguments, "--version", "1.0"]) == 1
    line = capsys.readouterr().err
    assert f"{path}: expected MuseTalk 1.0, got MuseTalk 1.5. Give --version 1.5, or the other checkpoint" in line
    assert main([*arguments, "--sha256", "0" * 64]) == 1
    assert f"{path}: expected sha256 {'0' * 64}, as pinned, got {digest}" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*arguments, "--sha256", "0123"])
    assert "expected 64 hexadecimal digits, got '0123'" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.usefixtures("networks_of_the_tests", "small_unet_as_full")
def test_musetalk_settings_that_differ_from_the_weights_are_told(
    tmp_path: Path, repository: Path, unet_weights: Weights, capsys: pytest.CaptureFixture[str]
) -> None:
    """The published file once had 32 and 16 channels: the weights count, and a line says so."""
    path = save(tmp_path / "unet.pth", unet_weights)
    settings = tmp_path / "musetalk.json"
    for text, told in (
        (json.dumps({"in_channels": 32, "out_channels": 16, "cross_attention_dim": 384}), True),
        (json.dumps({"in_channels": 8, "out_channels": 4}), False),
        ("[1, 2", False),
    ):
        settings.write_text(text)
        assert main(["musetalk", "--unet", str(path), "--repository", str(repository)]) == 0
        line = f"{settings}: says in_channels 32 for 8, out_channels 16 for 4. It is not read: "
        assert (line in capsys.readouterr().out) is told


@pytest.mark.long
@pytest.mark.usefixtures("networks_of_the_tests", "small_unet_as_full")
def test_musetalk_without_parser_says_what_it_costs(
    tmp_path: Path, repository: Path, unet_weights: Weights, capsys: pytest.CaptureFixture[str]
) -> None:
    """And how to bring it; whoever leaves it out by choice is not told."""
    path = save(tmp_path / "unet.pth", unet_weights)
    arguments = ["musetalk", "--unet", str(path), "--repository", str(repository)]
    assert main(arguments) == 0
    line = "face_parsing: left out, so only the mouth area `mouth` works. It takes 79999_iter.pth (53 MB, for"
    assert line in capsys.readouterr().out
    assert not (repository / "face_parsing" / "1").exists()
    assert main([*arguments, "--only", "unet"]) == 0
    assert line not in capsys.readouterr().out


def test_musetalk_downloads_are_pinned() -> None:
    """By a whole commit hash, and by content where a source tells it."""
    files = [*musetalk_source.PUBLISHED.values(), musetalk_source.PUBLISHED_PARSER]
    assert all(len(file.revision) == 40 for file in files)
    assert [file.file for file in files if file.sha256 is None] == ["musetalk/pytorch_model.bin"]


@pytest.mark.long
@pytest.mark.usefixtures("networks_of_the_tests", "small_unet_as_full")
def test_musetalk_download_of_unknown_hash_prints_it(
    imitation_hub: ImitationHub,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    repository: Path,
    unet_weights: Weights,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It can be pinned then: another one is refused, also if it was downloaded before."""
    content = save(tmp_path / "pytorch_model.bin", unet_weights).read_bytes()
    digest = imitation_hub.add("owner/musetalk", "0" * 40, "pytorch_model.bin", content)
    file = hub.HubFile("owner/musetalk", "0" * 40, "pytorch_model.bin", None)
    monkeypatch.setitem(musetalk_source.PUBLISHED, "1.0", file)
    arguments = ["musetalk", "--download", "--version", "1.0", "--only", "unet", "--repository", str(repository)]
    for pinned in ([], ["--sha256", digest], []):
        assert main([*arguments, *pinned]) == 0
        printed = capsys.readouterr().out
        assert f"pytorch_model.bin: sha256 {digest}\n" in printed
        assert ("taken for MuseTalk 1.0" in printed) is not bool(pinned)
    assert read_note(repository / "musetalk_unet" / "1" / "model.onnx") == WeightsNote(digest, version="1.0")
    assert main([*arguments, "--sha256", "0" * 64]) == 1
    assert f"expected sha256 {'0' * 64}, got {digest}. It was deleted" in capsys.readouterr().err
