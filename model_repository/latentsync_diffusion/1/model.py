"""LatentSync's diffusion loop; the networks are the models vae_encoder, vae_decoder, unet and unet_shallow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from lipsync_core.latentsync.diffusion import Noise, draw_noise, sync_faces
from lipsync_core.latentsync.options import MAX_FRAMES, SCHEDULERS, SPEEDS, DiffusionOptions, named
from lipsync_core.triton_step import TritonStep


@dataclass(frozen=True)
class LatentSyncDiffusionParameters:
    """What config.pbtxt sets."""

    num_frames: int  # of a whole chunk, for those who cut chunks
    images_per_call: int  # at most the VAE's max_batch_size; memory grows with it
    num_inference_steps: int  # this and the following count where a request doesn't say
    guidance_scale: float
    scheduler: str
    speed: str
    seed: int


class TritonPythonModel(TritonStep):
    """Draw a chunk's faces speaking."""

    Parameters = LatentSyncDiffusionParameters

    def setup(self) -> None:
        """Keep to one thread: the work is in the networks."""
        torch.set_num_threads(1)
        if not 1 <= self.parameters.num_frames <= MAX_FRAMES:
            raise ValueError(f"num_frames: expected 1 to {MAX_FRAMES}, got {self.parameters.num_frames}")
        self._options()

    def run(
        self,
        faces: np.ndarray,
        audio_tokens: np.ndarray,
        seed: np.ndarray | None = None,
        chunk_index: np.ndarray | None = None,
        num_inference_steps: np.ndarray | None = None,
        guidance_scale: np.ndarray | None = None,
        scheduler: np.ndarray | None = None,
        speed: np.ndarray | None = None,
        initial_noise: np.ndarray | None = None,
        masked_noise: np.ndarray | None = None,
        reference_noise: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Check the options first: the loop is long. A chunk without faces stays empty."""
        options = self._options(seed, num_inference_steps, guidance_scale, scheduler, speed)
        drawn = draw_noise(options.seed, 0 if chunk_index is None else int(chunk_index[0]), *faces.shape[:2])
        given = (initial_noise, masked_noise, reference_noise)
        noise = Noise(*(mine if theirs is None else theirs for mine, theirs in zip(drawn, given, strict=True)))
        if not len(faces):
            return {"synced_faces": np.empty(faces.shape, np.float32)}
        return {"synced_faces": sync_faces(faces, audio_tokens, self, options, noise, self.stop_if_cancelled)}

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
        outputs = self._call("unet", inputs, ["noise_pred", "deep_features"] if deep else ["noise_pred"])
        return outputs["noise_pred"], outputs.get("deep_features")

    def unet_shallow(
        self, sample: torch.Tensor, timestep: torch.Tensor, audio_tokens: torch.Tensor, deep_features: torch.Tensor
    ) -> torch.Tensor:
        """Run the UNet's outermost layers."""
        inputs = {"sample": sample, "timestep": timestep, "audio_tokens": audio_tokens, "deep_features": deep_features}
        return self._call("unet_shallow", inputs, ["noise_pred"])["noise_pred"]

    def _options(
        self,
        seed: np.ndarray | None = None,
        num_inference_steps: np.ndarray | None = None,
        guidance_scale: np.ndarray | None = None,
        scheduler: np.ndarray | None = None,
        speed: np.ndarray | None = None,
    ) -> DiffusionOptions:
        default = self.parameters
        return DiffusionOptions(
            default.num_inference_steps if num_inference_steps is None else int(num_inference_steps[0]),
            default.guidance_scale if guidance_scale is None else float(guidance_scale[0]),
            default.scheduler if scheduler is None else named("scheduler", SCHEDULERS, int(scheduler[0])),
            default.speed if speed is None else named("speed", SPEEDS, int(speed[0])),
            default.seed if seed is None else int(seed[0]),
        )

    def _in_batches(self, model: str, input_name: str, images: torch.Tensor, output_name: str) -> torch.Tensor:
        parts = torch.split(images, self.parameters.images_per_call)
        return torch.cat([self._call(model, {input_name: part}, [output_name])[output_name] for part in parts])

    def _call(self, model: str, inputs: dict[str, torch.Tensor], outputs: list[str]) -> dict[str, torch.Tensor]:
        arrays = self.infer(model, {name: tensor.numpy() for name, tensor in inputs.items()}, outputs)
        return {name: torch.from_numpy(array) for name, array in arrays.items()}
