"""Sizes of Whisper tiny's encoder and of its input. Does not depend on torch.

Source: docs/specs/whisper.md.
"""

from __future__ import annotations

from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE, exact_div

MEL_BANDS = 80
HOP = 160  # samples from one mel frame to the next
MEL_FRAMES_PER_SECOND = exact_div(AUDIO_SAMPLE_RATE, HOP)  # 100
MEL_FRAMES_PER_POSITION = 2  # the encoder halves the rate
POSITIONS_PER_SECOND = exact_div(MEL_FRAMES_PER_SECOND, MEL_FRAMES_PER_POSITION)  # 50
SEGMENT_S = 30  # the encoder sees segments of this length
SEGMENT_MEL_FRAMES = SEGMENT_S * MEL_FRAMES_PER_SECOND  # 3000
SEGMENT_POSITIONS = exact_div(SEGMENT_MEL_FRAMES, MEL_FRAMES_PER_POSITION)  # 1500
LAYERS = 4
STATES = LAYERS + 1  # per position: before the first layer, and after each layer
STATE_SIZE = 384
