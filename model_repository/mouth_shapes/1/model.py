"""Computes one mouth shape per frame from audio, or passes given shapes on."""

import numpy as np

from lipsync_core.audio.lip_shapes import (
    POPULATION_GAIN,
    lip_shapes,
    speech_statistics,
    statistics_from_tensor,
)
from lipsync_core.checks import check_rows
from lipsync_core.mouth import real_shapes
from lipsync_core.triton.step import TritonStep


class TritonPythonModel(TritonStep):
    """Compute how the lips are displaced at each frame."""

    def run(
        self,
        audio: np.ndarray | None = None,
        frame_times: np.ndarray | None = None,
        given_shapes: np.ndarray | None = None,
        speech_statistics: np.ndarray | None = None,
        shape_gain: np.ndarray | None = None,
        mouth_strengths: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Compute the shapes, unless they are given.

        Args:
            audio: float32 [S], mono at 16 kHz.
            frame_times: float64 [F], centres of the frames in seconds from the first sample.
            given_shapes: float32 [F, 7], components and closure, instead of audio.
            speech_statistics: float32 [28], of the whole audio (`SpeechStatistics.tensor`); else those of `audio`.
            shape_gain: float32 [1], how much further the mouth opens than predicted; else the population's.
            mouth_strengths: float32 [F], only to check the number of frames.

        Returns:
            mouth_shapes, float32 [F, 7].

        Raises:
            ValueError: Neither shapes nor audio with frame times are given, row counts differ, or a number cannot be
                used.
        """
        if given_shapes is not None:
            shapes = given_shapes
        elif audio is not None and frame_times is not None:
            shapes = follow_speech(audio, frame_times, speech_statistics, shape_gain)
        else:
            raise ValueError("mouth_shapes: expected shapes, or audio with frame_times, got neither. Send one of them")
        if mouth_strengths is not None:
            check_rows("frame_times" if given_shapes is None else "shapes", shapes, len(mouth_strengths))
        return {"mouth_shapes": shapes}


def follow_speech(
    audio: np.ndarray, frame_times: np.ndarray, statistics: np.ndarray | None, gain: np.ndarray | None
) -> np.ndarray:
    """Return shapes at their real size, float32 [F, 7]."""
    known = speech_statistics([audio]) if statistics is None else statistics_from_tensor(statistics)
    factor = POPULATION_GAIN if gain is None else float(gain[0])
    return real_shapes(*lip_shapes(audio, known, frame_times), factor)
