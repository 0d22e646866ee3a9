"""Values of inputs that no model has to make: a photographed head that moves, synthesised speech, noise, options.

Does not depend on a server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np

from client.demo import SPEECH
from client.media import AudioSource
from client.portrait import PORTRAIT
from lipsync_core.audio.lip_shapes import POPULATION_GAIN, speech_statistics
from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE
from lipsync_core.contract import ModelContract, TensorSpec
from lipsync_core.latentsync.options import DiffusionOptions
from lipsync_core.latentsync.sizes import MAX_BRANCHES, SAMPLE_CHANNELS
from lipsync_core.latentsync.windows import positions_at
from lipsync_core.musetalk.compose import MESH_AREA
from lipsync_core.musetalk.parsing import CHEEK_WIDTHS
from lipsync_core.musetalk.sizes import IMAGES_PER_FACE, LATENT_SIZE
from lipsync_core.syncnet.crops import CROP_SIZE
from lipsync_core.syncnet.mfcc import WINDOW_FRAMES, audio_windows, whole_samples
from lipsync_core.vae.sizes import LATENT_CHANNELS, latent_side
from lipsync_core.wav2lip.mel import window_starts_at
from lipsync_core.whisper.mel import log_mel_peak, mel_frame_count

FPS = 25
DEFAULT_FRAME_SIZE = 540  # pixels: about the region that a client sends of a 1080x1920 talking head
AUDIO_MARGIN_S = 1.0  # so that the last frame's window is whole
SHIFT = 0.7  # pixels that the head moves per frame
CHUNK_FRAMES = 16  # per item of the UNet
TIMESTEP = 501.0


class SampleValues:
    """Makes the values of inputs for frames and faces of one size."""

    def __init__(self, frame_size: int, resolution: int) -> None:
        """Choose the sizes.

        Args:
            frame_size: Edge length of the square frames, in pixels.
            resolution: Edge length of LatentSync's faces, in pixels.
        """
        self._frame_size = frame_size
        self._resolution = resolution
        self.by_name = self._rules()

    def _rules(self) -> Mapping[str, Callable[[int], np.ndarray]]:
        """Return a function for each input: number of frames -> its value, with a batch axis where models have one."""
        options, audio = DiffusionOptions(), self._audio
        edge = latent_side(self._resolution)
        return {
            "frames": self.frames,
            "audio": audio,
            "frame_times": frame_centres,
            "speech_statistics": lambda count: speech_statistics([audio(count)]).tensor,
            "shape_gain": lambda _: np.array([POPULATION_GAIN], np.float32),
            "window_starts": lambda count: window_starts_at(np.arange(count) / FPS),
            "audio_positions": lambda count: positions_at(np.arange(count) / FPS),
            "every_face": lambda _: np.array([False]),  # jobs that follow the largest face leave it out
            "hard_box": lambda _: np.array([False]),
            "first_mel_frame": lambda _: np.array([0], np.int32),
            "mel_frame_count": lambda count: np.array([mel_frame_count(len(audio(count)))], np.int32),
            "log_mel_peak": lambda count: np.array([log_mel_peak(audio(count))], np.float32),
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
            "moments": lambda count: normal(IMAGES_PER_FACE * count, 2 * LATENT_CHANNELS, LATENT_SIZE, LATENT_SIZE),
            "noise": lambda count: normal(IMAGES_PER_FACE * count, LATENT_CHANNELS, LATENT_SIZE, LATENT_SIZE),
            "frame_numbers": lambda count: np.arange(count, dtype=np.int32),
            "mouth_area": lambda _: np.array([MESH_AREA.encode()]),  # the face parser is measured by itself
            "cheek_widths": lambda _: np.array(CHEEK_WIDTHS, np.int32),
            "original": lambda _: np.array([False]),
            "latents": lambda count: normal(count, LATENT_CHANNELS, edge, edge),
            "crops": lambda count: np.repeat(moving_head(WINDOW_FRAMES, CROP_SIZE)[None], count, axis=0),
            "mfcc": lambda count: np.repeat(audio_windows(whole_samples(audio(WINDOW_FRAMES)))[:1], count, axis=0),
        }

    def frames(self, count: int) -> np.ndarray:
        """Return frames of the moving head, uint8 RGB [count, H, W, 3]."""
        return moving_head(count, self._frame_size)

    def images(self, tensor: TensorSpec, count: int) -> np.ndarray:
        """Return heads as an input asks for them.

        Returns:
            uint8 [count, H, W, 3], or float32 [count, 3, H, W] from -1 to 1 for an input of floats.
        """
        if tensor.dtype == np.uint8:
            edge = tensor.dims[0] if tensor.dims[0] > 0 else self._frame_size
            return moving_head(count, edge)
        edge = tensor.dims[-1] if tensor.dims[-1] > 0 else self._resolution
        return scaled(moving_head(count, edge)).transpose(0, 3, 1, 2)

    def _audio(self, count: int) -> np.ndarray:
        """Return speech for `count` frames, float32 [S], mono at 16 kHz."""
        samples = np.concatenate(list(AudioSource(SPEECH).speech_blocks()))
        return np.resize(samples, round((count / FPS + AUDIO_MARGIN_S) * AUDIO_SAMPLE_RATE)).astype(np.float32)


def moving_head(count: int, edge: int) -> np.ndarray:
    """Return scikit-image's astronaut moving to the right, uint8 RGB [count, edge, edge, 3]."""
    from skimage import data  # noqa: PLC0415  (imports much, and only measurements need it)

    head = cv2.resize(data.astronaut()[PORTRAIT], (edge, edge), interpolation=cv2.INTER_AREA)  # type: ignore[no-untyped-call]
    moves = [np.array([[1, 0, SHIFT * i], [0, 1, 0]], np.float32) for i in range(count)]
    return np.stack([cv2.warpAffine(head, move, (edge, edge), borderMode=cv2.BORDER_REPLICATE) for move in moves])


def frame_centres(count: int) -> np.ndarray:
    """Return the centres of frames in seconds, float64 [count]."""
    return (np.arange(count) + 0.5) / FPS


def normal(*shape: int) -> np.ndarray:
    """Return noise of standard deviation 1, float32, the same at each call."""
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def noise(tensor: TensorSpec, contract: ModelContract, count: int) -> np.ndarray:
    """Return noise for a float tensor of fixed size that no model makes.

    Args:
        tensor: The input.
        contract: The model that takes it, which decides whether there is a batch axis.
        count: The batch, and the size of an unknown first dimension.

    Returns:
        float32 [count, ...], or [...] for a model without a batch axis.

    Raises:
        ValueError: the tensor is no float tensor of fixed size.
    """
    if tensor.dtype.kind != "f" or any(dim < 0 for dim in tensor.dims[1:]):
        raise ValueError(
            f"{tensor.name}: expected a rule for this input of {contract.name}, got none. Add one to {__name__}"
        )
    shape = [count if dim < 0 else dim for dim in tensor.dims]
    return normal(count, *shape) if contract.max_batch_size else normal(*shape)


def fit(value: np.ndarray, rank: int, dtype: np.dtype) -> np.ndarray:
    """Give a value the rank and dtype of an input: takes the first of several faces, or adds an axis.

    uint8 becomes float from -1 to 1.
    """
    if value.ndim == rank + 1:
        value = value[:, 0]
    elif value.ndim == rank - 1:
        value = value[None]
    if value.dtype == np.uint8 and dtype.kind == "f":
        value = scaled(value)
    return value.astype(dtype, copy=False)


def scaled(images: np.ndarray) -> np.ndarray:
    """Map uint8 to float32 from -1 to 1."""
    return images.astype(np.float32) / 127.5 - 1
