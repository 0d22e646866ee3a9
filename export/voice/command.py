"""The command `voice`: exports silero-vad, which tells speech from other sounds, from its wheel."""

from __future__ import annotations

from export.shared.wheel_command import WheelModels, wheel_command
from export.voice.silero import LICENCE, SERVED, SILERO_VAD, read_from_wheel

COMMAND = wheel_command(
    "voice",
    "take silero-vad, which tells speech from other sounds, from its wheel",
    WheelModels(wheel=SILERO_VAD, licence=LICENCE, models=(SERVED,), read=lambda wheel: [read_from_wheel(wheel)]),
)
