"""LatentSync: align, denoise, paste back. Every step and every network is a separate model.

The loop is in the model that clients call, not behind an ensemble: only there does a cancellation arrive.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from lipsync_core.latentsync.alignment import has_face
from lipsync_core.latentsync.diffusion import Noise, draw_noise, sync_faces
from lipsync_core.latentsync.options import (
    DiffusionOptions,
    choose_resolution,
    options_for,
)
from lipsync_core.latentsync.sizes import MAX_BRANCHES, MAX_FRAMES
from lipsync_core.mouth import Strengths
from lipsync_core.network_files import VERSION_FOLDER
from lipsync_core.triton.tensors import TorchStep
from lipsync_core.weights import read_trained_resolution


@dataclass(frozen=True)
class LatentSyncParameters:
    """Parameters set in config.pbtxt.

    Attributes:
        num_frames: Frames of a whole chunk, for clients.
        images_per_call: Images per call of the VAE; at most its max_batch_size. Memory grows with it.
        branches_per_call: Branches of guidance per call of the UNet, 1 or 2. Memory grows with it.
        speed: Default of requests; it also sets the default steps and scheduler.
        guidance_scale: Default of requests.
        seed: Default of requests.
    """

    num_frames: int
    images_per_call: int
    branches_per_call: int
    speed: str
    guidance_scale: float
    seed: int


class TritonPythonModel(TorchStep):
    """Lip-sync one face per frame."""

    Parameters = LatentSyncParameters

    def setup(self) -> None:
        """Use one thread, as the networks do the work, and check the parameters."""
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
        """Lip-sync a chunk of frames. Inputs that are left out are computed, or default to the parameters.

        Args:
            frames: uint8 RGB [F, H, W, 3].
            landmarks: float32 [F, 468, 3]; NaN for frames without a face.
            alignment_points: float32 [F, 3, 2], else those of the landmarks; with them alone no mouth is judged.
            smoothing_biases: float32 [F, 2]; without them smoothing starts with this chunk.
            audio: float32 [S], mono at 16 kHz, all of it.
            audio_features: float32 [N, 5, 384], instead of audio.
            audio_positions: int32 [F], each frame's position in the features; 25 fps if left out.
            audio_tokens: float32 [F, 50, 384], instead of audio or features.
            seed: int64 [1].
            chunk_index: int32 [1], selects the chunk's noise.
            num_inference_steps: int32 [1].
            guidance_scale: float32 [1].
            scheduler: str [1].
            speed: str [1].
            resolution: int32 [1], edge length of the faces in pixels.
            initial_noise: float32 [4, h, h], instead of noise from the seed.
            masked_noise: float32 [faces, 4, h, h].
            reference_noise: float32 [faces, 4, h, h].

        Returns:
            synced_frames, uint8 RGB [F, H, W, 3]; strengths, float32 [F], 0 for unchanged frames; reasons, int32 [F].
        """
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
        visible = self._visible(frames, aligned["face_landmarks"], aligned["affine_matrices"])
        if not visible.strengths.any():
            return {"synced_frames": frames, "strengths": visible.strengths, "reasons": visible.reasons}
        speech = _given(
            audio=audio, audio_features=audio_features, audio_positions=audio_positions, audio_tokens=audio_tokens
        )
        tokens = self.infer("latentsync_tokens", matrices | speech)["face_tokens"]
        index = 0 if chunk_index is None else int(chunk_index[0])
        noise = _noise(options.seed, index, aligned["faces"], (initial_noise, masked_noise, reference_noise))
        drawn = sync_faces(aligned["faces"], tokens, self, options, noise, self.stop_if_cancelled)
        faces = {**matrices, "synced_faces": drawn, "face_strengths": visible.strengths}
        composed = self.infer("latentsync_composite", {"frames": frames, **faces})
        return {**composed, "strengths": visible.strengths, "reasons": visible.reasons}

    def _visible(self, frames: np.ndarray, landmarks: np.ndarray, matrices: np.ndarray) -> Strengths:
        """Judge how far each mouth can be seen; those of which only the alignment is known are taken for visible."""
        judged = self.infer("visible_mouths", {"frames": frames, "face_landmarks": landmarks})
        unjudged = has_face(matrices) & ~np.isfinite(landmarks).all(axis=(1, 2))
        return Strengths(judged["mouth_strengths"], judged["mouth_reasons"]).or_full(unjudged)

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Run the VAE's encoder, [N, 3, R, R] -> [N, 8, h, h]."""
        return self._in_batches("vae_encoder", "images", images, "moments")

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Run the VAE's decoder, [N, 4, h, h] -> [N, 3, R, R]."""
        return self._in_batches("vae_decoder", "latents", latents, "decoded")

    def unet(
        self, sample: torch.Tensor, timestep: torch.Tensor, audio_tokens: torch.Tensor, *, deep: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Run the UNet, [B, 13, F, h, h] -> [B, N, 4, F, h, h]; deep features are returned only if `deep`."""
        inputs = {"sample": sample, "timestep": timestep, "audio_tokens": audio_tokens}
        wanted = ["noise_pred", "deep_features"] if deep else ["noise_pred"]
        outputs = self.infer_tensors("latentsync_unet", inputs, wanted)
        return outputs["noise_pred"], outputs.get("deep_features")

    def unet_shallow(
        self, sample: torch.Tensor, timestep: torch.Tensor, audio_tokens: torch.Tensor, deep_features: torch.Tensor
    ) -> torch.Tensor:
        """Run the UNet's outermost layers, [B, 13, F, h, h] -> [B, N, 4, F, h, h]."""
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
    """Return the tensors that were sent."""
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def _noise(seed: int, chunk_index: int, faces: np.ndarray, given: tuple[np.ndarray | None, ...]) -> Noise:
    """Draw the chunk's noise; given noise replaces it."""
    drawn = draw_noise(seed, chunk_index, len(faces), faces.shape[1])
    return Noise(*(mine if theirs is None else theirs for mine, theirs in zip(drawn, given, strict=True)))
