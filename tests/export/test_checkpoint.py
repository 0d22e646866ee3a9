from __future__ import annotations

import warnings
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="no torch; run: make test")

from safetensors.torch import save_file  # noqa: E402

from export.shared.network import Network, load_checkpoint  # noqa: E402  (imports torch)


class Small(torch.nn.Module):
    """A network small enough to be written in every way."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, width)
        self.norm = torch.nn.BatchNorm1d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.layer(x))


def network(title: str, width: int = 3) -> Network:
    return Network(
        title=title,
        license_line="none",
        build=lambda _size: Small(width),
        models=lambda _module: [],
        synthetic=lambda _shapes, _shift: {},
    )


SMALL, WIDE = network("a small network"), network("a wide network", 5)


class Trap:
    """Would run code when unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("unpickled",))


@pytest.fixture
def trained() -> Small:
    torch.manual_seed(0)
    return Small().eval()


def assert_loads(path: Path, trained: Small) -> None:
    loaded = load_checkpoint(SMALL, path).state_dict()
    for key, value in trained.state_dict().items():
        assert torch.equal(loaded[key], value), key
        assert loaded[key].dtype == value.dtype, key


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrapped", [True, False])
def test_state_dicts_load(tmp_path: Path, trained: Small, zipped: bool, wrapped: bool) -> None:
    """Flat, or of a training checkpoint whose optimizer is dropped; torch's new file format and its old one."""
    weights = {f"module.{key}": value for key, value in trained.state_dict().items()}
    optimizer = torch.optim.Adam(trained.parameters()).state_dict()
    content = {"state_dict": weights, "optimizer": optimizer, "global_step": 7} if wrapped else weights
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    assert_loads(tmp_path / "x.pth", trained)


def test_an_archive_of_torchscript_loads(tmp_path: Path, trained: Small) -> None:
    """Newer downloads are such archives."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch wants another format; the files that are out there stay
        torch.jit.save(torch.jit.trace(trained, torch.zeros(1, 2)), tmp_path / "x.pt")
    assert_loads(tmp_path / "x.pt", trained)


def test_safetensors_load(tmp_path: Path, trained: Small) -> None:
    """Metadata is skipped, and half precision becomes float32."""
    path = tmp_path / "x.safetensors"
    save_file(trained.state_dict(), path, {"format": "pt"})
    assert_loads(path, trained)
    save_file({key: value.bfloat16() for key, value in trained.state_dict().items()}, path)
    assert load_checkpoint(SMALL, path).get_parameter("layer.weight").dtype == torch.float32


def assert_fails(path: Path, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load_checkpoint(SMALL, path, others={"--wide": WIDE})
    assert str(caught.value).startswith(f"{path}: expected ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "got no such file"),
        (b"", "got an empty file"),
        (b"<!DOCTYPE html><html>Sign in</html>", "got an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "got a git-lfs pointer"),
        (b"\x00\x01\x02 something else", "got no checkpoint"),
        (b"plain text", "got no checkpoint"),
    ],
)
def test_load_checkpoint_fails_on_no_checkpoint(tmp_path: Path, content: bytes | None, message: str) -> None:
    """What the file is instead is said."""
    path = tmp_path / "x.pth"
    if content is not None:
        path.write_bytes(content)
    assert_fails(path, message)


@pytest.mark.parametrize("zipped", [True, False])
def test_load_checkpoint_fails_on_a_cut_off_file(tmp_path: Path, trained: Small, zipped: bool) -> None:
    """A broken download is the most frequent mistake; it is told wherever the file breaks off."""
    path = tmp_path / "x.pth"
    torch.save(trained.state_dict(), path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for end in range(1, len(whole) - 1, max(1, len(whole) // 200)):
        path.write_bytes(whole[:end])
        assert_fails(path, "no checkpoint")


def test_load_checkpoint_fails_on_cut_off_safetensors(tmp_path: Path, trained: Small) -> None:
    """Its header says how long it should be."""
    path = tmp_path / "x.safetensors"
    save_file(trained.state_dict(), path)
    path.write_bytes(path.read_bytes()[:-8])
    assert_fails(path, "cut off or no checkpoint")


def test_load_checkpoint_fails_on_more_than_tensors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is unpickled that is not a tensor."""
    torch.save({"state_dict": Trap()}, tmp_path / "x.pth")
    assert_fails(tmp_path / "x.pth", "one with other objects, which are not loaded")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [([1, 2], "got list"), ({}, "got an empty one"), ({"epoch": 3}, "got int at 'epoch'")],
)
def test_load_checkpoint_fails_on_no_state_dict(tmp_path: Path, content: object, message: str) -> None:
    """What it holds instead is said."""
    torch.save(content, tmp_path / "x.pth")
    assert_fails(tmp_path / "x.pth", message)


def test_load_checkpoint_fails_on_other_keys(tmp_path: Path, trained: Small) -> None:
    """The first missing, unexpected and misshapen ones are named."""
    weights = trained.state_dict()
    weights["extra"] = weights.pop("layer.bias")
    weights["norm.weight"] = torch.ones(7)
    torch.save(weights, tmp_path / "x.pth")
    assert_fails(
        tmp_path / "x.pth",
        r"got no layer.bias; unexpected extra; wrong shapes: norm.weight \[7\] for \[3\]. Give the original checkpoint",
    )


def test_load_checkpoint_fails_on_the_other_network(tmp_path: Path) -> None:
    """A mix-up is called one."""
    torch.save(Small(5).state_dict(), tmp_path / "x.pth")
    assert_fails(tmp_path / "x.pth", r"It holds a wide network; give it with --wide")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_load_checkpoint_fails_on_weights_that_are_no_numbers(tmp_path: Path, trained: Small, value: float) -> None:
    """They would draw nothing, or black."""
    weights = trained.state_dict()
    weights["layer.weight"][1, 1] = value
    torch.save(weights, tmp_path / "x.pth")
    assert_fails(tmp_path / "x.pth", "expected finite weights, got NaN or infinity in layer.weight")
