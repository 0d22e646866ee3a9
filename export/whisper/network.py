"""Whisper tiny's encoder with all its hidden states; loads OpenAI's file and Hugging Face's.

Source: docs/specs/whisper.md, "Encoder" and "Checkpoint files".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from export.shared.network import Network, ServedModel, random_inputs
from export.shared.synthetic_weights import scaled_weights
from lipsync_core.whisper.sizes import LAYERS, MEL_BANDS, SEGMENT_MEL_FRAMES, SEGMENT_POSITIONS, STATE_SIZE

HEADS = 6
# Key of transformers -> key of OpenAI's file
OPENAI_KEY_RULES = (
    (r"^layers\.", "blocks."),
    (r"\.self_attn\.q_proj\.", ".attn.query."),
    (r"\.self_attn\.k_proj\.", ".attn.key."),
    (r"\.self_attn\.v_proj\.", ".attn.value."),
    (r"\.self_attn\.out_proj\.", ".attn.out."),
    (r"\.self_attn_layer_norm\.", ".attn_ln."),
    (r"\.final_layer_norm\.", ".mlp_ln."),
    (r"\.fc1\.", ".mlp.0."),
    (r"\.fc2\.", ".mlp.2."),
    (r"^embed_positions\.weight$", "positional_embedding"),
    (r"^layer_norm\.", "ln_post."),
    (r"^", "encoder."),
)
POSITIONS = "encoder.positional_embedding"
TRANSFORMERS_PREFIX = re.compile(r"^model\.")
UNUSED = ("decoder.", "proj_out.")  # the decoder, which turns states into text

ValueT = TypeVar("ValueT")


class WhisperStates(nn.Module):
    """Turns log-mel segments into the hidden states before and after each layer, and the last one normalised."""

    def __init__(self) -> None:
        """Build the encoder with random weights; its position table is in place."""
        super().__init__()
        config = WhisperConfig(
            num_mel_bins=MEL_BANDS,
            d_model=STATE_SIZE,
            encoder_layers=LAYERS,
            encoder_attention_heads=HEADS,
            encoder_ffn_dim=4 * STATE_SIZE,
            max_source_positions=SEGMENT_POSITIONS,
        )
        self.encoder = WhisperEncoder(config)

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Run the encoder.

        Args:
            mel: Log-mel segments of 30 s, float32 [B, 80, 3000].

        Returns:
            States, float32 [B, 1500, 5, 384]: after the convolutions and the position table, then after each layer,
            without the final layer norm; and the last of them after that norm, float32 [B, 1500, 384].
        """
        x = gelu(self.encoder.conv2(gelu(self.encoder.conv1(mel)))).transpose(1, 2)
        states = [x + self.encoder.embed_positions.weight]
        for layer in self.encoder.layers:
            states.append(layer(states[-1], None))
        return torch.stack(states, dim=2), self.encoder.layer_norm(states[-1])


def openai_key(key: str) -> str:
    """Return the key of OpenAI's file for a key of WhisperEncoder."""
    for pattern, name in OPENAI_KEY_RULES:
        key = re.sub(pattern, name, key)
    return key


def rename_whisper_keys(weights: Mapping[str, ValueT], keys: Mapping[str, str]) -> dict[str, ValueT]:
    """Give an encoder's weights the keys of OpenAI's file, and drop the decoder's.

    Args:
        weights: Weights of OpenAI's file or of Hugging Face's, by key.
        keys: Key of WhisperStates -> key of OpenAI's file.
    """
    plain = {TRANSFORMERS_PREFIX.sub("", key): value for key, value in weights.items()}
    return {keys.get(key, key): value for key, value in plain.items() if not key.startswith(UNUSED)}


def _models(whisper: nn.Module) -> list[ServedModel]:
    return [
        ServedModel(
            name="whisper_encoder",
            module=whisper,
            free_axes={"mel": {0: "batch"}},
            outputs=("states", "normalised_state"),
            trial=lambda rows: {"mel": random_inputs(rows, MEL_BANDS, SEGMENT_MEL_FRAMES) / 2},
        )
    ]


WHISPER = Network(
    title="Whisper tiny",
    license_line="licence of the weights: MIT (Whisper, OpenAI)",
    build=lambda _size: WhisperStates(),
    models=_models,
    synthetic=scaled_weights,
    shared=True,
    folder_files=("model.safetensors", "pytorch_model.bin", "tiny.pt"),
    checkpoint_key=lambda key: openai_key(key.removeprefix("encoder.")),
    rename=rename_whisper_keys,
    is_computed=lambda key: key == POSITIONS,
)
