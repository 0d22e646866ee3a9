from __future__ import annotations

import types
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from client.media import AudioSource
from client.options import read_options
from client.pipeline import JobMedia
from client.pipelines.wav2lip import Wav2Lip
from client.tracking.faces import Face
from client.tracking.follow import Observation
from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE
from lipsync_core.wav2lip.boxes import Pads, pad_boxes
from lipsync_core.wav2lip.mel import mel_spectrogram, mel_windows
from tests.data.wav2lip_goldens import smooth_boxes
from tests.wav2lip_original import original_windows

SPEECH = Path(__file__).resolve().parent.parent / "data" / "speech.flac"
SIZE = types.SimpleNamespace(width=640, height=360)


def frame(index: int, fps: Fraction = Fraction(25)) -> types.SimpleNamespace:
    return types.SimpleNamespace(picture=SIZE, time_s=float(index / fps), duration_s=float(1 / fps))


def wav2lip(fps: float = 25.0, **options: object) -> Wav2Lip:
    values = read_options({"model": "wav2lip", **options})
    return Wav2Lip(JobMedia(None, values, AudioSource(SPEECH), fps, None))  # type: ignore[arg-type]  # it asks neither


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    return np.concatenate(list(AudioSource(SPEECH).speech_blocks()))


def observations(boxes: np.ndarray, missing: set[int] = frozenset()) -> list[Observation]:  # type: ignore[assignment]
    return [
        Observation(frame(i), None if i in missing else Face(box.astype(np.float32), 0.9), 1)
        for i, box in enumerate(boxes)
    ]


def random_boxes(count: int) -> np.ndarray:
    rng = np.random.default_rng(count)
    corner = rng.integers(0, 200, (count, 2))
    return np.concatenate([corner, corner + rng.integers(60, 150, (count, 2))], axis=1)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 40])
def test_boxes_are_padded_and_smoothed_as_the_originals(count: int) -> None:
    """A stream gives the boxes that the original's whole-clip smoothing gives."""
    boxes = random_boxes(count)
    pads = Pads(3, 10, 4, 5)
    found = np.array([o.face.box for o in wav2lip(pads=pads).smooth(observations(boxes)) if o.face is not None])
    np.testing.assert_array_equal(found, smooth_boxes(pad_boxes(boxes, pads, 360, 640)))


def test_smoothing_keeps_every_frame_and_stops_at_gaps() -> None:
    """Frames without a face stay in their place, and boxes before and after them are not mixed."""
    boxes = np.repeat([[10, 10, 100, 100], [300, 100, 400, 200]], 10, axis=0)
    smoothed = list(wav2lip(pads=Pads(0, 0, 0, 0)).smooth(observations(boxes, missing={10})))
    assert [item.frame.time_s for item in smoothed] == [frame(i).time_s for i in range(20)]
    assert smoothed[10].face is None
    assert all((item.face.box == boxes[i]).all() for i, item in enumerate(smoothed) if item.face is not None)


def test_only_a_few_frames_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Smoothing looks four frames ahead and no further."""
    taken = []

    def stream() -> object:
        for item in observations(random_boxes(100)):
            taken.append(item)
            yield item

    next(wav2lip().smooth(stream()))  # type: ignore[arg-type]
    assert len(taken) <= 6


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(24000, 1001), Fraction(30000, 1001), Fraction(60)])
@pytest.mark.parametrize("size", [3, 16])
def test_each_frame_gets_its_own_window(samples: np.ndarray, fps: Fraction, size: int) -> None:
    """Chunk by chunk, the speech that travels holds the windows that the original cuts from the whole of it."""
    whole = mel_spectrogram(samples)
    starts = original_windows(whole.shape[1], float(fps))
    expected = mel_windows(whole, starts)
    client = wav2lip(float(fps))
    face = Face(np.array([0, 0, 50, 50], np.float32), 1.0)
    for begin in range(0, len(starts), size):
        numbers = range(begin, min(begin + size, len(starts)))
        request = client.request([frame(i, fps) for i in numbers], [face] * len(numbers), [1] * len(numbers))
        inputs = request.inputs_for((0, 0, 9, 9))
        found = mel_windows(mel_spectrogram(inputs["audio"]), inputs["window_starts"])
        np.testing.assert_allclose(found, expected[begin : begin + size], atol=1e-6)  # float64 inside, float32 out


def test_frames_after_the_speech_are_silent(samples: np.ndarray) -> None:
    """Beyond the speech's end the windows hold silence."""
    client = wav2lip()
    later = int(len(samples) / 16_000 * 25) + 20
    face = Face(np.array([0, 0, 50, 50], np.float32), 1.0)
    inputs = client.request([frame(later)], [face], [1]).inputs_for((0, 0, 9, 9))
    assert (mel_windows(mel_spectrogram(inputs["audio"]), inputs["window_starts"]) == -4).all()


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30000, 1001)])
def test_a_window_does_not_depend_on_the_chunk(samples: np.ndarray, fps: Fraction) -> None:
    """Around the end of the speech too, chunks of 1 to 16 frames give every frame the same window."""
    whole = mel_spectrogram(samples)
    last_spoken = len(original_windows(whole.shape[1], float(fps))) - 1
    after = int(len(samples) / AUDIO_SAMPLE_RATE * fps) + 1  # the first frame shown after the speech
    shown = [frame(i, fps) for i in range(last_spoken - 4, after + 12)]
    client, face = wav2lip(float(fps)), Face(np.array([0, 0, 50, 50], np.float32), 1.0)

    def windows(size: int) -> np.ndarray:
        chunks = [shown[begin : begin + size] for begin in range(0, len(shown), size)]
        requests = [client.request(chunk, [face] * len(chunk), [1] * len(chunk)).inputs for chunk in chunks]
        return np.concatenate([mel_windows(mel_spectrogram(r["audio"]), r["window_starts"]) for r in requests])

    alone = windows(1)
    np.testing.assert_allclose(alone[4], whole[:, -16:], atol=1e-6)  # the original's last window
    assert (alone[-12:] == -4).all()
    for size in range(2, 17):
        np.testing.assert_allclose(windows(size), alone, atol=1e-6, err_msg=f"chunks of {size} frames")


def test_boxes_travel_in_the_regions_pixels() -> None:
    """What is sent is relative to the part of the frame that is sent."""
    face = Face(np.array([110, 60, 210, 180], np.float32), 1.0)
    inputs = wav2lip().request([frame(0)], [face], [1]).inputs_for((100, 50, 220, 200))
    np.testing.assert_array_equal(inputs["boxes"], [[10, 10, 110, 130]])
