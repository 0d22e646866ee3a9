"""What the SyncNet tests compare with on every machine: tests/data/syncnet.

Numbers of the originals, recorded from their own code, without pictures and sounds:

    keys.json        every weight's name and shape, and digests of the made-up weights
    distances.npz    16-dimensional embeddings, their distances and results; median filters
    tracks.npz       detections and the tracks made of them; a track's boxes and where its crops lie

One of the library that the originals use, on speech synthesised for this project:

    speech_mfcc.npy  the cepstral columns by python_speech_features 0.6

And one of our own, on a photograph in the public domain and the same speech:

    networks.npz     what our torch modules make of them in float64, with the recipe's made-up weights; recorded when
                     these modules gave the originals' outputs within 2e-6

To make them again, in an environment with python_speech_features 0.6 and soundfile, in one with the originals'
recorded numbers, and in the project's:

    python tests/data/syncnet_goldens.py mfcc
    python -m tests.data.syncnet_goldens numbers REFERENCE_DIR
    python -m tests.data.syncnet_goldens networks
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).with_suffix("").parent / "syncnet"
SPEECH_FILE = Path(__file__).parent / "speech.flac"
SPEECH_SAMPLES = 16_001  # one more than a second, no multiple of the hop
CASES = ("v15_delay3", "v10_delay-12")


def lip_frames() -> np.ndarray:
    """Return seven views of the photograph's face, each a little to the right, uint8 BGR [7, 224, 224, 3]."""
    from skimage import data

    picture = data.astronaut()[..., ::-1]
    return np.stack([picture[10:234, 110 + 3 * i : 334 + 3 * i] for i in range(7)])


def detector_image() -> np.ndarray:
    """Return the photograph, cut so that its quarter has odd sides, uint8 RGB [500, 508, 3]."""
    from skimage import data

    picture: np.ndarray = data.astronaut()[:500, :508]
    return picture


def speech() -> np.ndarray:
    """Return the beginning of the speech, int16 [16001]."""
    import av

    with av.open(str(SPEECH_FILE)) as container:
        samples = np.concatenate([frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)])
    assert samples.dtype == np.int16
    return samples[:SPEECH_SAMPLES]


def write_mfcc() -> None:
    """Compute the cepstral columns with the library."""
    import python_speech_features
    import soundfile

    samples, rate = soundfile.read(SPEECH_FILE, dtype="int16", frames=SPEECH_SAMPLES)
    FOLDER.mkdir(exist_ok=True)
    np.save(FOLDER / "speech_mfcc.npy", python_speech_features.mfcc(samples, rate))


def write_numbers(reference: Path) -> None:
    """Take the small numbers out of the originals' recorded ones."""
    (FOLDER / "keys.json").write_text(json.dumps(json.loads((reference / "keys.json").read_text())))
    distances = np.load(reference / "sync_math.npz")
    kept = [name for name in distances.files if name.startswith((*CASES, "video", "medfilt"))]
    np.savez_compressed(FOLDER / "distances.npz", **{name: distances[name] for name in kept})
    tracks = np.load(reference / "tracks.npz")
    kept = [name for name in tracks.files if name not in ("crop_frames", "crop_out", "crop_index", "audio_cut")]
    np.savez_compressed(FOLDER / "tracks.npz", **{name: tracks[name] for name in kept})


def write_networks() -> None:
    """Run our modules in float64."""
    import torch

    from export.syncnet.network import LipTower, SoundTower
    from lipsync_core.syncnet.mfcc import audio_windows
    from perf.scores.syncnet.s3fd import shrink
    from perf.scores.syncnet.weights import synthetic_syncnet
    from tests.syncnet_detector import synthetic_detector

    torch.set_grad_enabled(False)
    network = synthetic_syncnet().double()
    crops = torch.from_numpy(np.ascontiguousarray(lip_frames()[..., ::-1]))
    windows = audio_windows(speech())[5:8]
    logits, offsets = synthetic_detector().double()(torch.from_numpy(shrink(detector_image())[None]))
    outputs = {
        "lips": LipTower(network)(crops[None])[0],
        "sounds": SoundTower(network)(torch.from_numpy(windows.copy()).double()),
        "logits": logits[0],
        "offsets": offsets[0],
    }
    np.savez_compressed(FOLDER / "networks.npz", **{name: value.float().numpy() for name, value in outputs.items()})


if __name__ == "__main__":
    arguments = [Path(argument) for argument in sys.argv[2:]]
    {"mfcc": write_mfcc, "numbers": write_numbers, "networks": write_networks}[sys.argv[1]](*arguments)
