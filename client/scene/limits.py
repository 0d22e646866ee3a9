"""Limits of scripts and of the files that they name; the one place that states them."""

from __future__ import annotations

MAX_SPEAKERS = 100
MAX_SEGMENTS = 20_000  # of all speakers together; also the turns of a diarization
MAX_SPANS = 10_000  # that are left alone
MAX_SCRIPT_BYTES = 10_000_000  # of a script or a diarization
MAX_BOXES_BYTES = 200_000_000  # of the speakers' boxes, which are one or more per frame
MAX_BOX_FRAMES = 1_000_000
MAX_NESTING = 16  # of lists and objects in each other
MAX_NAME_LENGTH = 100  # characters of a speaker's name
MAX_PATH_LENGTH = 4096
MAX_CHANNEL = 63
MAX_FACE_INDEX = 99
MAX_COORDINATE = 1_000_000  # pixels, outside the picture too
