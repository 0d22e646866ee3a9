"""Encoders' own parameters: the one option of FFmpeg that takes them all, separated by colons."""

from __future__ import annotations

from collections.abc import Mapping

OPTIONS = {"libx264": "x264-params", "libx265": "x265-params", "libsvtav1": "svtav1-params"}  # by encoder


def with_parameters(options: Mapping[str, str], encoder: str, *parameters: str) -> dict[str, str]:
    """Return an encoder's options with further parameters behind its own.

    Args:
        options: FFmpeg's options of the encoder.
        encoder: FFmpeg's name of it, one of OPTIONS.
        parameters: such as "cll=1000,400".
    """
    option = OPTIONS[encoder]
    before = [options[option]] if option in options else []
    return {**options, option: ":".join([*before, *parameters])}
