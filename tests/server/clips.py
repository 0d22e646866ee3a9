"""Small media for tests of whole jobs: a photographed head that moves a little, and speech."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from skimage import data

from client.media import AudioSource
from tests.unit.mouth_samples import LANDMARKS

SPEECH = Path(__file__).resolve().parent.parent / "data" / "speech.flac"
HEAD = (slice(0, 270), slice(90, 360))  # rows and columns of the astronaut's head and shoulders
SIDE = 256


def head_frame(shift: float = 0.0) -> np.ndarray:
    """Return the head, uint8 RGB [256, 256, 3], moved to the right by some pixels."""
    head = cv2.resize(data.astronaut()[HEAD], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    move = np.array([[1, 0, shift], [0, 1, 0]], np.float32)
    return cv2.warpAffine(head, move, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)


def head_landmarks() -> np.ndarray:
    """Return the landmarks of `head_frame`, float32 [468, 3]."""
    rows, columns = HEAD
    corner = np.array([columns.start, rows.start, 0], np.float32)
    return (LANDMARKS - corner) * np.float32(SIDE / (rows.stop - rows.start))


def swaying_head(count: int) -> list[np.ndarray]:
    """Return frames of the head as it sways a little."""
    return [head_frame(3 * np.sin(index / 6)) for index in range(count)]


def masked_frame(shift: float = 0.0) -> np.ndarray:
    """Return the head of `head_frame` with a shaded light blue cloth over nose, mouth and chin."""
    frame = head_frame(shift).astype(np.float32)
    cloth = np.zeros((SIDE, SIDE), np.float32)
    cv2.ellipse(cloth, (round(128 + shift), 142), (48, 36), 0, 0, 360, 1, -1)
    cloth = cv2.GaussianBlur(cloth, (0, 0), 1)[..., None]
    across = np.abs(np.arange(SIDE, dtype=np.float32)[None, :, None] - 128 - shift) / 48
    colour = np.array([170, 200, 215], np.float32) * (1 - 0.2 * across)
    return np.clip(frame * (1 - cloth) + colour * cloth, 0, 255).astype(np.uint8)


def empty_frame() -> np.ndarray:
    """Return a frame without a face, uint8 RGB [256, 256, 3]."""
    columns = np.linspace(40, 200, SIDE, dtype=np.uint8)
    return np.repeat(np.tile(columns, (SIDE, 1))[..., None], 3, axis=2)


def write_video(
    path: Path, frames: Sequence[np.ndarray], *, rate: int = 25, codec: str = "libx264", pix_fmt: str = "yuv420p"
) -> Path:
    """Write RGB frames as a video of constant rate, nearly without loss."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options={"crf": "10"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        for index, rgb in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = index, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_film(path: Path, frames: Sequence[np.ndarray], samples: np.ndarray, *, late_s: float = 0.0) -> Path:
    """Write RGB frames at 25 fps with float samples [S] of 16 kHz, which begin so much later than the pictures."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"crf": "10"})
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("flac", rate=16_000, layout="mono")
        for index, rgb in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(video.encode(frame))
        sound = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16)[None], "s16", "mono")
        sound.sample_rate, sound.pts, sound.time_base = 16_000, round(late_s * 16_000), Fraction(1, 16_000)
        container.mux(audio.encode(sound))
        for stream in (video, audio):
            container.mux(stream.encode(None))
    return path


def write_wave(path: Path, samples: np.ndarray, rate: int = 16_000, codec: str = "pcm_s16le") -> Path:
    """Write float samples [S] as mono audio."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        sample_format = "flt" if codec == "pcm_f32le" else "s16"
        pcm = samples.astype(np.float32) if sample_format == "flt" else (samples * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(pcm[None], sample_format, "mono")
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_speech(path: Path, seconds: float) -> Path:
    """Write the beginning of the speech, 16 kHz mono, for jobs that follow its length."""
    with AudioSource(SPEECH) as audio:
        return write_wave(path, audio.window(0, round(16_000 * seconds)))


def read_frames(path: Path) -> list[np.ndarray]:
    """Read all frames of a video as uint8 RGB [h, w, 3]."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def read_planes(path: Path) -> list[np.ndarray]:
    """Read all frames of a video as their own samples."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray() for frame in container.decode(video=0)]
