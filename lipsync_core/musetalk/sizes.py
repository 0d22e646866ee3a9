"""Sizes fixed by MuseTalk's weights. Does not depend on torch.

Source: docs/specs/musetalk.md.
"""

from __future__ import annotations

from lipsync_core.audio.rates import exact_div
from lipsync_core.vae.sizes import LATENT_CHANNELS, latent_side
from lipsync_core.whisper.sizes import STATE_SIZE, STATES

FACE_SIZE = 256  # pixels along each edge of a face
LATENT_SIZE = latent_side(FACE_SIZE)  # 32
MASKED_FROM = exact_div(FACE_SIZE, 2)  # first row of the half that is generated
IMAGES_PER_FACE = 2  # lower half black, then whole
FACE_LATENT_CHANNELS = IMAGES_PER_FACE * LATENT_CHANNELS  # of the masked face, then of the whole face
POSITIONS = 10  # of audio around a frame
POSITIONS_BEFORE = 4  # of these before the frame's own
TOKENS = POSITIONS * STATES  # 50 audio tokens per frame
TOKEN_SIZE = STATE_SIZE
PARSER_SIZE = 512  # pixels along each edge of a crop for the face parser
PARSER_CLASSES = 19
