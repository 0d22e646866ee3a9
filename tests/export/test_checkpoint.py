from __future__ import annotations

import argparse
import gzip
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
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


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize("named", ["x.safetensors", "x.pt"])
@pytest.mark.parametrize("content", ["safetensors", "zip", "older"])
def test_a_file_is_read_as_what_it_is(tmp_path: Path, trained: Small, named: str, content: str) -> None:
    """Whatever its name says."""
    if content == "safetensors":
        save_file(trained.state_dict(), tmp_path / named)
    else:
        torch.save(trained.state_dict(), tmp_path / named, _use_new_zipfile_serialization=content == "zip")
    assert_loads(tmp_path / named, trained)


@pytest.mark.parametrize("length", [ord("<"), ord("{"), ord("<") + 256])
def test_a_length_that_looks_like_text_is_none(tmp_path: Path, trained: Small, length: int) -> None:
    """A safetensors file begins with its header's length, of any value."""
    save_file(trained.state_dict(), tmp_path / "x.safetensors")
    whole = (tmp_path / "x.safetensors").read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    header = whole[8:start].rstrip()
    size = length + (len(header) - length + 255) // 256 * 256
    (tmp_path / "x.safetensors").write_bytes(size.to_bytes(8, "little") + header.ljust(size) + whole[start:])
    assert_loads(tmp_path / "x.safetensors", trained)


def test_what_training_leaves_beside_the_weights_is_dropped(tmp_path: Path, trained: Small) -> None:
    """NumPy's counters and the arguments, with their paths, hold data only."""
    beside = {
        "global_step": np.int64(7),
        "loss": np.float32(0.5),
        "random_state": np.arange(3),
        "args": argparse.Namespace(lr=0.1, folder=Path("x"), sizes=[1, 2]),
    }
    assert_loads(saved(tmp_path / "x.pth", {"state_dict": trained.state_dict(), **beside}), trained)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
def test_prefixes_and_wrappers_are_removed(tmp_path: Path, trained: Small, prefix: str, key: str) -> None:
    """Of parallel training and compilation."""
    weights = {f"{prefix}{name}": value for name, value in trained.state_dict().items()}
    assert_loads(saved(tmp_path / "x.pth", {key: weights}), trained)


def test_counters_may_be_missing(tmp_path: Path, trained: Small) -> None:
    """They count training steps; such a checkpoint of the other network is told all the same."""
    weights = {key: value for key, value in trained.state_dict().items() if not key.endswith("num_batches_tracked")}
    assert_loads(saved(tmp_path / "x.pth", weights), trained)
    wide = {key: value for key, value in Small(5).state_dict().items() if not key.endswith("num_batches_tracked")}
    assert_fails(saved(tmp_path / "x.pth", wide), "It holds a wide network; give it with --wide")


@pytest.mark.parametrize("ones", [1, 2])
def test_convolutions_of_one_pixel_are_linear_layers(tmp_path: Path, trained: Small, ones: int) -> None:
    """Older files hold attention so; what has other sizes stays wrong."""
    weights = trained.state_dict()
    weights["layer.weight"] = weights["layer.weight"].reshape(3, 2, *[1] * ones)
    assert_loads(saved(tmp_path / "x.pth", weights), trained)
    weights["layer.weight"] = weights["layer.weight"].reshape(2, 3, *[1] * ones)
    assert_fails(saved(tmp_path / "x.pth", weights), "wrong shapes: layer.weight")


def test_archives_without_checksums_load(tmp_path: Path, trained: Small) -> None:
    """Torch can be told to write none."""
    torch.serialization.set_crc32_options(False)
    try:
        saved(tmp_path / "x.pth", trained.state_dict())
    finally:
        torch.serialization.set_crc32_options(True)
    assert_loads(tmp_path / "x.pth", trained)


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
        (b'{"weight_map": {}}', "got a JSON file. Give the file that holds the weights"),
        (b"GGUF\3\0\0\0", "got a GGUF file"),
        (gzip.compress(b"weights", mtime=0), "got a gzip archive. Unpack it"),
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
    assert_fails(tmp_path / "x.pth", "one with other objects, print, which are not loaded")
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


def test_load_checkpoint_fails_on_a_folder(tmp_path: Path) -> None:
    """It is not called missing."""
    assert_fails(tmp_path, "expected a checkpoint file, got a folder. Give the file in it")


def rewrite(source: Path, target: Path, keep: Callable[[str], bool]) -> Path:
    """Copy an archive without some of its files."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in filter(keep, old.namelist()):
            new.writestr(name, old.read(name))
    return target


def test_load_checkpoint_fails_on_torchscript_that_is_not_whole(tmp_path: Path, trained: Small) -> None:
    """Without its code nobody knows its modules; a file named as in such an archive makes none of another."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(trained, torch.zeros(1, 2)), tmp_path / "whole.pt")
    path = rewrite(tmp_path / "whole.pt", tmp_path / "x.pt", lambda name: "/code/" not in name)
    assert_fails(path, "expected a TorchScript archive, got one without its code. Download it again, or give a state")
    path = rewrite(tmp_path / "whole.pt", tmp_path / "y.pt", lambda name: not name.endswith("/data/0"))
    assert_fails(path, "expected a TorchScript archive, got one that torch cannot read")
    with zipfile.ZipFile(saved(tmp_path / "z.pth", trained.state_dict()), "a") as archive:
        archive.writestr("z/constants.pkl", b"x")
    assert_fails(tmp_path / "z.pth", "got one without its code")


def test_load_checkpoint_fails_on_another_archive(tmp_path: Path, trained: Small) -> None:
    """Such as a checkpoint that somebody packed."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(saved(tmp_path / "w.pth", trained.state_dict()), "models/w.pth")
    assert_fails(tmp_path / "x.zip", "got a zip archive of other files, such as models/w.pth. Unpack it")
    with zipfile.ZipFile(tmp_path / "y.zip", "w") as archive:
        archive.writestr("a/constants.pkl", b"x")
    assert_fails(tmp_path / "y.zip", "got a zip archive of other files, such as a/constants.pkl")


def test_load_checkpoint_fails_on_changed_bytes(tmp_path: Path, trained: Small) -> None:
    """A byte that was flipped anywhere in an archive changes no weight unnoticed."""
    path = saved(tmp_path / "x.pth", trained.state_dict())
    whole = path.read_bytes()
    refused = 0
    for place in range(0, len(whole), max(1, len(whole) // 150)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        try:
            assert_loads(path, trained)
        except ValueError:
            refused += 1
    assert refused > 50
    place = whole.index(trained.layer.weight.detach().numpy().tobytes())
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    assert_fails(path, r"got damaged bytes \(Bad CRC-32 for file 'x/data/0'\). Download it again")


UNUSABLE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "sparse tensors": lambda weight: weight.to_sparse(),
    "tensors without values": lambda weight: weight.to("meta"),
    r"unsupported types \(qint8\)": lambda weight: torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8),
    r"unsupported types \(int64\)": lambda weight: weight.long(),
    r"unsupported types \(uint8\)": lambda weight: weight.byte(),
    r"unsupported types \(complex64\)": lambda weight: weight + 0j,
    r"unsupported types \(float8_e4m3fn\)": lambda weight: weight.to(torch.float8_e4m3fn),
}


@pytest.mark.parametrize("got", UNUSABLE)
def test_load_checkpoint_fails_on_tensors_that_are_no_weights(tmp_path: Path, trained: Small, got: str) -> None:
    """Whatever they are; what would help is said."""
    weights = trained.state_dict()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates some of these kinds
        weights["layer.weight"] = UNUSABLE[got](weights["layer.weight"])
        assert_fails(saved(tmp_path / "x.pth", weights), rf"got {got}.* in layer.weight\. (Save|Give)")


@pytest.mark.parametrize("dtype", ["U8", "F8_E4M3"])
def test_load_checkpoint_fails_on_safetensors_of_other_types(tmp_path: Path, trained: Small, dtype: str) -> None:
    """They are not called cut off."""
    kinds = {"U8": torch.uint8, "F8_E4M3": torch.float8_e4m3fn}
    save_file({key: value.to(kinds[dtype]) for key, value in trained.state_dict().items()}, tmp_path / "x.safetensors")
    assert_fails(tmp_path / "x.safetensors", "got unsupported types")


@pytest.mark.parametrize(
    "header",
    [
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":' + b"[" * 900 + b"]" * 900 + b"}}",
        b'{"a":{"dtype":"XX","shape":[2],"data_offsets":[0,8]}}',
        b'{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}}',
    ],
)
def test_load_checkpoint_fails_on_a_strange_header(tmp_path: Path, header: bytes) -> None:
    """What safetensors cannot read in it is said, in a few words."""
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 8)
    assert_fails(tmp_path / "x.safetensors", "got one with an unreadable header")


def test_load_checkpoint_fails_on_objects_by_name(tmp_path: Path, trained: Small) -> None:
    """Whole modules need their code, which is not run."""
    assert_fails(saved(tmp_path / "x.pth", trained), r"other objects, .*Small, which are not loaded.* state dict alone")
