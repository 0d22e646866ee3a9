from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="no torch; run: make test")

from torch import nn  # noqa: E402

from lipsync_core.programs import cache, device, runner  # noqa: E402
from lipsync_core.programs.program import load_program, save_program  # noqa: E402
from lipsync_core.programs.runner import InPrecision, StaticRunner  # noqa: E402
from lipsync_core.programs.settings import ProgramSettings  # noqa: E402
from tests.closeness import assert_close  # noqa: E402

CPU = torch.device("cpu")
HALF_ERROR = 0.02  # of outputs about 1 in size: eight bits of mantissa in bf16
RECORD = cache.CacheRecord("2.13.0", "a card", "a hash", "fp16 default")


class Toy(nn.Module):
    """A convolution, a norm and a product, in which rows do not see each other."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.norm, self.linear = nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.Linear(8, 8)

    def forward(self, images: torch.Tensor, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.norm(self.convolution(images)).mean(dim=(2, 3)) * scale
        return self.linear(x), x + torch.arange(8)


def toy_inputs(rows: int, edge: int = 8) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(rows)
    return [torch.randn(rows, 3, edge, edge, generator=random), torch.rand(rows, 1, generator=random)]


def toy_program(path: Path) -> Path:
    axes = ({0: torch.export.Dim.AUTO}, {0: torch.export.Dim.AUTO})
    program = torch.export.export(Toy().eval(), tuple(toy_inputs(2)), dynamic_shapes=axes)
    save_program(program, path, ("images", "scale"), ("mixed", "counted"))
    return path


def settings(**changed: Any) -> ProgramSettings:
    return ProgramSettings(**{"precision": "fp32", "compile": "eager", "shapes": "", **changed})


def expected(inputs: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    with torch.inference_mode():
        return Toy().eval()(*inputs)


def test_convolutions_are_searched_for_static_shapes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A last chunk of an odd number of frames comes once: trying all of cuDNN's ways would take longer than running."""
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    seen: list[bool] = []

    class Seeing(Toy):
        def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            seen.append(torch.backends.cudnn.benchmark)
            return super().forward(*inputs)

    network = StaticRunner(Seeing(), settings(), CPU)
    network.prepare(toy_inputs(2))
    network(toy_inputs(2))
    assert set(seen) == {True}
    seen.clear()
    network(toy_inputs(2, edge=6))
    assert seen == [False]
    assert torch.backends.cudnn.benchmark


def test_compiling_has_few_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a torch of its own; a number in the environment is kept."""
    config = pytest.importorskip("torch._inductor.config")
    monkeypatch.setattr(config, "compile_threads", 32)
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "32")
    runner.compiled(Toy(), "default")
    assert config.compile_threads == 32
    monkeypatch.delenv("TORCHINDUCTOR_COMPILE_THREADS")
    runner.compiled(Toy(), "default")
    assert config.compile_threads == runner.COMPILE_THREADS == 4


def test_a_program_survives_its_file(tmp_path: Path) -> None:
    """The same values for one row and for many, and the names of its tensors."""
    program = load_program(toy_program(tmp_path / "model.pt2"), CPU)
    assert (program.inputs, program.outputs) == (("images", "scale"), ("mixed", "counted"))
    for rows in (1, 2, 5):
        with torch.inference_mode():
            found = program.module(*toy_inputs(rows))
        assert all(torch.equal(a, b) for a, b in zip(found, expected(toy_inputs(rows)), strict=True))


def test_a_program_moves_as_a_whole(tmp_path: Path) -> None:
    """Weights, constants and what the trace makes on its device: nothing is left on the CPU."""
    program = load_program(toy_program(tmp_path / "model.pt2"), torch.device("meta"))
    with torch.inference_mode():
        outputs = program.module(*(value.to("meta") for value in toy_inputs(2)))
    assert [output.device.type for output in outputs] == ["meta", "meta"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"no zip"])
def test_load_program_fails_on_a_broken_file(tmp_path: Path, content: bytes) -> None:
    """In one line that says which torch reads it."""
    path = tmp_path / "model.pt2"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.pt2: expected a program for torch"):
        load_program(path, CPU)
    with pytest.raises(ValueError, match=r"model\.pt2: expected an exported program, got"):
        cache.program_hash(path)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_stays_close(precision: str) -> None:
    """Weights are halved, outputs stay float32 and near the whole precision's."""
    network = Toy().eval()
    outputs = InPrecision(network, precision, CPU)(*toy_inputs(3))
    assert {weight.dtype for weight in network.parameters() if weight.dim() > 1} == {runner.DTYPES[precision]}
    for found, wanted in zip(outputs, expected(toy_inputs(3)), strict=True):
        assert found.dtype == torch.float32
        assert 0 < (found - wanted).abs().max() < HALF_ERROR * wanted.abs().max()


def test_rows_run_in_static_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever their number: split into prepared sizes, filled up, and cut off again."""
    network, seen = Toy().eval(), []
    network.register_forward_hook(lambda _module, inputs, _output: seen.append(len(inputs[0])))
    static = StaticRunner(network, settings(channels_last=True), CPU)
    for rows in (4, 2):
        static.prepare(toy_inputs(rows))
    for rows, sizes in ((1, [2]), (2, [2]), (4, [4]), (7, [4, 4]), (9, [4, 4, 2])):
        seen.clear()
        assert static.is_static(toy_inputs(rows))
        found = static(toy_inputs(rows))
        assert seen == sizes
        for ours, wanted in zip(found, expected(toy_inputs(rows)), strict=True):
            assert_close(ours, wanted, rel=1e-5)  # another memory format, another order of sums


def test_other_shapes_run_as_traced_or_fail() -> None:
    """As the setting says."""
    inputs = toy_inputs(2, edge=12)
    for other_shapes in ("eager", "refuse"):
        static = StaticRunner(Toy().eval(), settings(other_shapes=other_shapes), CPU)
        static.prepare(toy_inputs(2))
        assert not static.is_static(inputs)
        if other_shapes == "eager":
            assert_close(static(inputs)[0], expected(inputs)[0], rel=1e-5)
        else:
            with pytest.raises(ValueError, match=r"shapes: expected one of \[\[3, 8, 8\], \[1\]\] behind the batch"):
                static(inputs)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # of torch's compiler about itself
def test_compiled_rows_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.compile changes no value by more than rounding; its code lies in the cache."""
    try:
        device.find_compiler("default")
    except ValueError as error:
        pytest.skip(str(error))
    for variable in cache.INDUCTOR_VARIABLES:
        monkeypatch.setenv(variable, "")  # set anew by open_cache, restored afterwards
    assert cache.open_cache(tmp_path, "toy", RECORD) == []
    static = StaticRunner(
        load_program(toy_program(tmp_path / "model.pt2"), CPU).module, settings(compile="default"), CPU
    )
    static.prepare(toy_inputs(2))
    for ours, wanted in zip(static(toy_inputs(3)), expected(toy_inputs(3)), strict=True):
        assert_close(ours, wanted, rel=1e-5)  # fused, so summed in another order
    assert list((tmp_path / f"toy-{RECORD.key()}" / "inductor").rglob("*.cpp"))


def test_find_compiler_fails_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eager needs none, and is never taken silently."""
    monkeypatch.setenv("PATH", "/nonexistent")
    device.find_compiler("eager")
    with pytest.raises(ValueError, match=r"expected a C\+\+ compiler for 'default', got no g\+\+.*compile to eager"):
        device.find_compiler("default")


def test_a_stale_compile_cache_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code of another torch, card, program or setting is not used, and the way to remove it is said."""
    for variable in cache.INDUCTOR_VARIABLES:
        monkeypatch.setenv(variable, "")
    old = cache.CacheRecord("2.12.0", "an older card", RECORD.program, RECORD.settings)
    assert cache.open_cache(tmp_path, "latentsync_unet", old) == []
    assert cache.open_cache(tmp_path, "latentsync_unet", old) == []
    assert cache.open_cache(tmp_path, "latentsync_unet_shallow", RECORD) == []
    (line,) = cache.open_cache(tmp_path, "latentsync_unet", RECORD)
    folder = tmp_path / f"latentsync_unet-{old.key()}"
    assert "is stale (torch 2.12.0, now 2.13.0; card an older card, now a card)" in line
    assert line.endswith(f"rm -r {folder}")
    assert json.loads((folder / cache.RECORD_FILE).read_text())["torch"] == "2.12.0"


def test_a_compile_cache_that_is_being_made_is_not_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two instances that start at once, one finds the other's folder with a record half written; it is its own."""
    for variable in cache.INDUCTOR_VARIABLES:
        monkeypatch.setenv(variable, "")
    folder = tmp_path / f"unet-{RECORD.key()}"
    folder.mkdir()
    (folder / cache.RECORD_FILE).write_text('{"torch": "2.1')
    assert cache.open_cache(tmp_path, "latentsync_unet", RECORD) == []


def test_open_cache_fails_where_nothing_can_be_written(tmp_path: Path) -> None:
    """The variable that names another folder is said."""
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="compile cache: expected to write .* in LIPSYNC_COMPILE_CACHE"):
        cache.open_cache(tmp_path / "file", "latentsync_unet", RECORD)


def test_choose_device_fails_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build for CPUs, no GPU, an old driver, too few GPUs: each says what to run."""
    assert device.choose_device("CPU") == CPU
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(ValueError, match="GPU: expected torch with CUDA for KIND_GPU, got .* a build for CPUs"):
        device.choose_device("GPU")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    for error, message in (
        ("Found no NVIDIA driver on your system.", "GPU: expected one that torch .* got: Found no NVIDIA driver"),
        ("The NVIDIA driver on your system is too old (found version 11040).", "GPU: expected a driver for CUDA 13.0"),
    ):
        monkeypatch.setattr(torch.cuda, "init", raising(RuntimeError(error)))
        with pytest.raises(ValueError, match=message):
            device.choose_device("GPU")
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert device.choose_device("GPU").type == "cuda"
    with pytest.raises(ValueError, match="GPU: expected number 1, got 1 in total"):
        device.choose_device("GPU", 1)


def test_too_little_memory_fails_with_what_to_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line instead of torch's many."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (device.GIB // 2, 8 * device.GIB))
    with (
        pytest.raises(MemoryError, match=r"got 0\.5 of 8\.0 GiB free.* the flavour torch_low_memory"),
        device.clear_memory_errors(torch.device("cuda")),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory.")


def raising(error: Exception) -> Any:
    def fail(*_: Any) -> None:
        raise error

    return fail
