"""Chooses container, encoder, pixel format and encoder options for an output. Opens no file."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

from client.errors import UsageError, ref
from client.media.codecs import (
    AUTOMATIC,
    DEFAULT_CRF,
    DEFAULT_PRESET,
    MAX_CRF,
    PRESETS,
    Codec,
    EncoderSettings,
    automatic_codec,
    codecs_in,
)
from client.media.containers import Container, choose_container
from client.media.pixels import NativeFormat, nearest_native, parse_native

REORDERED_RATE = Fraction(1)  # frames per second; below, files with reordered frames would start seconds late


@dataclass(frozen=True)
class EncoderChoice:
    """How an output is encoded.

    Attributes:
        container: the container.
        codec: the codec.
        encoder: FFmpeg's name of the encoder.
        pix_fmt: pixel format of the frames that the encoder is given.
        options: encoder options.
        lossless: whether every sample is kept.
    """

    container: Container
    codec: Codec
    encoder: str
    pix_fmt: str
    options: dict[str, str]
    lossless: bool

    @property
    def tag(self) -> str | None:
        """Codec tag, where players insist on one."""
        return self.codec.tags.get(self.container.muxer)

    @property
    def keeps_aspect_ratio(self) -> bool:
        """Whether the file states the shape of oblong pixels."""
        return self.container.keeps_aspect_ratio or self.codec.keeps_aspect_ratio


def choose_encoder(
    path: Path,
    native: NativeFormat,
    *,
    codec: str = AUTOMATIC,
    crf: int = DEFAULT_CRF,
    preset: str = DEFAULT_PRESET,
    lossless: bool = False,
    threads: int = 2,
    pixels: int = 1,
    rate: Fraction = REORDERED_RATE,
) -> EncoderChoice:
    """Choose how to encode pictures of a native format into a file.

    Args:
        path: the output; its extension names the container.
        native: the pictures' format.
        codec: the codec's name; auto means ffv1 or lossless H.264/HEVC for lossless, VP9 or AV1 in webm, HEVC for
            more than 8 bits per sample, else H.264.
        crf: constant quality on x264's scale, 0 to 51; smaller is better.
        preset: speed, one of `PRESETS`.
        lossless: keep every sample.
        threads: encoder threads.
        pixels: pixels per frame; large ones have the encoder hold fewer frames.
        rate: frames per second; frames of slow ones are stored in the order they are shown.

    Raises:
        UsageError: container, codec and options do not go together.
    """
    container = choose_container(path)
    _check_quality(crf, preset)
    chosen = _codec(container, path.suffix, native, codec, lossless=lossless)
    encoder = chosen.encoder
    if lossless and native.is_rgb and chosen.lossless_rgb_encoder:
        encoder = chosen.lossless_rgb_encoder
    pix_fmt = nearest_format(native, encoder_formats(encoder), keep_rgb=lossless or chosen.keeps_rgb)
    if lossless:
        _check_lossless(chosen, native, pix_fmt)
    options = chosen.options(EncoderSettings(crf, preset, lossless, threads, pixels))
    if not container.keeps_timestamps or rate < REORDERED_RATE:
        # Frames are stored in the order they are shown: without timestamps no other can be stated, and at low rates
        # files with reordered frames would start seconds late.
        options["bf"] = "0"
    return EncoderChoice(container, chosen, encoder, pix_fmt, options, lossless)


def encoder_formats(encoder: str) -> list[str]:
    """List the pixel formats that an encoder accepts, without transparent, gray and semi-planar ones."""
    formats = [known.name for known in av.Codec(encoder, "w").video_formats or []]
    return [name for name in formats if name in ("bgr0", "bgr24") or _is_native(name)]


def nearest_format(native: NativeFormat, formats: list[str], *, keep_rgb: bool) -> str:
    """Choose the pixel format that loses the least depth, then the least chroma resolution, then is the smallest.

    Args:
        native: the pictures' format.
        formats: pixel formats that the encoder accepts.
        keep_rgb: whether RGB pictures stay RGB; else they become YUV 4:2:0, which every player can show.
    """
    if native.name in formats and (keep_rgb or not native.is_rgb):
        return native.name
    if native.is_rgb and not keep_rgb:
        native = parse_native("yuv420p" if native.depth == 8 else "yuv420p10le")
    return min(formats, key=lambda name: _loss(native, name))


def is_exact(native: NativeFormat, pix_fmt: str) -> bool:
    """Say whether a pixel format holds every sample of a native one."""
    return native.name == pix_fmt or (native.is_rgb and native.depth == 8 and pix_fmt in ("bgr0", "bgr24"))


def _check_quality(crf: int, preset: str) -> None:
    if preset not in PRESETS:
        raise UsageError(option="preset", expected=f"one of {' '.join(PRESETS)}", got=preset)
    if not 0 <= crf <= MAX_CRF:
        raise UsageError(option="crf", expected=f"0 to {MAX_CRF}", got=crf)


def _codec(container: Container, suffix: str, native: NativeFormat, name: str, *, lossless: bool) -> Codec:
    if name == AUTOMATIC:
        return automatic_codec(container.muxer, native.depth, lossless=lossless)
    held = {codec.name: codec for codec in codecs_in(container.muxer)}
    if name not in held:
        raise UsageError(
            option="codec",
            expected=f"one that {suffix} files hold ({' '.join(sorted(held))})",
            got=name,
            advice="Choose another codec or extension",
        )
    return held[name]


def _check_lossless(codec: Codec, native: NativeFormat, pix_fmt: str) -> None:
    if native.depth > codec.lossless_depth or not is_exact(native, pix_fmt):
        raise UsageError(
            option="lossless",
            expected=f"a codec that keeps {native.name} exactly",
            got=codec.name,
            advice=f"Set {ref('codec')} to ffv1 and write an .mkv file",
        )


def _loss(native: NativeFormat, name: str) -> tuple[bool, int, int, int, int]:
    if name in ("bgr0", "bgr24"):
        return (not native.is_rgb, max(0, native.depth - 8), 0, 0, 0)
    other = parse_native(name)
    coarser = sum(max(0, theirs - ours) for theirs, ours in zip(other.chroma_shift, native.chroma_shift, strict=True))
    finer = sum(max(0, ours - theirs) for theirs, ours in zip(other.chroma_shift, native.chroma_shift, strict=True))
    deeper = other.depth - native.depth
    return (native.is_rgb != other.is_rgb, max(0, -deeper), coarser, finer, max(0, deeper))


def _is_native(name: str) -> bool:
    return nearest_native(name).name == name
