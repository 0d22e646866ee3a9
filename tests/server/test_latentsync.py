"""The LatentSync models in a real Triton, with small made-up networks: against goldens and the pure functions."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from client.errors import RequestRejected
from client.servers.calls import InferRequest
from client.servers.connection import TritonConnection
from lipsync_core import face
from lipsync_core.latentsync.alignment import affine_matrices, align_faces, running_bias
from lipsync_core.latentsync.composite import composite_faces
from lipsync_core.latentsync.options import DiffusionOptions
from lipsync_core.latentsync.windows import audio_tokens, features_for_frames
from lipsync_core.serving.server import EmbeddedServer
from lipsync_core.whisper.mel import log_mel_peak, segment_count, segment_part
from tests.conftest import LATENTSYNC_RESOLUTION as RESOLUTION
from tests.server.clips import SPEECH as SPEECH_FILE
from tests.server.clips import head_frame, read_planes, swaying_head, write_video
from tests.server.jobs import job_runner

torch = pytest.importorskip("torch", reason="no torch; run: make test")
pytest.importorskip("diffusers", reason="no diffusers; run: make test")
pytest.importorskip("transformers", reason="no transformers; run: make test")

from lipsync_core.latentsync.diffusion import ChunkUnet, draw_noise, sync_faces  # noqa: E402
from lipsync_core.latentsync.schedule import denoise, make_scheduler  # noqa: E402
from tests.closeness import assert_close  # noqa: E402

pytestmark = [pytest.mark.server, pytest.mark.slow]

CHUNK = 16
COMPANY = 1  # level: other chunks in a batch change how sums are split, so a float may round otherwise
LATENTS_ERROR = 1e-4  # of the latents' standard deviation, over all steps: float32 sums in another order
FEATURES_ERROR = 1e-4  # of the largest state, about 10: float32 sums in another order
SPEECH = np.random.default_rng(0).normal(0, 0.1, 16_000 * 61).astype(np.float32)
FRAMES = np.stack([head_frame(shift) for shift in range(6)])
QUICK = {"num_inference_steps": np.array([3], np.int32)}


# The small UNet takes minutes to export. In torch it is compared with the goldens in every run, and Wav2Lip's networks
# test the flavour.
SIMPLE = "simple_latentsync_server"
EXPORTED = [pytest.param(name, marks=pytest.mark.long) for name in ("latentsync_server", "latentsync_torch_server")]


@pytest.fixture
def latentsync(served: EmbeddedServer) -> Iterator[TritonConnection]:
    with TritonConnection(served.url) as opened:
        yield opened


@pytest.fixture(params=[SIMPLE, EXPORTED[0]])
def served(request: pytest.FixtureRequest) -> EmbeddedServer:
    up: EmbeddedServer = request.getfixturevalue(request.param)
    return up


class ServedNetworks:
    """The networks, asked one by one as models."""

    branches_per_call = 2

    def __init__(self, connection: TritonConnection) -> None:
        self._connection = connection

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        return self._ask("vae_encoder", images=images)["moments"]

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return self._ask("vae_decoder", latents=latents)["decoded"]

    def unet(
        self, sample: torch.Tensor, timestep: torch.Tensor, audio_tokens: torch.Tensor, *, deep: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        outputs = self._ask("latentsync_unet", sample=sample, timestep=timestep, audio_tokens=audio_tokens)
        return outputs["noise_pred"], outputs["deep_features"]

    def unet_shallow(
        self, sample: torch.Tensor, timestep: torch.Tensor, audio_tokens: torch.Tensor, deep_features: torch.Tensor
    ) -> torch.Tensor:
        inputs = {"sample": sample, "timestep": timestep, "audio_tokens": audio_tokens}
        return self._ask("latentsync_unet_shallow", **inputs, deep_features=deep_features)["noise_pred"]

    def _ask(self, model: str, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        outputs = self._connection.infer(InferRequest(model, {name: tensor.numpy() for name, tensor in inputs.items()}))
        return {name: torch.from_numpy(array.copy()) for name, array in outputs.items()}


def ask(connection: TritonConnection, **inputs: np.ndarray) -> np.ndarray:
    return connection.infer(InferRequest("latentsync", inputs))["synced_frames"]


def requests_of_a_clip(connection: TritonConnection, count: int) -> list[dict[str, np.ndarray]]:
    """Make chunks of the moving head, two frames each, speaking."""
    landmarks = connection.infer(InferRequest("largest_face", {"frames": FRAMES}))["face_landmarks"]
    points = face.alignment_points(landmarks)
    biases = running_bias(points)
    features = connection.infer(InferRequest("whisper_features", {"audio": SPEECH[:48_000]}))["audio_features"]
    requests = []
    for index in range(count):
        rows = slice(2 * index % len(FRAMES), 2 * index % len(FRAMES) + 2)
        request = {"frames": FRAMES[rows], "alignment_points": points[rows], "smoothing_biases": biases[rows]}
        audio = {"audio_features": features, "audio_positions": np.array([4 * index, 4 * index + 2], np.int32)}
        requests.append({**request, **audio, "chunk_index": np.array([index], np.int32), **QUICK})
    return requests


@pytest.mark.parametrize("served", EXPORTED, indirect=True)
def test_golden_frames_hold(latentsync: TritonConnection, reference_dir: Path) -> None:
    """The original's 42 frames from its points, noise and speech: 99.9 % of the pixels within one level."""
    folder = reference_dir / "latentsync"
    goldens, groups = np.load(folder / "pipeline_small.npz"), np.load(folder / "align.npz")
    means = [goldens["lm106"][:, groups[f"idx_{name}"]].mean(axis=1) for name in ("left", "right", "nose")]
    points = np.rint(np.stack(means, axis=1)).astype(np.float32)
    biases, order = running_bias(points), goldens["frame_index"]
    speech = goldens["pcm"].astype(np.float32) / 32768
    features = latentsync.infer(InferRequest("whisper_features", {"audio": speech}))["audio_features"]
    synced = []
    for start in range(0, len(order), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(order)))
        part, positions = features_for_frames(2 * rows, len(features))
        request = {
            "frames": goldens["frames"][order[rows]],
            "alignment_points": points[order[rows]],
            "smoothing_biases": biases[order[rows]],
            "audio_features": features[part],
            "audio_positions": positions,
            "num_inference_steps": goldens["steps"].reshape(1).astype(np.int32),
            "guidance_scale": goldens["guidance"].reshape(1).astype(np.float32),
            "initial_noise": goldens["noise_latents"][0, :, 0],
            "masked_noise": goldens["noise_vae_masked"][rows],
            "reference_noise": goldens["noise_vae_ref"][rows],
        }
        synced.append(ask(latentsync, **request))
    difference = np.abs(np.concatenate(synced).astype(int) - goldens["out_frames"])
    assert (difference > 1).any(axis=-1).mean() <= 0.001
    assert (difference > 0).any(axis=-1).mean() <= 0.01  # a float on the edge of a whole number


@pytest.mark.parametrize("served", EXPORTED, indirect=True)
@pytest.mark.parametrize(("speed", "file"), [("exact", "ddim_small.npz"), ("cached", "deepcache_small.npz")])
@pytest.mark.parametrize(("steps", "guidance_scale", "name"), [(20, 1.5, "20_g1p5"), (5, 1.0, "5_g1p0")])
def test_golden_latents_hold(
    latentsync: TritonConnection,
    reference_dir: Path,
    speed: str,
    file: str,
    steps: int,
    guidance_scale: float,
    name: str,
) -> None:
    """The original's after all steps of DDIM, every step in full or cached as the original's DeepCache."""
    goldens = np.load(reference_dir / "latentsync" / "ddim_small.npz")
    expected = np.load(reference_dir / "latentsync" / file)[f"final_{name}"]
    options = DiffusionOptions(steps, guidance_scale, speed=speed)
    parts = [torch.from_numpy(goldens[key][0]) for key in ("mask", "masked", "ref")]
    unet = ChunkUnet(ServedNetworks(latentsync), torch.cat(parts), torch.from_numpy(goldens["audio"]), options)
    latents = torch.from_numpy(goldens["noise"]).expand(-1, -1, CHUNK, -1, -1)
    shallow = unet.shallow if speed == "cached" else None
    found = denoise(
        unet.full, latents, make_scheduler("ddim", steps), guidance_scale, shallow_unet=shallow, cache_interval=3
    )
    assert_close(found, expected, rel=LATENTS_ERROR, scale=expected.std())


@pytest.mark.parametrize("served", [SIMPLE, *EXPORTED], indirect=True)
def test_golden_features_hold(latentsync: TritonConnection, reference_dir: Path) -> None:
    """The original's, of 9.6 s, of 35 s in two segments, and of an odd number of columns."""
    goldens = np.load(reference_dir / "latentsync" / "whisper.npz")
    speech = goldens["pcm"].astype(np.float32) / 32768
    found = latentsync.infer(InferRequest("whisper_features", {"audio": speech}))["audio_features"]
    assert_close(found, goldens["feat"], rel=FEATURES_ERROR)
    long = latentsync.infer(InferRequest("whisper_features", {"audio": np.resize(speech, 560_000)}))["audio_features"]
    assert long.shape == tuple(goldens["feat35_shape"])
    assert_close(long[goldens["feat35_rows"]], goldens["feat35"], rel=FEATURES_ERROR)
    start = int(goldens["odd_start"])
    odd = speech[start : start + int(goldens["odd_samples"])]
    found = latentsync.infer(InferRequest("whisper_features", {"audio": odd}))["audio_features"]
    assert found.shape == tuple(goldens["odd_feat_shape"])
    assert_close(found[goldens["odd_rows"]], goldens["odd_feat"], rel=FEATURES_ERROR)


@pytest.mark.long
def test_segments_give_the_features_of_the_whole(latentsync: TritonConnection) -> None:
    """Each from its own samples and the whole speech's peak; across the seams to the network's rounding."""
    whole = latentsync.infer(InferRequest("whisper_features", {"audio": SPEECH}))["audio_features"]
    peak = np.array([log_mel_peak(SPEECH)], np.float32)
    found = []
    for index in range(segment_count(len(SPEECH))):
        part = segment_part(index, len(SPEECH))
        request = {
            "audio": SPEECH[part.samples],
            "first_mel_frame": np.array([part.first_mel_frame], np.int32),
            "mel_frame_count": np.array([part.mel_frame_count], np.int32),
            "log_mel_peak": peak,
        }
        found.append(latentsync.infer(InferRequest("whisper_features", request))["audio_features"])
    assert [len(part) for part in found] == [1500, 1500, 50]
    assert_close(np.concatenate(found), whole, rel=FEATURES_ERROR)


def test_a_chunk_is_what_the_pure_functions_give(latentsync: TritonConnection) -> None:
    """The moving head with raw audio, found by the server, against the steps called one by one."""
    frames, audio = FRAMES[:3], SPEECH[:16_000]
    landmarks = latentsync.infer(InferRequest("largest_face", {"frames": frames}))["face_landmarks"]
    points = face.alignment_points(landmarks)
    matrices = affine_matrices(points, running_bias(points), RESOLUTION)
    features = latentsync.infer(InferRequest("whisper_features", {"audio": audio}))["audio_features"]
    tokens = audio_tokens(features, np.array([0, 2, 4]))
    options = DiffusionOptions(3, 2.0, "unipc", "cached", 99)
    faces, noise = align_faces(frames, matrices, RESOLUTION), draw_noise(99, 4, 3, RESOLUTION)
    drawn = sync_faces(faces, tokens, ServedNetworks(latentsync), options, noise)
    expected = composite_faces(frames, drawn, matrices)
    names = {"scheduler": np.array([b"unipc"]), "speed": np.array([b"cached"])}
    numbers = {"seed": np.array([99], np.int64), "guidance_scale": np.array([2], np.float32)}
    index = {"chunk_index": np.array([4], np.int32)}
    found = ask(latentsync, frames=frames, audio=audio, **names, **numbers, **index, **QUICK)
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= COMPANY  # the VAE's images come in other batches
    assert (found != frames).any()


def test_frames_without_a_face_stay(latentsync: TritonConnection) -> None:
    """One of three, and all of them."""
    frames = np.stack([FRAMES[0], np.full_like(FRAMES[0], 90), FRAMES[1]])
    changed = (ask(latentsync, frames=frames, audio=SPEECH[:16_000], **QUICK) != frames).any(axis=(1, 2, 3))
    assert changed.tolist() == [True, False, True]
    empty = frames[[1, 1]]
    assert np.array_equal(ask(latentsync, frames=empty, audio=SPEECH[:16_000], **QUICK), empty)


def test_the_order_of_chunks_does_not_count(latentsync: TritonConnection) -> None:
    """Shuffled, the results are the same to the last bit."""
    requests = requests_of_a_clip(latentsync, 4)
    in_order = [ask(latentsync, **request) for request in requests]
    for index in (2, 0, 3, 1):
        assert np.array_equal(ask(latentsync, **requests[index]), in_order[index])
    assert not np.array_equal(in_order[0], in_order[3])  # the same frames, other noise and speech


@pytest.mark.parametrize("speed", ["exact", pytest.param("cached", marks=pytest.mark.long)])
def test_a_job_changes_faces_and_nothing_else(
    simple_latentsync_server: EmbeddedServer, speed: str, tmp_path: Path
) -> None:
    """Every frame's face changes, also in a rest of four; what lies outside of the aligned face is bit-identical."""
    clip = write_video(tmp_path / "head.mp4", swaying_head(CHUNK + 4))
    run = job_runner(simple_latentsync_server, model="latentsync", in_silence="model", if_audio_longer="cut")
    report = run(clip, SPEECH_FILE, tmp_path / "out.mkv", speed=speed, steps=3, lossless=True)
    assert report.frames_synced == CHUNK + 4
    changed = [(a != b)[:256] for a, b in zip(read_planes(clip), read_planes(tmp_path / "out.mkv"), strict=True)]
    assert all(frame.sum() > 300 for frame in changed)
    _, columns = np.nonzero(np.any(changed, axis=0))
    assert columns.min() > 256 * 0.1
    assert columns.max() < 256 * 0.9


@pytest.mark.parametrize("served", EXPORTED[:1], indirect=True)
def test_company_in_the_batch_does_not_count(latentsync: TritonConnection, served: EmbeddedServer) -> None:
    """Chunks of concurrent jobs, at different steps, meet in the UNet; their frames stay within a level."""
    requests = requests_of_a_clip(latentsync, 6)
    requests[0]["num_inference_steps"] = np.array([7], np.int32)
    alone = [ask(latentsync, **request) for request in requests]
    before = unet_counts(served.url)
    with ThreadPoolExecutor(len(requests)) as jobs:
        together = list(jobs.map(lambda request: ask(latentsync, **request), requests))
    samples, runs = (after - then for after, then in zip(unet_counts(served.url), before, strict=True))
    assert samples == 7 + 5 * 3
    assert runs < samples  # some shared a run
    for found, expected in zip(together, alone, strict=True):
        assert np.abs(found.astype(int) - expected).max() <= COMPANY


@pytest.mark.parametrize("served", EXPORTED[:1], indirect=True)
def test_a_cancelled_job_stops_within_one_step(latentsync: TritonConnection, served: EmbeddedServer) -> None:
    """The UNet is asked at most once more, the caller hears of it, and the next job runs."""
    request = requests_of_a_clip(latentsync, 1)[0]
    rows = np.arange(CHUNK) % 2  # so many that a step takes longer than the word's way
    long = {name: array[rows] if len(array) == 2 else array for name, array in request.items()}
    long["num_inference_steps"] = np.array([900], np.int32)
    answered, errors = threading.Event(), []

    def keep(result: object, error: InferenceServerException | None) -> None:
        errors.append(error)
        answered.set()

    with triton_grpc.InferenceServerClient(served.url) as client:
        start = unet_counts(served.url)[1]
        call = client.async_infer("latentsync", [tensor(name, array) for name, array in long.items()], keep)
        while unet_counts(served.url)[1] < start + 3:
            time.sleep(0.02)
        call.cancel()
        runs = unet_counts(served.url)[1]  # not before: on a busy machine steps run until the word is sent
        assert answered.wait(60)
        time.sleep(2)
        # The step under way when they were counted, and one that began before the word arrived.
        assert unet_counts(served.url)[1] <= runs + 2
    assert "ancel" in str(errors[0])
    assert ask(latentsync, **request).shape == request["frames"].shape


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": FRAMES[:0]}, "frames: expected at least one frame with pixels, got "),
        ({"frames": np.zeros((25, 8, 8, 3), np.uint8)}, "frames: expected at most 24 in a chunk, got 25"),
        ({"audio": SPEECH[:300]}, "audio: expected at least 320 samples .* got 300"),
        ({"audio": SPEECH[:640]}, "audio_positions: expected 0 to 5 for these 2 audio features, got 0 to 10"),
        ({"audio": np.full(9000, np.nan, np.float32)}, "audio: expected finite samples, got NaN"),
        ({"num_inference_steps": np.array([0], np.int32)}, "num_inference_steps: expected 1 to 999, got 0"),
        ({"guidance_scale": np.array([0.99], np.float32)}, "guidance_scale: expected a finite number of at least 1"),
        ({"seed": np.array([-1], np.int64)}, "seed: expected 0 to 4294967295, got -1"),
        ({"seed": np.array([2**40], np.int64)}, "seed: expected 0 to 4294967295, got 1099511627776"),
        ({"alignment_points": np.ones((1, 3, 2), np.float32)}, "alignment_points: expected one row for each of 6"),
    ],
)
def test_requests_that_make_no_sense_fail_with_their_name(
    latentsync: TritonConnection, change: dict[str, np.ndarray], message: str
) -> None:
    """One clear error each."""
    with pytest.raises(RequestRejected, match=message):
        ask(latentsync, **{"frames": FRAMES, "audio": SPEECH[:16_000], **QUICK, **change})


def test_a_request_without_speech_fails(latentsync: TritonConnection) -> None:
    """It says what could be sent."""
    with pytest.raises(RequestRejected, match="expected audio, audio_features or audio_tokens, got none"):
        ask(latentsync, frames=FRAMES)


def unet_counts(url: str) -> tuple[int, int]:
    """Samples that the UNet has seen, and in how many runs."""
    with triton_grpc.InferenceServerClient(url) as client:
        statistics = client.get_inference_statistics("latentsync_unet").model_stats[0]
        return int(statistics.inference_count), int(statistics.execution_count)


def tensor(name: str, array: np.ndarray) -> triton_grpc.InferInput:
    packed = triton_grpc.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    packed.set_data_from_numpy(np.ascontiguousarray(array))
    return packed
