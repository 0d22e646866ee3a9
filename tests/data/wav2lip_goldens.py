"""What the Wav2Lip tests compare with on every machine: tests/data/wav2lip.

Numbers of the original, recorded from its own code in its own pinned environment, without its pictures and sounds:

    keys.json         every weight's name and shape, and digests of the made-up weights
    chunks.npz        first mel columns of all windows: 13 rates, 6 lengths; source frames of looped clips
    smoothing.npz     boxes before and after pads and smoothing
    s3fd_decode.npz   one picture's heads, their candidates, which of these stay, and the faces; a plain NMS
    audio.npz         the mel filters; mel windows and the audio embedding that the generator makes of them

And two of our own, on a photograph in the public domain and speech synthesised for this project:

    speech_mel.npy    the speech's mel spectrogram by librosa (its defaults changed to those of 0.7)
    networks.npz      what our torch modules make of the photograph in float64, with the recipe's made-up weights;
                      recorded when these modules gave the original's outputs within 3e-6, and its heads exactly

To make them again, in an environment with librosa 0.10.2 and in the project's:

    python tests/data/wav2lip_goldens.py mel
    python -m tests.data.wav2lip_goldens networks
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from lipsync_core.wav2lip.boxes import smooth_stream

FOLDER = Path(__file__).with_suffix("").parent / "wav2lip"
SPEECH_FILE = Path(__file__).parent / "speech.flac"
SPEECH_SAMPLES = 40_100  # 2.5 s, no multiple of the hop
WINDOW_STARTS = (20, 131)


def astronaut() -> np.ndarray:
    """Return the photograph, uint8 RGB [512, 512, 3]."""
    from skimage import data

    picture: np.ndarray = data.astronaut()
    return picture


def detector_images() -> np.ndarray:
    """Return the photograph and its mirror image at a quarter of the size, uint8 RGB [2, 128, 112, 3]."""
    small = astronaut()[::4, :448:4]
    return np.stack([small, small[:, ::-1]])


def generator_inputs() -> tuple[np.ndarray, np.ndarray]:
    """Return mel windows of the speech [2, 1, 80, 16] and the photograph's face, whole and closer [2, 6, 96, 96]."""
    mel = np.load(FOLDER / "speech_mel.npy")
    windows = np.stack([mel[:, start : start + 16] for start in WINDOW_STARTS])[:, None]
    picture = astronaut()[..., ::-1]
    faces = np.stack([picture[20:212:2, 130:322:2], picture[70:166, 180:276]]).transpose(0, 3, 1, 2)
    masked = faces.copy()
    masked[:, :, 48:] = 0
    return windows, np.concatenate([masked, faces], axis=1).astype(np.float32) / np.float32(255)


def write_mel() -> None:
    """Compute the mel spectrogram with librosa."""
    import librosa
    import soundfile

    samples, rate = soundfile.read(SPEECH_FILE, dtype="float32", frames=SPEECH_SAMPLES)
    exact = samples.astype(np.float64)
    emphasised = np.append(exact[0], exact[1:] - 0.97 * exact[:-1])
    magnitudes = np.abs(librosa.stft(emphasised, n_fft=800, hop_length=200, win_length=800, pad_mode="reflect"))
    filters = librosa.filters.mel(sr=rate, n_fft=800, n_mels=80, fmin=55, fmax=7600, dtype=np.float64)
    decibels = 20 * np.log10(np.maximum(1e-5, filters @ magnitudes)) - 20
    mel = np.clip(8 * (decibels + 100) / 100 - 4, -4, 4)
    np.save(FOLDER / "speech_mel.npy", mel.astype(np.float32))


def write_networks() -> None:
    """Run our modules in float64."""
    import torch

    from export.shared.network import load_synthetic
    from export.wav2lip.networks import DETECTOR, GENERATOR

    torch.set_grad_enabled(False)
    inputs = [torch.from_numpy(array).double() for array in generator_inputs()]
    drawn = load_synthetic(GENERATOR).double()(*inputs)
    logits, offsets = load_synthetic(DETECTOR).double()(torch.from_numpy(detector_images()))
    outputs = {"drawn": drawn, "logits": logits, "offsets": offsets}
    np.savez_compressed(FOLDER / "networks.npz", **{name: value.float().numpy() for name, value in outputs.items()})


if __name__ == "__main__":
    {"mel": write_mel, "networks": write_networks}[sys.argv[1]]()


def smooth_boxes(boxes: np.ndarray) -> np.ndarray:
    """Smooth a clip's boxes; the last four are averaged with smoothed ones, as in the original.

    Args:
        boxes: int [F, 4].

    Returns:
        int64 [F, 4].
    """
    return np.array(list(smooth_stream(boxes)), np.int64).reshape(-1, 4)


def whole_boxes(boxes: np.ndarray) -> np.ndarray:
    """Truncate boxes to whole pixels, at least 0, as in the original, float [..., 4] -> int64 [..., 4]."""
    return np.maximum(0, boxes).astype(np.int64)
