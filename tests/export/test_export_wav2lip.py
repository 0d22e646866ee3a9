from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="no torch; run: make test")

from export.__main__ import main  # noqa: E402  (its wav2lip command imports torch)
from export.shared.checkpoint import module_shapes  # noqa: E402
from export.shared.network import load_synthetic  # noqa: E402
from export.wav2lip.networks import DETECTOR, GENERATOR  # noqa: E402
from lipsync_core.wav2lip.s3fd import find_faces  # noqa: E402
from lipsync_core.weights import WeightsNote, note_path, read_note  # noqa: E402
from tests.closeness import assert_close  # noqa: E402
from tests.conftest import REPOSITORY  # noqa: E402
from tests.data.wav2lip_goldens import FOLDER, detector_images, generator_inputs, whole_boxes  # noqa: E402
from tests.synthetic_networks import exported_network  # noqa: E402

KEYS = json.loads((FOLDER / "keys.json").read_text())
RECORDED = np.load(FOLDER / "networks.npz")
NETWORKS = {"wav2lip_generator": GENERATOR, "s3fd": DETECTOR}
OPTIONS = {"wav2lip_generator": "--checkpoint", "s3fd": "--s3fd"}
NAMES = {"wav2lip_generator": "generator", "s3fd": "s3fd"}
ROUNDING = 1e-4  # of the largest value: float32 sums in another order; measured 4e-6. A grey level is 4e-3


@pytest.fixture(scope="module")
def modules() -> dict[str, torch.nn.Module]:
    return {model: load_synthetic(network) for model, network in NETWORKS.items()}


@pytest.fixture(scope="module")
def sessions(wav2lip_repository: Path) -> dict[str, onnxruntime.InferenceSession]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    return {
        model: onnxruntime.InferenceSession(
            str(wav2lip_repository / model / "1" / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        for model in NETWORKS
    }


@pytest.fixture
def empty_repository(tmp_path: Path) -> Path:
    for model in NETWORKS:
        (tmp_path / model).mkdir()
        shutil.copy(REPOSITORY / model / "config.pbtxt", tmp_path / model)
    return tmp_path


@pytest.mark.parametrize("model", NETWORKS)
def test_keys_and_shapes_are_the_originals(modules: dict[str, torch.nn.Module], model: str) -> None:
    """Every key, in the original's order, so that its checkpoints load strictly."""
    expected = {key: tuple(entry["shape"]) for key, entry in KEYS[NAMES[model]]["keys"].items()}
    assert list(module_shapes(modules[model]).items()) == list(expected.items())


@pytest.mark.parametrize("model", NETWORKS)
def test_synthetic_weights_are_the_recipes(modules: dict[str, torch.nn.Module], model: str) -> None:
    """Bit by bit."""
    weights = modules[model].state_dict()
    digest = hashlib.sha256(b"".join(weights[key].numpy().tobytes() for key in sorted(weights)))
    assert digest.hexdigest() == KEYS[NAMES[model]]["recipe_sha256"]


def test_another_seed_gives_other_weights(modules: dict[str, torch.nn.Module]) -> None:
    """It shifts the recipe's own."""
    other = load_synthetic(DETECTOR, seed_shift=1).state_dict()
    assert not torch.equal(other["conv1_1.weight"], modules["s3fd"].state_dict()["conv1_1.weight"])


def test_the_golden_generator_holds(sessions: dict[str, onnxruntime.InferenceSession], reference_dir: Path) -> None:
    """The original's output on its own four inputs, in one batch and one by one."""
    goldens = np.load(reference_dir / "wav2lip" / "generator_b4.npz")
    mel, face, expected = goldens["mel"][:, None], goldens["face"], goldens["output"]
    run = sessions["wav2lip_generator"].run
    assert_close(run(None, {"mel": mel, "face": face})[0], expected, rel=ROUNDING)
    for i in range(len(mel)):
        drawn = run(None, {"mel": mel[i : i + 1], "face": face[i : i + 1]})[0]
        assert_close(drawn, expected[i : i + 1], rel=ROUNDING)


def test_the_golden_stages_hold(modules: dict[str, torch.nn.Module], reference_dir: Path) -> None:
    """Where a difference would begin: each encoder's last stage and the decoder's first ones."""
    goldens = np.load(reference_dir / "wav2lip" / "generator_b4.npz")
    generator, found = modules["wav2lip_generator"], {}
    hooks = [
        generator.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, stage=stage: found.__setitem__(stage, output.numpy())
        )
        for stage, name in {
            "audio_embedding": "audio_encoder",
            "face_embedding": "face_encoder_blocks.6",
            "decoder_block1": "face_decoder_blocks.1",
            "decoder_block2": "face_decoder_blocks.2",
        }.items()
    ]
    with torch.inference_mode():
        drawn = generator(torch.from_numpy(goldens["mel"])[:, None], torch.from_numpy(goldens["face"]))
    for hook in hooks:
        hook.remove()
    for stage, values in found.items():
        assert_close(values, goldens[stage], rel=ROUNDING, what=stage)
    assert_close(drawn[:1], goldens["output_fp64"], rel=ROUNDING)


def test_the_golden_audio_embedding_holds(modules: dict[str, torch.nn.Module]) -> None:
    """The original's, of four windows of speech."""
    goldens = np.load(FOLDER / "audio.npz")
    with torch.inference_mode():
        audio_encoder = modules["wav2lip_generator"].get_submodule("audio_encoder")
        embedding = audio_encoder(torch.from_numpy(goldens["mel"])[:, None])
    assert_close(embedding, goldens["audio_embedding"], rel=ROUNDING)


def test_the_generator_draws_what_was_recorded(sessions: dict[str, onnxruntime.InferenceSession]) -> None:
    """On the photograph, in float64 when the goldens held."""
    mel, face = generator_inputs()
    drawn = sessions["wav2lip_generator"].run(None, {"mel": mel, "face": face})[0]
    assert_close(drawn, RECORDED["drawn"], rel=ROUNDING)


def test_the_detector_sees_what_was_recorded(sessions: dict[str, onnxruntime.InferenceSession]) -> None:
    """On the photograph, in float64 when the goldens held."""
    logits, offsets = sessions["s3fd"].run(["logits", "offsets"], {"images": detector_images()})
    assert_close(logits, RECORDED["logits"], rel=ROUNDING)
    assert_close(offsets, RECORDED["offsets"], rel=ROUNDING)


def test_the_golden_detector_holds(sessions: dict[str, onnxruntime.InferenceSession], reference_dir: Path) -> None:
    """The original's heads and rectangles, of one image and of three at once."""
    goldens = np.load(reference_dir / "wav2lip" / "s3fd.npz")
    run = sessions["s3fd"].run
    logits, offsets = run(None, {"images": goldens["image_bgr"][None, ..., ::-1].copy()})
    for name, found in (("conf", logits), ("loc", offsets)):
        heads = [goldens[f"head{level}_{name}"][0] for level in range(6)]
        expected = np.concatenate([head.reshape(len(head), -1).T for head in heads])
        assert_close(found[0], expected, rel=ROUNDING)
    images = goldens["batch_bgr"][..., ::-1].copy()
    logits, offsets = run(None, {"images": images})
    for i, rectangle in enumerate(goldens["rect_batch"]):
        found = find_faces(logits[i], offsets[i], *images.shape[1:3])
        assert np.array_equal(whole_boxes(found.boxes[0]), rectangle)


@pytest.mark.parametrize("model", NETWORKS)
def test_the_other_models_checkpoint_fails(
    modules: dict[str, torch.nn.Module], empty_repository: Path, capsys: pytest.CaptureFixture[str], model: str
) -> None:
    """One line says which it is and where it belongs, and nothing is written."""
    other = next(candidate for candidate in NETWORKS if candidate != model)
    path = empty_repository / "weights.pth"
    torch.save(modules[other].state_dict(), path)
    assert main(["wav2lip", OPTIONS[model], str(path), "--repository", str(empty_repository)]) == 1
    line = capsys.readouterr().err
    assert line.startswith(f"export wav2lip: {path}: expected {NETWORKS[model].title}, got no ")
    assert line.endswith(f"It holds {NETWORKS[other].title}; give it with {OPTIONS[other]}\n")
    assert line.count("\n") == 1
    assert not list(empty_repository.glob("*/1/*"))


def test_a_missing_detector_keeps_the_generator_from_being_written(
    empty_repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All checkpoints are read before the first model changes."""
    arguments = [
        "--synthetic-weights",
        "--s3fd",
        str(empty_repository / "no.pth"),
        "--repository",
        str(empty_repository),
    ]
    assert main(["wav2lip", *arguments]) == 1
    assert "no.pth: expected a checkpoint file, got no such file" in capsys.readouterr().err
    assert not list(empty_repository.glob("*/1/*"))


def test_export_fails_without_weights(capsys: pytest.CaptureFixture[str]) -> None:
    """What to give is said."""
    assert main(["wav2lip"]) == 1
    assert "expected --checkpoint, --s3fd or --synthetic-weights, got none" in capsys.readouterr().err


def test_export_fails_without_torch(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It is an extra of its own, and the line says which."""
    monkeypatch.delitem(sys.modules, "export.wav2lip.networks")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SystemExit) as end:
        main(["wav2lip", "--synthetic-weights"])
    assert end.value.code == 2
    line = capsys.readouterr().err
    assert (
        line == "torch: expected this package, got none. Install it with: pip install 'lipsync-triton[export,torch]'\n"
    )


def test_a_negative_seed_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """At the command line."""
    with pytest.raises(SystemExit):
        main(["wav2lip", "--synthetic-weights=-1"])
    assert "expected a whole number of at least 0, got '-1'" in capsys.readouterr().err


@pytest.mark.long
def test_a_checkpoint_is_exported_in_half_precision(
    modules: dict[str, torch.nn.Module], empty_repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Same inputs and outputs, half the size, near enough; size, hash, error and licence are printed."""
    path = empty_repository / "s3fd.pth"
    torch.save(modules["s3fd"].state_dict(), path)
    arguments = ["--s3fd", str(path), "--precision", "fp16", "--repository", str(empty_repository)]
    assert main(["wav2lip", *arguments]) == 0
    content = (empty_repository / "s3fd" / "1" / "model.onnx").read_bytes()
    printed = capsys.readouterr().out
    assert f"{len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}" in printed
    assert "fp16, largest difference from torch in fp32 0.0" in printed
    assert DETECTOR.license_line in printed
    assert len(content) < 0.52 * 4 * sum(value.numel() for value in modules["s3fd"].parameters())
    types = {tensor.data_type for tensor in onnx.load_from_string(content).graph.initializer}
    assert onnx.TensorProto.FLOAT16 in types
    assert not (empty_repository / "wav2lip_generator" / "1").exists()


@pytest.mark.long
@pytest.mark.usefixtures("networks_of_the_tests")
def test_weights_are_noted_beside_each_network(
    modules: dict[str, torch.nn.Module], empty_repository: Path, wav2lip_repository: Path
) -> None:
    """Synthetic ones for both formats; a checkpoint's export replaces the note by the checkpoint's hash."""
    for model in NETWORKS:
        assert read_note(wav2lip_repository / model / "1" / "model.onnx") == WeightsNote(seed_shift=0)
        assert read_note(exported_network(model, "torch")) == WeightsNote(seed_shift=0)
    network = empty_repository / "s3fd" / "1" / "model.onnx"
    network.parent.mkdir()
    shutil.copy(note_path(wav2lip_repository / "s3fd" / "1" / "model.onnx"), network.parent)
    path = empty_repository / "s3fd.pth"
    torch.save(modules["s3fd"].state_dict(), path)
    assert main(["wav2lip", "--s3fd", str(path), "--repository", str(empty_repository)]) == 0
    assert read_note(network) == WeightsNote(hashlib.sha256(path.read_bytes()).hexdigest())
