"""Requests for every model, made from its config.pbtxt: a photographed head that moves, a synthesised speech.

Inputs that other models make (boxes, landmarks, mel windows, latents' features) are made by these models, so that
each step of a pipeline is measured on what it gets in a job. Tensors are told apart by name and rank, as in the
project one tensor has one name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from client.demo import PORTRAIT, SPEECH
from client.media import AudioSource
from client.pipelines.mouth_motion import build_profile
from client.servers.calls import InferRequest
from client.servers.connection import TritonConnection
from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE
from lipsync_core.contract import ModelContract, TensorSpec, read_contract
from lipsync_core.latentsync.options import DiffusionOptions, read_trained_resolution
from lipsync_core.latentsync.sizes import MAX_BRANCHES, SAMPLE_CHANNELS
from lipsync_core.latentsync.windows import positions_at
from lipsync_core.repository import VERSION_FOLDER
from lipsync_core.vae.sizes import LATENT_CHANNELS, latent_side
from lipsync_core.wav2lip.mel import window_starts_at
from lipsync_core.whisper.mel import log_mel_peak, mel_frame_count

FPS = 25
DEFAULT_FRAME_SIZE = 540  # pixels: about the region that a client sends of a 1080x1920 talking head
SPEECH_MARGIN_S = 1.0  # so that the last frame's window is whole
SHIFT = 0.7  # pixels that the head moves per frame
CHUNK_FRAMES = 16  # of the UNet
DEFAULT_RESOLUTION = 256  # of LatentSync's faces, where its aligning model is not there to ask
TIMESTEP = 501.0
# An input's other name, where it is not the name of the output that it is made from.
ALIASES = {
    "landmarks": "face_landmarks",
    "boxes": "face_boxes",
    "shapes": "mouth_shapes",
    "given_shapes": "mouth_shapes",
    "mel_windows": "mel",
    "audio_tokens": "face_tokens",
    "synced_faces": "faces",
}
PROFILE_INPUTS = ("mouth_range", "mouth_colours", "interior_frames", "interior_landmarks")


class SampleMaker:
    """Makes requests for the models of one repository, through a server that holds the models they need.

    The repository's contracts say which model makes which tensor.
    """

    def __init__(self, repository: Path, flavour: str | None = None, frame_size: int = DEFAULT_FRAME_SIZE) -> None:
        """Read the repository's contracts.

        Raises:
            ValueError: a config.pbtxt cannot be read.
        """
        names = sorted(path.parent.name for path in repository.glob("*/config.pbtxt"))
        self.contracts = {name: read_contract(repository / name, flavour) for name in names}
        self._frame_size = frame_size
        self._trained_resolution = read_trained_resolution(repository / "latentsync_unet" / VERSION_FOLDER)

    def needed_models(self, model: str) -> list[str]:
        """Name the models that make a model's inputs, itself included."""
        needed: dict[str, None] = {}

        def visit(name: str, *, whole: bool) -> None:
            for tensor in self._sent(self.contracts[name], whole=whole):
                maker = None if tensor.name in self._made_here else self._maker(tensor, name)
                if maker is not None and maker not in needed:
                    needed[maker] = None
                    visit(maker, whole=False)

        visit(model, whole=True)
        if any(tensor.name in PROFILE_INPUTS for tensor in self.contracts[model].inputs):
            needed["largest_face"] = None
        return [*(name for name in needed if name != model), model]

    def inputs(self, connection: TritonConnection, model: str, count: int) -> dict[str, np.ndarray]:
        """Make all inputs of a model, the optional ones too, for so many frames.

        Returns:
            Arrays by name; a model with a batch axis gets one item, without that axis.

        Raises:
            LipSyncError: a model that makes an input fails.
            ValueError: it is not known how to make an input.
        """
        contract = self.contracts[model]
        known: dict[str, np.ndarray] = {}
        inputs = self._make_inputs(connection, contract, 1 if contract.max_batch_size else count, known, whole=True)
        return {name: array[0] for name, array in inputs.items()} if contract.max_batch_size else inputs

    def _make_inputs(
        self,
        connection: TritonConnection,
        contract: ModelContract,
        count: int,
        known: dict[str, np.ndarray],
        *,
        whole: bool,
    ) -> dict[str, np.ndarray]:
        inputs = {}
        for tensor in self._sent(contract, whole=whole):
            rank = len(tensor.dims) + bool(contract.max_batch_size)
            value = self._value(connection, tensor, contract, count, known)
            inputs[tensor.name] = np.ascontiguousarray(fit(value, rank, tensor.dtype))
        return inputs

    def _value(
        self,
        connection: TritonConnection,
        tensor: TensorSpec,
        contract: ModelContract,
        count: int,
        known: dict[str, np.ndarray],
    ) -> np.ndarray:
        """Make one input: here where we can, else by the model that gives it in a job."""
        if tensor.name in self._made_here:
            return self._made_here[tensor.name](count)
        if tensor.name in PROFILE_INPUTS:
            return self._profile(connection, known)[tensor.name]
        if tensor.name == "images":
            return self._images(tensor, count)
        maker = self._maker(tensor, contract.name)
        if maker is None:
            return noise(tensor, contract.name, count)
        if tensor.dims[0] < 0 and contract.max_batch_size and not self.contracts[maker].max_batch_size:
            count = CHUNK_FRAMES  # frames within one item, as the UNet's
        name = ALIASES.get(tensor.name, tensor.name)
        key = f"{maker}.{name}"
        if key not in known:
            inputs = self._make_inputs(connection, self.contracts[maker], count, known, whole=False)
            known |= {
                f"{maker}.{output}": array for output, array in connection.infer(InferRequest(maker, inputs)).items()
            }
        return known[key]

    def _sent(self, contract: ModelContract, *, whole: bool) -> list[TensorSpec]:
        """All inputs; or only those that a maker needs: others may be made from what it gives."""
        return [
            tensor
            for tensor in contract.inputs
            if whole or not tensor.optional or tensor.name in ("audio", "frame_times", "window_starts")
        ]

    def _maker(self, tensor: TensorSpec, consumer: str) -> str | None:
        """Name the model that gives a tensor: its rank as wanted if one does, ensembles after simple models."""
        name = ALIASES.get(tensor.name, tensor.name)
        batched = bool(self.contracts[consumer].max_batch_size)
        candidates = [
            (abs(len(output.dims) + bool(contract.max_batch_size) - len(tensor.dims) - batched), contract)
            for contract in self.contracts.values()
            for output in contract.outputs
            if output.name == name and compatible(output.dims, tensor.dims)
            if contract.name != consumer or tensor.optional
        ]
        simplest = sorted(candidates, key=lambda candidate: (candidate[0], bool(candidate[1].steps)))
        return simplest[0][1].name if simplest else None

    @cached_property
    def _made_here(self) -> Mapping[str, Callable[[int], np.ndarray]]:
        options, speech = DiffusionOptions(), self._speech
        edge = latent_side(self._resolution)
        return {
            "frames": self._frames,
            "audio": speech,
            "frame_times": frame_centres,
            "window_starts": lambda count: window_starts_at(np.arange(count) / FPS),
            "audio_positions": lambda count: positions_at(np.arange(count) / FPS),
            "hard_box": lambda _: np.array([False]),
            "first_mel_frame": lambda _: np.array([0], np.int32),
            "mel_frame_count": lambda count: np.array([mel_frame_count(len(speech(count)))], np.int32),
            "log_mel_peak": lambda count: np.array([log_mel_peak(speech(count))], np.float32),
            "interior_indices": lambda count: np.zeros(count, np.int32),  # the first interior
            "smoothing_biases": lambda count: normal(count, 2),
            "seed": lambda _: np.array([options.seed], np.int64),
            "chunk_index": lambda _: np.array([1], np.int32),
            "num_inference_steps": lambda _: np.array([options.num_inference_steps], np.int32),
            "guidance_scale": lambda _: np.array([options.guidance_scale], np.float32),
            "scheduler": lambda _: np.array([options.scheduler.encode()]),
            "speed": lambda _: np.array([options.speed.encode()]),
            "resolution": lambda _: np.array([self._resolution], np.int32),
            "initial_noise": lambda _: normal(LATENT_CHANNELS, edge, edge),
            "masked_noise": lambda count: normal(count, LATENT_CHANNELS, edge, edge),
            "reference_noise": lambda count: normal(count, LATENT_CHANNELS, edge, edge),
            "sample": lambda count: normal(count, SAMPLE_CHANNELS, CHUNK_FRAMES, edge, edge),
            "timestep": lambda count: np.full((count, MAX_BRANCHES), TIMESTEP, np.float32),
            "latents": lambda count: normal(count, LATENT_CHANNELS, edge, edge),
        }

    @property
    def _resolution(self) -> int:
        if self._trained_resolution is not None:
            return self._trained_resolution
        aligning = self.contracts.get("latentsync_align")
        return int(aligning.parameters["resolution"]) if aligning else DEFAULT_RESOLUTION

    def _frames(self, count: int) -> np.ndarray:
        return moving_head(count, self._frame_size)

    def _speech(self, count: int) -> np.ndarray:
        samples = np.concatenate(list(AudioSource(SPEECH).speech_blocks()))
        return np.resize(samples, round((count / FPS + SPEECH_MARGIN_S) * AUDIO_SAMPLE_RATE)).astype(np.float32)

    def _images(self, tensor: TensorSpec, count: int) -> np.ndarray:
        """Heads of the size that the model wants: bytes with colour last, or -1 to 1 with colour first."""
        if tensor.dtype == np.uint8:
            edge = tensor.dims[0] if tensor.dims[0] > 0 else self._frame_size
            return moving_head(count, edge)
        return scaled(moving_head(count, self._resolution)).transpose(0, 3, 1, 2)

    def _profile(self, connection: TritonConnection, known: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What a job's scan of the clip finds of the mouth."""
        if "mouth_range" not in known:
            frames = self._frames(CHUNK_FRAMES)
            landmarks = connection.infer(InferRequest("largest_face", {"frames": frames}))["face_landmarks"]
            profile = build_profile(zip(frames, landmarks, strict=True))
            if profile is None:
                raise ValueError("sample: expected a face in the photograph, got none. Are the face models exported?")
            known |= profile.tensors
        return known


def moving_head(count: int, edge: int) -> np.ndarray:
    """Photograph of a head that moves to the right: scikit-image's astronaut, uint8 RGB [count, edge, edge, 3]."""
    from skimage import data  # noqa: PLC0415  (imports much, and only measurements need it)

    head = cv2.resize(data.astronaut()[PORTRAIT], (edge, edge), interpolation=cv2.INTER_AREA)  # type: ignore[no-untyped-call]
    moves = [np.array([[1, 0, SHIFT * i], [0, 1, 0]], np.float32) for i in range(count)]
    return np.stack([cv2.warpAffine(head, move, (edge, edge), borderMode=cv2.BORDER_REPLICATE) for move in moves])


def frame_centres(count: int) -> np.ndarray:
    """Centres of frames in seconds, float64 [count]."""
    return (np.arange(count) + 0.5) / FPS


def normal(*shape: int) -> np.ndarray:
    """Noise of standard deviation 1, float32, the same each time."""
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def noise(tensor: TensorSpec, model: str, count: int) -> np.ndarray:
    """Noise for a floating-point tensor that nobody makes and whose size is fixed.

    Raises:
        ValueError: it is of another kind.
    """
    if tensor.dtype.kind != "f" or any(dim < 0 for dim in tensor.dims[1:]):
        raise ValueError(
            f"{tensor.name}: expected a rule for this input of {model}, got none. Add one to perf/load/sample_data.py"
        )
    shape = [count if dim < 0 else dim for dim in tensor.dims]
    return normal(count, *shape)


def fit(value: np.ndarray, rank: int, dtype: np.dtype) -> np.ndarray:
    """Give a tensor the rank and dtype of the input that it becomes: one of several faces, or one more axis."""
    if value.ndim == rank + 1:
        value = value[:, 0]
    elif value.ndim == rank - 1:
        value = value[None]
    if value.dtype == np.uint8 and dtype.kind == "f":
        value = scaled(value)
    return value.astype(dtype, copy=False)


def scaled(images: np.ndarray) -> np.ndarray:
    """Bring bytes to -1..1, float32."""
    return images.astype(np.float32) / 127.5 - 1


def compatible(dims: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether the fixed dims that two tensors end in agree."""
    pairs = list(zip(reversed(dims), reversed(wanted), strict=False))
    return all(a < 0 or b < 0 or a == b for a, b in pairs)
