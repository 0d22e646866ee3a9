"""The pipelines: one module each. The tuple below is the only list of them."""

from __future__ import annotations

from client.pipeline import Pipeline
from client.pipelines.latentsync import LATENTSYNC
from client.pipelines.mouth_motion import MOUTH_MOTION
from client.pipelines.musetalk import MUSETALK
from client.pipelines.wav2lip import WAV2LIP

PIPELINES: tuple[Pipeline, ...] = (MOUTH_MOTION, WAV2LIP, MUSETALK, LATENTSYNC)  # in the order in which users see them
DEFAULT_PIPELINE = PIPELINES[0]


def pipeline_named(name: str) -> Pipeline:
    """Return the pipeline of a name.

    Raises:
        KeyError: no pipeline has it.
    """
    return {pipeline.name: pipeline for pipeline in PIPELINES}[name]
