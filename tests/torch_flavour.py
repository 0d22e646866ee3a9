"""The torch flavour without a GPU: the same programs and backend, on the CPU, as traced and in float32."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

FLAVOUR = "torch"
SMALL_SHAPES = {  # of the tests' small networks and faces of 64 pixels
    "latentsync_unet": "sample=1x13x16x8x8 timestep=1x1 audio_tokens=1x16x50x384;"
    " sample=1x13x16x8x8 timestep=1x2 audio_tokens=1x16x50x384",
    "latentsync_unet_shallow": "sample=1x13x16x8x8 timestep=1x2 audio_tokens=1x16x50x384 deep_features=1x2x32x16x8x8",
    "vae_encoder": "images=8x3x64x64",
    "vae_decoder": "latents=8x4x8x8",
    "whisper_encoder": "mel=1x80x3000",
    "wav2lip_generator": "mel=4x1x80x16 face=4x6x96x96",
    "s3fd": "images=1x64x64x3",
}


def for_cpu(path: Path, **parameters: str) -> None:
    """Rewrite a configs/torch.pbtxt: on the CPU, eager and in float32 where `parameters` say nothing else."""
    config = text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
    config.instance_group[0].kind = model_config_pb2.ModelInstanceGroup.KIND_CPU
    chosen = {"precision": "fp32", "compile": "eager", "cuda_graph": "false", **parameters}
    for key, text in chosen.items():
        config.parameters[key].string_value = text
    path.write_text(text_format.MessageToString(config))


def serve_programs_on_cpu(repository: Path) -> None:
    """Have a repository's torch flavours run on the CPU."""
    for model, shapes in SMALL_SHAPES.items():
        for_cpu(repository / model / "configs" / f"{FLAVOUR}.pbtxt", shapes=shapes)
