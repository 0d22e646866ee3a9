"""Reads and writes the user's media as streams with PyAV. Opens no file but those that the user named."""

from client.media.audio import AudioSource, SpeechSource
from client.media.codecs import DEFAULT_CRF, DEFAULT_PRESET, MAX_CRF, PRESETS
from client.media.containers import CONTAINERS
from client.media.geometry import Orientation, Region, relative_to
from client.media.output import check_output, hidden_stem, output_error
from client.media.picture import Picture, align_region
from client.media.pixels import ColorTags
from client.media.scan import scan_frames
from client.media.source import SourceFrame, VideoSource
from client.media.timeline import (
    ORIGINAL,
    STRETCH,
    IfAudioLonger,
    IfAudioShorter,
    TimelineFrame,
    at_rate,
    estimate_frames,
    from_first_frame,
    output_time_base,
    stop_as_original,
    timeline,
)
from client.media.writer import VideoWriter

__all__ = [
    "CONTAINERS",
    "DEFAULT_CRF",
    "DEFAULT_PRESET",
    "MAX_CRF",
    "ORIGINAL",
    "PRESETS",
    "STRETCH",
    "AudioSource",
    "ColorTags",
    "IfAudioLonger",
    "IfAudioShorter",
    "Orientation",
    "Picture",
    "Region",
    "SourceFrame",
    "SpeechSource",
    "TimelineFrame",
    "VideoSource",
    "VideoWriter",
    "align_region",
    "at_rate",
    "check_output",
    "estimate_frames",
    "from_first_frame",
    "hidden_stem",
    "output_error",
    "output_time_base",
    "relative_to",
    "scan_frames",
    "stop_as_original",
    "timeline",
]
