"""Whisper tiny's encoder with all its hidden states, loadable from OpenAI's file and from Hugging Face's.

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

from lipsync_core.whisper.sizes import LAYERS, MEL_BANDS, SEGMENT_POSITIONS, STATE_SIZE

HEADS = 6
WHISPER_FILES = ("model.safetensors", "pytorch_model.bin")  # of a folder, the first there
# what transformers calls it -> what OpenAI calls it
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
TRANSFORMERS_PREFIX = re.compile(r"^model\.")
UNUSED = ("decoder.", "proj_out.")  # the other half of the whole Whisper

ValueT = TypeVar("ValueT")


class WhisperStates(nn.Module):
    """Log-mel segments to the states before and after each layer; the final norm is not applied to any."""

    def __init__(self) -> None:
        """Build the untrained encoder; its position table is in place."""
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

    def forward(self, mel: Tensor) -> Tensor:
        """[B, 80, 3000] -> [B, 1500, 5, 384]: after the convolutions and the position table, then after each layer."""
        x = gelu(self.encoder.conv2(gelu(self.encoder.conv1(mel)))).transpose(1, 2)
        states = [x + self.encoder.embed_positions.weight]
        for layer in self.encoder.layers:
            states.append(layer(states[-1], None))
        return torch.stack(states, dim=2)


def openai_key(key: str) -> str:
    """Say what OpenAI's file calls a weight of WhisperEncoder."""
    for pattern, name in OPENAI_KEY_RULES:
        key = re.sub(pattern, name, key)
    return key


def rename_whisper_keys(weights: Mapping[str, ValueT], keys: Mapping[str, str]) -> dict[str, ValueT]:
    """Give an encoder's weights OpenAI's names and leave the decoder out.

    Args:
        weights: of OpenAI's file or of Hugging Face's.
        keys: WhisperStates' key -> OpenAI's.
    """
    plain = {TRANSFORMERS_PREFIX.sub("", key): value for key, value in weights.items()}
    return {keys.get(key, key): value for key, value in plain.items() if not key.startswith(UNUSED)}
