"""A mouth that follows loudness and a few spectral cues: what learned mouths are compared with."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from lipsync_core.audio.mel import triangles
from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE, exact_div
from lipsync_core.checks import check_audio

Float64Array = NDArray[np.float64]

HOP = 160  # samples, 10 ms
MEL_FRAMES_PER_SECOND = exact_div(AUDIO_SAMPLE_RATE, HOP)  # 100
WINDOW = 400  # samples, 25 ms
FFT_SIZE = 512  # samples
MEL_BANDS = 40
MEL_RANGE_HZ = (80.0, 7600.0)
POWER_FLOOR = 1e-10  # keeps the logarithm of digital silence finite
SPECTRUM_BLOCK = 4096  # mel frames computed at once: bounds memory for long speech

# Settled by listening and looking; levels in dB. Source: docs/specs/truth.md, "A mouth that follows loudness".
VOCAL_BAND_HZ = (350.0, 3800.0)  # without the voicing hum, so that the mouth closes for m, n and b
LOUDNESS_REACH_S = 3.0  # the local loudness range covers this much on either side
LOUDNESS_STEP = 10  # mel frames between two measurements
LOUD_PERCENTILE, QUIET_PERCENTILE, CLIP_PERCENTILE = 95, 8, 97
LOUD_BELOW_CLIP = 10.0  # the local loud level is at most this far below the clip's
LOUD_FLOOR = -8.0  # about the level of noise at -50 dB full scale
QUIET_BELOW_LOUD = 38.0
LOUDNESS_SMOOTHING_S = 0.3
GATE_ABOVE_QUIET, GATE_BELOW_LOUD, GATE_SPAN = 6.0, 26.0, 6.0
ACTIVE_LEVEL = 0.35  # share of the gate's range; the speaker's medians use mel frames above it
ACTIVE_HOPS_NEEDED = 20  # 0.2 s of speech; with less, all mel frames count

SHAPE_SMOOTHING_S = 0.060 / 2.355  # standard deviation; 60 ms full width at half maximum
SPREAD_SMOOTHING = 1.6  # multiplied by the opening's
OPENING_PERCENTILE = 95  # of the active mel frames: counts as wide open
OPENING_SCALE_FLOOR = 0.15
OPENING_MAX = 1.15
TAIL = 10  # mel frames before and after the audio in which the mouth closes


def mouth_shapes(samples: NDArray[np.float32], frame_times: Float64Array) -> NDArray[np.float32]:
    """Compute how far the mouth opens and spreads at each frame of a video.

    Args:
        samples: float32 [S], mono at 16 kHz, -1 to 1.
        frame_times: float64 [F], centres of the frames in seconds from the first sample.

    Returns:
        float32 [F, 2]: opening 0 (closed) to 1 (wide) to 1.15, spread -1 (rounded) to 1 (spread).
        In silence and outside the audio the mouth is closed and neutral.

    Raises:
        ValueError: A sample is NaN or infinite.
    """
    check_audio(samples)
    if len(samples) == 0:
        return np.zeros((len(frame_times), 2), np.float32)
    opening, spread = _shape_curves(mel_power(samples))
    hops = (np.arange(len(opening)) - TAIL) / MEL_FRAMES_PER_SECOND
    curves = [np.interp(frame_times, hops, curve, left=0.0, right=0.0) for curve in (opening, spread)]
    return np.stack(curves, axis=1).astype(np.float32)


def mel_power(samples: NDArray[np.float32]) -> Float64Array:
    """Compute the power in 40 mel bands every 10 ms.

    Args:
        samples: float32 [S], mono at 16 kHz.

    Returns:
        float64 [1 + S // 160, 40]; mel frame t is centred on sample 160 t.
    """
    padded = np.pad(samples, (WINDOW // 2, WINDOW))
    windows = sliding_window_view(padded, WINDOW)[::HOP][: 1 + len(samples) // HOP]
    filters = _mel_filters()
    taper = np.hanning(WINDOW).astype(np.float32)
    blocks = [windows[i : i + SPECTRUM_BLOCK] * taper for i in range(0, len(windows), SPECTRUM_BLOCK)]
    return np.concatenate([np.abs(np.fft.rfft(block, FFT_SIZE)) ** 2 @ filters.T for block in blocks]) + POWER_FLOOR


def band_level(mel: Float64Array, low_hz: float, high_hz: float) -> Float64Array:
    """Sum the bands centred in low_hz <= f < high_hz, float64 [T, 40] -> dB, float64 [T]."""
    centres = _mel_edges()[1:-1]
    inside = (centres >= low_hz) & (centres < high_hz)
    level: Float64Array = 10 * np.log10(mel[:, inside].sum(axis=1))
    return level


def vocal_level(mel: Float64Array) -> Float64Array:
    """Measure the band where open vowels are loud and closed lips are silent, float64 [T, 40] -> dB, float64 [T]."""
    return band_level(mel, *VOCAL_BAND_HZ)


def _mel_edges() -> Float64Array:
    low, high = (2595 * np.log10(1 + f / 700) for f in MEL_RANGE_HZ)
    edges: Float64Array = 700 * (10 ** (np.linspace(low, high, MEL_BANDS + 2) / 2595) - 1)
    return edges


def _mel_filters() -> Float64Array:
    """Return triangular filters of height 1, float64 [40, 257]."""
    return triangles(_mel_edges()[:, None], FFT_SIZE)


def _shape_curves(mel: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Compute opening and spread every 10 ms, from TAIL mel frames before the audio to TAIL after it."""
    vocal = vocal_level(mel)
    energy = _speech_energy(vocal)
    active = energy > ACTIVE_LEVEL
    if active.sum() <= ACTIVE_HOPS_NEEDED:
        active = np.ones_like(active)

    def cue(difference: Float64Array, low: float, high: float) -> Float64Array:
        """Scale a level difference to 0..1 between low and high around this speaker's median."""
        own = np.median(difference[active])
        return np.clip((difference - own - low) / (high - low), 0, 1)

    open_vowel = cue(band_level(mel, 550, 1100) - band_level(mel, 200, 480), -9, 7)
    fricative = cue(band_level(mel, 3800, 7600) - vocal, 6, 15)
    nasal = cue(band_level(mel, 80, 350) - vocal, 7, 16)
    opening = energy**0.65 * (0.40 + 0.60 * open_vowel) * (1 - 0.75 * fricative) * (1 - 0.8 * nasal)

    front_vowel = band_level(mel, 1700, 3000) - band_level(mel, 600, 1300)
    spread = np.clip((front_vowel - np.median(front_vowel[active])) / 9, -1, 1) * np.minimum(1.5 * energy, 1)
    spread = np.where(spread > 0, spread, spread * (1 - 0.6 * open_vowel))  # open lips cannot be rounded
    sigma = SHAPE_SMOOTHING_S * MEL_FRAMES_PER_SECOND
    opening = _smooth(np.pad(opening, TAIL), sigma)
    wide_open = np.percentile(opening[TAIL:-TAIL][active], OPENING_PERCENTILE)
    opening = np.clip(opening / max(wide_open, OPENING_SCALE_FLOOR), 0, OPENING_MAX)
    return opening, _smooth(np.pad(spread, TAIL), SPREAD_SMOOTHING * sigma)


def _speech_energy(vocal: Float64Array) -> Float64Array:
    """Scale the vocal level to 0..1 between the local background and the local loud level."""
    loud, quiet = _loudness_range(vocal)
    gate = np.maximum(quiet + GATE_ABOVE_QUIET, loud - GATE_BELOW_LOUD)
    return np.clip((vocal - gate) / np.maximum(loud - gate, GATE_SPAN), 0, 1)


def _loudness_range(vocal: Float64Array) -> tuple[Float64Array, Float64Array]:
    reach = round(LOUDNESS_REACH_S * MEL_FRAMES_PER_SECOND)
    spans = [vocal[max(0, t - reach) : t + reach + 1] for t in range(0, len(vocal), LOUDNESS_STEP)]
    levels = np.array([np.percentile(span, (LOUD_PERCENTILE, QUIET_PERCENTILE)) for span in spans])
    loud, quiet = np.repeat(levels, LOUDNESS_STEP, axis=0)[: len(vocal)].T
    loud = np.maximum(loud, np.percentile(vocal, CLIP_PERCENTILE) - LOUD_BELOW_CLIP)
    sigma = LOUDNESS_SMOOTHING_S * MEL_FRAMES_PER_SECOND
    loud = np.maximum(_smooth(loud, sigma), LOUD_FLOOR)
    return loud, np.maximum(_smooth(quiet, sigma), loud - QUIET_BELOW_LOUD)


def _smooth(curve: Float64Array, sigma: float) -> Float64Array:
    """Apply a Gaussian filter; values beyond the ends repeat the ends."""
    reach = int(np.ceil(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.convolve(np.pad(curve, reach, mode="edge"), kernel / kernel.sum(), "valid")
