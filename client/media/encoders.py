"""Chooses container, encoder, pixel format and encoder options for an output; opens nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av

from client.errors import UsageError
from client.media.pixels import NativeFormat, nearest_native, parse_native

VideoCodec = Literal["auto", "h264", "hevc", "av1", "vp9", "ffv1", "prores"]
DEFAULT_CRF = 18
DEFAULT_PRESET = "veryfast"  # 0.4 s per second of 1080x1920 at 2 threads; medium takes 0.9 for files as large
PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
LOOKAHEAD = 10  # frames; each holds a picture, and more gains little at constant quality

MUXERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".avi": "avi",
          ".ts": "mpegts", ".flv": "flv"}  # fmt: skip
KEEPS_ROTATION = {"mp4", "mov", "matroska", "webm"}
FAST_START = {"mp4", "mov"}
FIXED_RATE = {"avi"}  # stores a rate, not timestamps
LIBRARIES = {"h264": "libx264", "hevc": "libx265", "av1": "libsvtav1", "vp9": "libvpx-vp9", "ffv1": "ffv1",
             "prores": "prores_ks"}  # fmt: skip
ALLOWED = {
    "mp4": {"h264", "hevc", "av1", "vp9"},
    "mov": {"h264", "hevc", "prores", "ffv1"},
    "matroska": {"h264", "hevc", "av1", "vp9", "ffv1", "prores"},
    "webm": {"vp9", "av1"},
    "avi": {"h264", "ffv1"},
    "mpegts": {"h264", "hevc"},
    "flv": {"h264"},
}
EVEN_SIZES = {"libx264", "libx265", "libsvtav1", "prores_ks"}
SVT_PRESETS = {"ultrafast": 12, "superfast": 11, "veryfast": 10, "faster": 9, "fast": 8, "medium": 7, "slow": 5,
               "slower": 4, "veryslow": 2}  # fmt: skip
VPX_SPEEDS = {"ultrafast": 8, "superfast": 7, "veryfast": 6, "faster": 5, "fast": 4, "medium": 3, "slow": 2,
              "slower": 1, "veryslow": 0}  # fmt: skip
X264_CRF_TOP, VPX_CRF_TOP = 51, 63  # the worst quality on each scale


@dataclass(frozen=True)
class EncoderChoice:
    """What an output is written with.

    Attributes:
        muxer: FFmpeg's name of the container format.
        encoder: FFmpeg's name of the encoder.
        pix_fmt: pixel format the encoder gets.
        options: encoder options.
        tag: codec tag, where players insist on one.
    """

    muxer: str
    encoder: str
    pix_fmt: str
    options: dict[str, str]
    tag: str | None


def choose_muxer(path: Path) -> str:
    """Choose the container by the output's extension.

    Raises:
        UsageError: no video container has that extension.
    """
    muxer = MUXERS.get(path.suffix.lower())
    if muxer is None:
        known = " ".join(sorted(MUXERS))
        raise UsageError(f"{path}: expected a name ending in one of {known}, got '{path.suffix}'. Rename the output")
    return muxer


def choose_encoder(
    path: Path,
    native: NativeFormat,
    *,
    codec: VideoCodec = "auto",
    crf: int = DEFAULT_CRF,
    preset: str = DEFAULT_PRESET,
    lossless: bool = False,
    threads: int = 2,
) -> EncoderChoice:
    """Choose how to encode pictures of a native format into a file.

    Args:
        path: the output; its extension names the container.
        native: the pictures' format.
        codec: auto takes ffv1 or lossless H.264/HEVC for lossless, VP9 or AV1 in webm, HEVC for more than 8 bits,
            else H.264.
        crf: constant quality on x264's scale, 0 to 51, smaller is better.
        preset: speed, in x264's words.
        lossless: keep every sample.
        threads: encoder threads.

    Raises:
        UsageError: container, codec and options do not go together.
    """
    muxer = choose_muxer(path)
    _check_quality(crf, preset)
    name = _automatic(muxer, native, lossless=lossless) if codec == "auto" else codec
    if name not in ALLOWED[muxer]:
        allowed = " ".join(sorted(ALLOWED[muxer]))
        raise UsageError(
            f"--codec: expected one that {path.suffix} files hold ({allowed}), got {name}. "
            "Choose another codec or extension"
        )
    encoder = "libx264rgb" if name == "h264" and native.is_rgb and lossless else LIBRARIES[name]
    pix_fmt = nearest_format(native, encoder_formats(encoder), keep_rgb=lossless or name == "ffv1")
    if lossless:
        _check_lossless(name, native, pix_fmt)
    options = _options(name, crf, preset, lossless, threads)
    if muxer in FIXED_RATE:
        options["bf"] = "0"  # without timestamps, frames must be stored in the order they are shown
    return EncoderChoice(muxer, encoder, pix_fmt, options, "hvc1" if _wants_hvc1(name, muxer) else None)


def encoder_formats(encoder: str) -> list[str]:
    """List the pixel formats that an encoder takes, without transparent, gray and semi-planar ones."""
    formats = [known.name for known in av.Codec(encoder, "w").video_formats or []]
    return [name for name in formats if name in ("bgr0", "bgr24") or _is_native(name)]


def nearest_format(native: NativeFormat, formats: list[str], *, keep_rgb: bool) -> str:
    """Choose the pixel format that loses least: depth first, then chroma, then size.

    Args:
        native: the pictures' format.
        formats: what the encoder takes.
        keep_rgb: whether RGB pictures stay RGB; else they become YUV 4:2:0, which every player shows.
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
        raise UsageError(f"--preset: expected one of {' '.join(PRESETS)}, got {preset}")
    if not 0 <= crf <= X264_CRF_TOP:
        raise UsageError(f"--crf: expected 0 to {X264_CRF_TOP}, got {crf}")


def _automatic(muxer: str, native: NativeFormat, *, lossless: bool) -> str:
    allowed = ALLOWED[muxer]
    order = ["h264", "vp9"] if native.depth == 8 else ["hevc", "av1", "h264"]
    if lossless:
        order = ["ffv1", *(["h264"] if native.depth == 8 else ["hevc"]), "vp9"]
        if muxer == "mov":  # players that take mov know no ffv1
            order = order[1:]
    return next((name for name in order if name in allowed), sorted(allowed)[0])


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


def _check_lossless(codec: str, native: NativeFormat, pix_fmt: str) -> None:
    if codec in ("prores", "av1") or not is_exact(native, pix_fmt) or (codec == "h264" and native.depth > 8):
        raise UsageError(
            f"--lossless: expected a codec that keeps {native.name} exactly, got {codec}. "
            "Use --codec ffv1 with an .mkv output"
        )


def _wants_hvc1(codec: str, muxer: str) -> bool:
    return codec == "hevc" and muxer in ("mp4", "mov")


def _options(codec: str, crf: int, preset: str, lossless: bool, threads: int) -> dict[str, str]:
    vpx_crf = str(round(crf * VPX_CRF_TOP / X264_CRF_TOP))
    if codec == "h264":
        quality = {"qp": "0"} if lossless else {"crf": str(crf)}
        return {"preset": preset, "rc-lookahead": str(LOOKAHEAD), **quality}
    if codec == "hevc":
        params = f"log-level=none:pools={threads}:frame-threads=1:rc-lookahead={LOOKAHEAD}"
        if lossless:
            return {"preset": preset, "x265-params": f"{params}:lossless=1"}
        return {"preset": preset, "crf": str(crf), "x265-params": params}
    if codec == "av1":
        return {"preset": str(SVT_PRESETS[preset]), "crf": vpx_crf, "svtav1-params": f"lp={threads}"}
    if codec == "vp9":
        quality = {"lossless": "1"} if lossless else {"crf": vpx_crf, "b": "0"}
        return {"deadline": "good", "cpu-used": str(min(VPX_SPEEDS[preset], 5)), "row-mt": "1",
                "lag-in-frames": str(LOOKAHEAD), **quality}  # fmt: skip
    if codec == "ffv1":
        return {"level": "3", "slices": "4", "slicecrc": "1"}
    return {}  # prores takes the best profile of its pixel format
