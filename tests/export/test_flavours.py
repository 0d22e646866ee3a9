"""configs/*.pbtxt are what flavours.toml and config.pbtxt say, and few numbers change many of them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from export.__main__ import main
from export.flavours.command import stale_files
from export.flavours.table import TABLE_FILE, parse_table
from lipsync_core.config_file import read_contract
from tests.conftest import REPOSITORY

FLAVOUR_HEAD = '[flavours.torch]\nbackend = "torch"\nkind = "KIND_CPU"\ncommand = "c"\nnetwork = "n"\n'


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of the configs, to change."""
    for path in REPOSITORY.glob("*/**/*.pbtxt"):
        copy = tmp_path / path.relative_to(REPOSITORY)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    shutil.copy(REPOSITORY / TABLE_FILE, tmp_path)
    return tmp_path


def replace(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def test_committed_flavours_are_current() -> None:
    """If this fails, run `python -m export flavours`."""
    assert stale_files(REPOSITORY) == []


def test_the_command_writes_what_is_missing_wrong_or_too_much(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And --check only says so."""
    configs = repository / "vae_encoder" / "configs"
    (configs / "torch.pbtxt").unlink()
    replace(configs / "tensorrt.pbtxt", "KIND_GPU", "KIND_CPU")
    (configs / "forgotten.pbtxt").touch()
    assert main(["flavours", "--check", "--repository", str(repository)]) == 1
    assert "got others in vae_encoder/configs/forgotten.pbtxt, vae_encoder/configs/tenso" in capsys.readouterr().err
    assert main(["flavours", "--repository", str(repository)]) == 0
    assert stale_files(repository) == []
    assert not (configs / "forgotten.pbtxt").exists()
    assert main(["flavours", "--check", "--repository", str(repository)]) == 0


@pytest.mark.parametrize("flavour", sorted(REPOSITORY.glob("*/configs/torch*.pbtxt")), ids=lambda path: str(path)[-60:])
def test_requests_are_joined_only_for_batches_that_are_compiled(flavour: Path) -> None:
    """Joined requests of a network that is compiled for single rows would wait for each other, and be split again."""
    shapes = read_contract(flavour.parents[1], flavour.stem).parameters.get("shapes")
    if shapes is not None:
        batches = {int(size) for size in re.findall(r"=(\d+)", shapes)}
        assert ("dynamic_batching { }" in flavour.read_text()) is (max(batches) > 1)


def test_latentsyncs_batching_is_changed_in_its_config(repository: Path) -> None:
    """Frames, images and branches per call reach every flavour of the networks from there."""
    config = repository / "latentsync" / "config.pbtxt"
    for key, before, after in (("num_frames", 16, 24), ("images_per_call", 8, 12), ("branches_per_call", 2, 1)):
        line = 'parameters {{ key: "{}" value {{ string_value: "{}" }} }}'
        replace(config, line.format(key, before), line.format(key, after))
    assert main(["flavours", "--repository", str(repository)]) == 0
    unet = read_contract(repository / "latentsync_unet", "torch").parameters["shapes"]
    assert unet == (
        "sample=1x13x24x32x32 timestep=1x1 audio_tokens=1x24x50x384;"
        "sample=1x13x24x64x64 timestep=1x1 audio_tokens=1x24x50x384"
    )
    assert read_contract(repository / "vae_encoder", "torch").parameters["shapes"].startswith("images=12x3x256x256;")
    assert read_contract(repository / "vae_decoder", "torch_low_memory").parameters["shapes"] == (
        "latents=1x4x32x32;latents=1x4x64x64"
    )
    profile = read_contract(repository / "latentsync_unet_shallow", "tensorrt").parameters["profile_max"]
    assert profile.endswith("deep_features=4x1x320x24x64x64")


def test_flavours_fails_on_axes_unlike_the_config(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message names the model and its input."""
    replace(repository / TABLE_FILE, 'timestep = ["branches"]\n', "")
    assert main(["flavours", "--repository", str(repository)]) == 1
    assert "latentsync_unet: expected 1 axes for timestep [-1], got []" in capsys.readouterr().err


def test_flavours_fails_on_a_size_that_is_not_there(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message names the model and what there is."""
    replace(repository / TABLE_FILE, "height = 1080, width = 1920", "height = 1080")
    assert main(["flavours", "--repository", str(repository)]) == 1
    assert "s3fd: expected the size 'width', got batch, height" in capsys.readouterr().err


def test_a_table_fails_on_an_unknown_key() -> None:
    """The message lists the known ones."""
    with pytest.raises(ValueError, match=r"shape: expected one of comment, instances, parameters, shapes"):
        parse_table(f"{FLAVOUR_HEAD}[models.toy.torch]\nshape = {{ batch = 1 }}\n")
