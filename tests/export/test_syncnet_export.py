from __future__ import annotations

import shutil
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="no torch; run: make test")

from export.__main__ import main  # noqa: E402
from export.shared.checkpoint import module_shapes  # noqa: E402
from export.syncnet import source  # noqa: E402
from export.syncnet.network import SyncNet  # noqa: E402
from export.syncnet.synthetic_weights import syncnet_weights  # noqa: E402
from lipsync_core.weights import read_note  # noqa: E402
from tests.conftest import REPOSITORY  # noqa: E402

MODELS = ("syncnet_lips", "syncnet_sound")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of SyncNet's configs."""
    for model in MODELS:
        (tmp_path / "models" / model / "1").mkdir(parents=True)
        shutil.copy(REPOSITORY / model / "config.pbtxt", tmp_path / "models" / model)
    return tmp_path / "models"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A file like the published one, without the counters of batch norms, which it may lack."""
    weights = syncnet_weights(module_shapes(SyncNet()))
    path = tmp_path / "syncnet_v2.model"
    torch.save({key: torch.from_numpy(value) for key, value in weights.items() if "tracked" not in key}, path)
    return path


@pytest.mark.long
def test_another_file_of_the_same_shapes_is_taken_with_a_warning(
    checkpoint: Path,
    repository: Path,
    networks_of_the_tests: None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The published file is known by its size and hash; its licence is named before anything is written."""
    command = ["syncnet", "--weights", str(checkpoint), "--repository", str(repository)]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert said.startswith("SyncNet (syncnet_v2.model): licence of the weights: not stated by their authors")
    assert f"{checkpoint}: warning: not the published syncnet_v2.model (54,573,114 bytes, sha256 961e8696" in said
    notes = [read_note(repository / model / "1" / "model.onnx") for model in MODELS]
    assert notes[0] is not None
    assert notes[0] == notes[1]
    assert not notes[0].synthetic
    monkeypatch.setattr(source, "PUBLISHED_BYTES", checkpoint.stat().st_size)
    monkeypatch.setattr(source, "PUBLISHED_SHA256", notes[0].checkpoint_sha256)
    assert main(command) == 0
    assert f"{checkpoint}: the published syncnet_v2.model" in capsys.readouterr().out


def test_other_networks_fail(repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The older SyncNet has other shapes; a folder, a page and nothing at all are named."""
    weights = syncnet_weights({"netcnnaud.0.weight": (96, 1, 3, 3)})
    old = tmp_path / "syncnet.model"
    torch.save({key: torch.from_numpy(value) for key, value in weights.items()}, old)
    page = tmp_path / "page.model"
    page.write_text("<!DOCTYPE html>")
    for arguments, message in (
        (["--weights", str(old)], "syncnet.model: expected SyncNet (syncnet_v2.model), got no netcnnaud.0.bias"),
        (["--weights", str(page)], "page.model: expected a checkpoint, got an HTML page"),
        ([], "expected --weights or --synthetic-weights, got none"),
    ):
        assert main(["syncnet", *arguments, "--repository", str(repository)]) == 1
        assert message in capsys.readouterr().err
    assert not list(repository.glob("*/1/model.onnx"))
