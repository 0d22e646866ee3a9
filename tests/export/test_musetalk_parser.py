from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="no torch; run: make test")

from export.musetalk.bisenet import BiSeNet  # noqa: E402  (imports torch)
from export.musetalk.network import PARSER  # noqa: E402
from export.shared.network import load_synthetic  # noqa: E402
from export.shared.onnx_graph import open_session  # noqa: E402
from tests.closeness import assert_close  # noqa: E402
from tests.export.musetalk_helpers import BOUND, figures_of, run  # noqa: E402
from tests.synthetic_networks import exported_network  # noqa: E402

SAME_LABELS = 1 - 1e-4  # share of pixels; measured 1 - 4e-6


@pytest.fixture(scope="module")
def parser_goldens(reference_dir: Path) -> dict[str, np.ndarray]:
    return dict(np.load(reference_dir / "musetalk" / "bisenet.npz"))


@pytest.fixture(scope="module")
def parser() -> BiSeNet:
    parser = load_synthetic(PARSER)
    assert isinstance(parser, BiSeNet)
    return parser


@pytest.fixture(scope="module")
def parser_image(parser_goldens: dict[str, np.ndarray]) -> np.ndarray:
    """The goldens' face as the parser takes it, float32 [1, 3, 512, 512]."""
    crop = Image.fromarray(parser_goldens["face_bgr"][..., ::-1]).resize((512, 512), Image.Resampling.BILINEAR)
    mean, deviation = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    image = ((np.asarray(crop, np.float32) / 255 - mean) / deviation).transpose(2, 0, 1)[None]
    assert_close(image[0, :, ::16, ::16], parser_goldens["input_sub"], rel=1e-6)
    return np.ascontiguousarray(image)


@pytest.mark.parametrize("kind", ["torch", pytest.param("onnx", marks=pytest.mark.long)])  # its export takes a minute
def test_musetalk_parser_holds(
    kind: str, parser: BiSeNet, parser_image: np.ndarray, parser_goldens: dict[str, np.ndarray]
) -> None:
    """The original's class of every pixel."""
    if kind == "torch":
        labels = run(parser, parser_image)
    else:
        session = open_session(exported_network("face_parsing"))
        labels = session.run(None, {"images": parser_image})[0]
    assert (labels.dtype, labels.shape) == (np.uint8, (1, 512, 512))
    assert (labels[0] == parser_goldens["labels"]).mean() >= SAME_LABELS


def test_musetalk_parser_parts_hold(
    parser: BiSeNet, parser_image: np.ndarray, parser_goldens: dict[str, np.ndarray]
) -> None:
    """Where a difference would begin: the shape and the figures of each part's output, then the scores."""
    found: dict[str, np.ndarray] = {}
    parts = {key.removeprefix("stat_"): key for key in parser_goldens if key.startswith("stat_")}
    hooks = [
        module.register_forward_hook(
            lambda _module, _inputs, output, part=part: found.__setitem__(part, output.numpy())
        )
        for name, module in parser.named_modules()
        if (part := name.replace(".", "_")) in parts
    ]
    with torch.inference_mode():
        scores = parser.scores(torch.from_numpy(parser_image)).numpy()
    for hook in hooks:
        hook.remove()
    assert found.keys() == parts.keys()
    for part, output in found.items():
        assert list(output.shape) == parser_goldens[f"shape_{part}"].tolist()
        assert_close(figures_of(output), parser_goldens[f"stat_{part}"], rel=BOUND, what=part)
    assert_close(scores[0, :, ::16, ::16], parser_goldens["logits_sub"], rel=BOUND)
