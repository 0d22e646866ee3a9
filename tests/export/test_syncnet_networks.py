from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="no torch; run: make test")

from client.syncnet.sound import TrackSound  # noqa: E402
from export.shared.checkpoint import module_shapes  # noqa: E402
from export.syncnet.network import SyncNet  # noqa: E402
from export.syncnet.synthetic_weights import syncnet_weights  # noqa: E402
from export.wav2lip.s3fd import S3FD  # noqa: E402
from lipsync_core.syncnet.crops import resize  # noqa: E402
from lipsync_core.syncnet.distances import (  # noqa: E402
    MAX_SHIFT,
    SyncNetScore,
    pair_distances,
    score,
)
from lipsync_core.syncnet.mfcc import audio_windows, window_count  # noqa: E402
from perf.scores.syncnet.command import main  # noqa: E402
from perf.scores.syncnet.s3fd import find_faces, shrink  # noqa: E402
from perf.scores.syncnet.towers import TorchTowers  # noqa: E402
from perf.scores.syncnet.track_meter import TrackMeter  # noqa: E402
from perf.scores.syncnet.video_tracks import detect  # noqa: E402
from perf.scores.syncnet.weights import (  # noqa: E402
    detector_shapes,
    load_detector,
    load_syncnet,
    synthetic_syncnet,
)
from tests.closeness import assert_close  # noqa: E402
from tests.data.syncnet_goldens import FOLDER, detector_image, lip_frames, speech  # noqa: E402
from tests.syncnet_detector import sfd_weights, synthetic_detector  # noqa: E402

KEYS = json.loads((FOLDER / "keys.json").read_text())
RECORDED = np.load(FOLDER / "networks.npz")
LAYER = 1e-4  # of a layer's largest value: other processors sum in another order. One grey level darker is 0.007
DISTANCE = 1e-4  # of the largest distance; measured 3e-6
SCORE, BOX = 1e-3, 1e-4  # of the best score and of the picture's longer side; measured 2e-6 and 1e-6


@pytest.fixture(scope="module", autouse=True)
def no_grad() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def network() -> SyncNet:
    return synthetic_syncnet()


@pytest.fixture(scope="module")
def detector() -> S3FD:
    return synthetic_detector()


class Samples:
    """A sound in memory, read like an AudioSource."""

    def __init__(self, samples: np.ndarray) -> None:
        self.samples = samples.astype(np.float32) / 32_768

    def window(self, start: int, end: int) -> np.ndarray:
        inside = self.samples[max(start, 0) : end]
        before = max(0, -start)
        return np.pad(inside, (before, end - start - before - len(inside)))


def write_lossless_film(path: Path, frames: np.ndarray, samples: np.ndarray) -> None:
    """Write RGB frames at 25 fps and int16 samples of 16 kHz."""
    with av.open(str(path), "w") as container:
        video, audio = (
            container.add_stream("png", rate=25),
            container.add_stream("pcm_s16le", rate=16_000, layout="mono"),
        )
        video.height, video.width, video.pix_fmt = *frames.shape[1:3], "rgb24"
        for rgb in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), "rgb24")))
        sound = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
        sound.sample_rate = 16_000
        container.mux(audio.encode(sound))
        for stream in (video, audio):
            container.mux(stream.encode(None))


def measure(network: SyncNet, frames: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Return the distances of BGR frames [F, 224, 224, 3] and int16 samples, as the command measures them."""
    meter = TrackMeter(
        TorchTowers(network), TrackSound(Samples(samples), 0, 0), window_count(len(frames), len(samples))
    )
    for frame in frames:
        meter.add(frame[..., ::-1])
    return meter.distances()


def assert_score(result: SyncNetScore, offset: int, least: float, confidence: float) -> None:
    assert result.offset == offset
    assert_close([result.lse_d, result.lse_c], [least, confidence], rel=DISTANCE)  # the latter is a difference of two


def test_keys_and_shapes_are_the_originals(network: SyncNet) -> None:
    """Every key, in the original's order, so that the published files load strictly."""
    for name, shapes in (("syncnet", module_shapes(network)), ("s3fd", detector_shapes())):
        assert shapes == {key: tuple(entry["shape"]) for key, entry in KEYS[name]["keys"].items()}
    assert list(module_shapes(network)) == list(KEYS["syncnet"]["keys"])


def test_made_up_weights_are_the_recipes(network: SyncNet) -> None:
    """Bit by bit."""
    made = {"syncnet": syncnet_weights(module_shapes(network)), "s3fd": sfd_weights()}
    for name, weights in made.items():
        digest = hashlib.sha256(b"".join(weights[key].tobytes() for key in sorted(weights)))
        assert digest.hexdigest() == KEYS[name]["recipe_sha256"]


def test_recorded_embeddings_hold(network: SyncNet) -> None:
    """Three lip and three sound windows of a photograph and a synthesised speech."""
    towers = TorchTowers(network)
    lips = towers.embed_lips(lip_frames()[..., ::-1])
    sounds = towers.embed_sounds(audio_windows(speech())[5:8])
    assert_close(lips, RECORDED["lips"], rel=LAYER)
    assert_close(sounds, RECORDED["sounds"], rel=LAYER)


def test_recorded_detections_hold(detector: S3FD) -> None:
    """Every anchor's logits and offsets, for a picture of odd sides."""
    logits, offsets = detector(torch.from_numpy(shrink(detector_image())[None]))
    assert logits.shape[1] == len(RECORDED["logits"])
    assert_close(logits[0], RECORDED["logits"], rel=LAYER)
    assert_close(offsets[0], RECORDED["offsets"], rel=LAYER)


def test_golden_layers_hold(reference_dir: Path) -> None:
    """Shape, mean, spread and first values after every layer of both towers."""
    network = synthetic_syncnet()  # its own, since it is listened in on
    goldens = np.load(reference_dir / "syncnet" / "layers.npz")
    frames = np.load(reference_dir / "syncnet" / "e2e.npz")["frames112"][20:25].repeat(2, 1).repeat(2, 2)
    towers = TorchTowers(network)
    seen: dict[str, torch.Tensor] = {}
    for tower in ("netcnnlip", "netfclip", "netcnnaud", "netfcaud"):
        for index, layer in enumerate(network.get_submodule(tower)):
            name = f"{tower}.{index}"
            layer.register_forward_hook(lambda _layer, _inputs, output, name=name: seen.update({name: output.clone()}))
    embeddings = [towers.embed_lips(frames[..., ::-1]), towers.embed_sounds(goldens["aud_in"][None])]
    names = [name.removesuffix(".shape") for name in goldens.files if name.endswith(".shape")]
    assert len(names) == 50
    for name in names:
        value = seen[name].numpy()
        assert value.shape == tuple(goldens[f"{name}.shape"]), name
        statistics = [value.mean(), value.std(ddof=1)]
        for found, golden in ((statistics, f"{name}.stat"), (value.reshape(-1)[:8], f"{name}.first8")):
            scale = np.abs([*goldens[f"{name}.stat"], *goldens[golden]]).max()
            assert_close(found, goldens[golden], rel=LAYER, scale=scale, what=golden)
    assert_close(embeddings[0][0], goldens["lip_emb"], rel=LAYER)
    assert_close(embeddings[1][0], goldens["aud_emb"], rel=LAYER)
    assert_close(seen["netcnnlip.20"].numpy().reshape(-1), goldens["lip_feature512"], rel=LAYER)


def test_golden_clip_holds(network: SyncNet, reference_dir: Path) -> None:
    """80 frames and their sound: embeddings, distances, every figure."""
    goldens = np.load(reference_dir / "syncnet" / "e2e.npz")
    frames = goldens["frames112"].repeat(2, axis=1).repeat(2, axis=2)
    lips = TorchTowers(network).embed_lips(frames[:79, ..., ::-1])
    sounds = TorchTowers(network).embed_sounds(audio_windows(goldens["audio"])[:75])
    assert_close(lips, goldens["lip_emb"], rel=LAYER)
    assert_close(sounds, goldens["aud_emb"], rel=LAYER)
    distances = pair_distances(lips, np.pad(sounds, ((MAX_SHIFT, MAX_SHIFT), (0, 0))))
    assert_close(distances, goldens["dists"], rel=DISTANCE)
    assert_close(distances.mean(axis=0), goldens["mean_dists"], rel=DISTANCE)
    assert int(np.argmin(distances.mean(axis=0))) == goldens["min_index"]
    assert np.median(distances.mean(axis=0)) == pytest.approx(float(goldens["median_dist"]), rel=DISTANCE)
    result = score(distances)
    assert_score(result, *(goldens[name].item() for name in ("offset", "min_dist", "confidence")))
    assert result.windows == len(goldens["dists"])


@pytest.mark.parametrize("case", ["f40", "a30", "f6", "sil"])
def test_golden_variants_hold(network: SyncNet, reference_dir: Path, case: str) -> None:
    """Fewer frames than sound, fewer samples than frames, a single window, and silence."""
    goldens = np.load(reference_dir / "syncnet" / "e2e.npz")
    count = {"f40": 40, "a30": 80, "f6": 6, "sil": 40}[case]
    frames = goldens["frames112"][:count].repeat(2, axis=1).repeat(2, axis=2)
    samples = goldens["audio"][: 640 * 30 + 500] if case == "a30" else goldens["audio"] * (case != "sil")
    distances = measure(network, frames, samples)
    expected = goldens["f6_dists"].mean(axis=0) if case == "f6" else goldens[f"{case}_mean_dists"]
    assert_close(distances.mean(axis=0), expected, rel=DISTANCE)
    assert_score(score(distances), int(goldens[f"{case}_offset"]), expected.min(), float(goldens[f"{case}_conf"]))
    if f"{case}_n" in goldens:
        assert len(distances) == goldens[f"{case}_n"]


def test_golden_narrow_search_holds(network: SyncNet, reference_dir: Path) -> None:
    """Ten frames to either side are the middle columns of fifteen."""
    goldens = np.load(reference_dir / "syncnet" / "e2e.npz")
    narrow = goldens["dists"][:, 5:-5]
    assert_close(narrow, goldens["v10_dists"], rel=DISTANCE)
    result = score(narrow)
    assert_score(result, int(goldens["v10_offset"]), narrow.mean(axis=0).min(), float(goldens["v10_conf"]))


def test_golden_resized_clip_holds(network: SyncNet, reference_dir: Path) -> None:
    """A crop of another size, resized as both other evaluators do: the first frame to the bit, and their figures."""
    goldens = np.load(reference_dir / "syncnet" / "e2e_resized.npz")
    clip = np.load(reference_dir / "syncnet" / "e2e.npz")
    frames = np.stack([resize(frame) for frame in clip["frames112"]])
    assert np.array_equal(frames[0], goldens["resized_first_frame"])
    lips = TorchTowers(network).embed_lips(frames[:12, ..., ::-1])
    assert_close(lips, goldens["w2l_lip_emb_first8"], rel=LAYER)
    distances = measure(network, frames, clip["audio"])
    assert_close(distances.mean(axis=0), goldens["w2l_mean_dists"], rel=DISTANCE)
    for name in ("w2l", "ls"):
        assert_score(
            score(distances), *(goldens[f"{name}_{key}"].item() for key in ("offset", "min_dist", "confidence"))
        )


def test_golden_file_holds(reference_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same from a file without loss, through the command: frames, colours, the sound and where it begins."""
    goldens = np.load(reference_dir / "syncnet" / "e2e.npz")
    frames = goldens["frames112"].repeat(2, axis=1).repeat(2, axis=2)[..., ::-1]
    write_lossless_film(tmp_path / "crop.mov", frames, goldens["audio"])
    assert main([str(tmp_path / "crop.mov"), "--synthetic-weights", "--cropped", "--json"]) == 0
    (track,) = json.loads(capsys.readouterr().out)["tracks"]
    expected = [goldens[name].item() for name in ("offset", "min_dist", "confidence")]
    assert track["offset"] == expected[0]
    assert_close([track["lse_d"], track["lse_c"]], expected[1:], rel=DISTANCE)
    assert track["windows"] == len(goldens["dists"])


def test_golden_faces_hold(detector: S3FD, reference_dir: Path) -> None:
    """What the network sees, its best boxes, all above a half, and none above 0.9."""
    goldens = np.load(reference_dir / "syncnet" / "s3fd.npz")
    image = goldens["image_rgb"]
    shrunken = shrink(image)
    assert (1, 3, *shrunken.shape[:2]) == tuple(goldens["net_in_shape"])
    assert np.array_equal((shrunken[0, :8].astype(np.float32) - [123, 117, 104]).T, goldens["net_in_first"])
    logits, offsets = (output[0].numpy() for output in detector(torch.from_numpy(shrunken[None])))
    faces = find_faces(logits, offsets, *shrunken.shape[:2], min_score=0.05)
    assert len(faces.scores) == goldens["net_out_count"]
    assert_close(faces.scores[:30], goldens["net_out_top30"][:, 0], rel=SCORE)
    size = np.tile(shrunken.shape[1::-1], 2)
    assert_close(faces.boxes[:30], goldens["net_out_top30"][:, 1:] * size, rel=BOX, scale=max(shrunken.shape))
    boxes = detect(detector, image, min_score=0.5)
    assert boxes.shape == (len(goldens["boxes_th0.5"]), 4)
    assert_close(boxes, goldens["boxes_th0.5"][:, :4], rel=BOX, scale=max(image.shape))
    assert len(detect(detector, image)) == len(goldens["boxes_th0.9"]) == 0


def save(path: Path, weights: dict[str, np.ndarray]) -> Path:
    torch.save({key: torch.from_numpy(value) for key, value in weights.items()}, path)
    return path


def test_published_files_load(network: SyncNet, detector: S3FD, tmp_path: Path) -> None:
    """Flat dicts of tensors; SyncNet's may lack the counters of its batch norms."""
    weights = syncnet_weights(module_shapes(network))
    few = {key: value for key, value in weights.items() if not key.endswith("num_batches_tracked")}
    for saved in (weights, few):
        loaded = load_syncnet(save(tmp_path / "syncnet_v2.model", saved)).state_dict()
        assert all(torch.equal(loaded[key], torch.from_numpy(value)) for key, value in few.items())
    loaded = load_detector(save(tmp_path / "sfd_face.pth", sfd_weights())).state_dict()
    assert all(torch.equal(value, detector.state_dict()[key]) for key, value in loaded.items())


def test_load_fails_on_swapped_files(tmp_path: Path) -> None:
    """A mix-up of the two files, or with Wav2Lip's detector, is called one."""
    syncnet = save(tmp_path / "a.model", syncnet_weights(module_shapes(SyncNet())))
    ours = save(tmp_path / "b.pth", sfd_weights())
    torch.save(S3FD().state_dict(), tmp_path / "c.pth")
    with pytest.raises(ValueError, match=r"expected SyncNet \(syncnet_v2.model\), got .*give it with --s3fd"):
        load_syncnet(ours)
    with pytest.raises(ValueError, match=r"expected SyncNet's S3FD \(sfd_face.pth\), got .*give it with --weights"):
        load_detector(syncnet)
    with pytest.raises(ValueError, match="It holds Wav2Lip's S3FD; give it with python -m export wav2lip --s3fd"):
        load_detector(tmp_path / "c.pth")


def test_load_fails_on_another_syncnet(tmp_path: Path) -> None:
    """An incomplete one, or one of another architecture, is refused; the original would go on with random numbers."""
    weights = syncnet_weights(module_shapes(SyncNet()))
    with pytest.raises(ValueError, match="got no netfclip.3.bias"):
        load_syncnet(save(tmp_path / "a.model", {key: weights[key] for key in weights if key != "netfclip.3.bias"}))
    weights["netcnnlip.0.weight"] = weights["netcnnlip.0.weight"][:, :1].copy()
    with pytest.raises(ValueError, match=r"wrong shapes: netcnnlip.0.weight \[96, 1, 5, 7, 7\] for \[96, 3, 5, 7, 7\]"):
        load_syncnet(save(tmp_path / "b.model", weights))
