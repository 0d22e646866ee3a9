"""LatentSync: align, diffuse, paste back; every step and every network is a model of its own.

The loop stands in the model that callers ask, and not behind an ensemble: only there does a cancellation arrive.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from lipsync_core.latentsync.diffusion import Noise, draw_noise, sync_faces
from lipsync_core.latentsync.options import (
    DiffusionOptions,
    choose_resolution,
    options_for,
    read_trained_resolution,
)
from lipsync_core.latentsync.sizes import MAX_BRANCHES, MAX_FRAMES
from lipsync_core.repository import VERSION_FOLDER
from lipsync_core.triton.tensors import TorchStep


@dataclass(frozen=True)
class LatentSyncParameters:
    """What config.pbtxt sets."""

    num_frames: int  # of a whole chunk, for those who cut chunks
    images_per_call: int  # at most the VAE's max_batch_size; memory grows with it
    branches_per_call: int  # of guidance, 1 or 2; memory grows with it
    speed: str  # this and the following count where a request doesn't say; steps and scheduler are the speed's
    guidance_scale: float
    seed: int


class TritonPythonModel(TorchStep):
    """Let one face of each frame speak."""

    Parameters = LatentSyncParameters

    def setup(self) -> None:
        """Keep to one thread: the work is in the networks."""
        torch.set_num_threads(1)
        if not 1 <= self.parameters.num_frames <= MAX_FRAMES:
            raise ValueError(f"num_frames: expected 1 to {MAX_FRAMES}, got {self.parameters.num_frames}")
        self.branches_per_call = self.parameters.branches_per_call
        if self.branches_per_call not in (1, MAX_BRANCHES):
            raise ValueError(f"branches_per_call: expected 1 or {MAX_BRANCHES}, got {self.branches_per_call}")
        self._options(None, None, None, None, None)
        self._trained_resolution = read_trained_resolution(self.repository / "latentsync_unet" / VERSION_FOLDER)

    def run(
        self,
        frames: np.ndarray,
        landmarks: np.ndarray | None = None,
        alignment_points: np.ndarray | None = None,
        smoothing_biases: np.ndarray | None = None,
        audio: np.ndarray | None = None,
        audio_features: np.ndarray | None = None,
        audio_positions: np.ndarray | None = None,
        audio_tokens: np.ndarray | None = None,
        seed: np.ndarray | None = None,
        chunk_index: np.ndarray | None = None,
        num_inference_steps: np.ndarray | None = None,
        guidance_scale: np.ndarray | None = None,
        scheduler: np.ndarray | None = None,
        speed: np.ndarray | None = None,
        resolution: np.ndarray | None = None,
        initial_noise: np.ndarray | None = None,
        masked_noise: np.ndarray | None = None,
        reference_noise: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Check the options first: the rest takes long."""
        options = self._options(num_inference_steps, guidance_scale, scheduler, speed, seed)
        aligned = self.infer(
            "latentsync_align",
            _given(
                frames=frames,
                landmarks=landmarks,
                alignment_points=alignment_points,
                smoothing_biases=smoothing_biases,
                resolution=self._resolution(resolution),
            ),
        )
        matrices = {"affine_matrices": aligned["affine_matrices"]}
        speech = _given(
            audio=audio, audio_features=audio_features, audio_positions=audio_positions, audio_tokens=audio_tokens
        )
        tokens = self.infer("latentsync_tokens", matrices | speech)["face_tokens"]
        index = 0 if chunk_index is None else int(chunk_index[0])
        noise = _noise(options.seed, index, aligned["faces"], (initial_noise, masked_noise, reference_noise))
        if not len(tokens):
            return {"synced_frames": frames}
        drawn = sync_faces(aligned["faces"], tokens, self, options, noise, self.stop_if_cancelled)
        return self.infer("latentsync_composite", {"frames": frames, **matrices, "synced_faces": drawn})

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Run the VAE's encoder."""
        return self._in_batches("vae_encoder", "images", images, "moments")

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Run the VAE's decoder."""
        return self._in_batches("vae_decoder", "latents", latents, "decoded")

    def unet(
        self, sample: torch.Tensor, timestep: torch.Tensor, audio_tokens: torch.Tensor, *, deep: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Run the UNet; deep features travel only when they are needed."""
        inputs = {"sample": sample, "timestep": timestep, "audio_tokens": audio_tokens}
        wanted = ["noise_pred", "deep_features"] if deep else ["noise_pred"]
        outputs = self.infer_tensors("latentsync_unet", inputs, wanted)
        return outputs["noise_pred"], outputs.get("deep_features")

    def unet_shallow(
        self, sample: torch.Tensor, timestep: torch.Tensor, audio_tokens: torch.Tensor, deep_features: torch.Tensor
    ) -> torch.Tensor:
        """Run the UNet's outermost layers."""
        inputs = {"sample": sample, "timestep": timestep, "audio_tokens": audio_tokens, "deep_features": deep_features}
        return self.infer_tensors("latentsync_unet_shallow", inputs, ["noise_pred"])["noise_pred"]

    def _options(
        self,
        steps: np.ndarray | None,
        guidance_scale: np.ndarray | None,
        scheduler: np.ndarray | None,
        speed: np.ndarray | None,
        seed: np.ndarray | None,
    ) -> DiffusionOptions:
        default = self.parameters
        return options_for(
            default.speed if speed is None else str(speed[0]),
            None if steps is None else int(steps[0]),
            None if scheduler is None else str(scheduler[0]),
            guidance_scale=default.guidance_scale if guidance_scale is None else float(guidance_scale[0]),
            seed=default.seed if seed is None else int(seed[0]),
        )

    def _resolution(self, asked: np.ndarray | None) -> np.ndarray | None:
        chosen = choose_resolution(None if asked is None else int(asked[0]), self._trained_resolution)
        return None if chosen is None else np.array([chosen], np.int32)

    def _in_batches(self, model: str, input_name: str, images: torch.Tensor, output_name: str) -> torch.Tensor:
        outputs = []
        for part in torch.split(images, self.parameters.images_per_call):
            self.stop_if_cancelled()
            outputs.append(self.infer_tensors(model, {input_name: part}, [output_name])[output_name])
        return torch.cat(outputs)


def _given(**tensors: np.ndarray | None) -> dict[str, np.ndarray]:
    """Leave out what was not sent."""
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def _noise(seed: int, chunk_index: int, faces: np.ndarray, given: tuple[np.ndarray | None, ...]) -> Noise:
    """Draw the chunk's noise, and put given noise in its place."""
    drawn = draw_noise(seed, chunk_index, len(faces), faces.shape[1])
    return Noise(*(mine if theirs is None else theirs for mine, theirs in zip(drawn, given, strict=True)))
