"""Measures a sound's loudness over time: `python -m client.web.waveform FILE` prints its peaks as JSON.

For the page, where the browser cannot decode the sound. It is a process of its own, so that a file that was made to use
up memory or time ends this process and nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
from pathlib import Path

import numpy as np
from pydantic import BaseModel, Field

from client.errors import LipSyncError
from client.media import AudioSource
from client.web.labels import SOUND_PART
from client.web.problem_kinds import UNREADABLE_MEDIA
from client.web.problems import ProblemError
from lipsync_core.audio.rates import AUDIO_SAMPLE_RATE

PEAKS = 400  # of a whole sound, whatever its length
MAX_MEMORY_BYTES = 2 << 30  # address space
TIMEOUT_S = 30.0
MAX_RUNNING = 2  # at the same time
_running = asyncio.Semaphore(MAX_RUNNING)


class Waveform(BaseModel):
    """A sound as a picture of its loudness."""

    length_s: float = Field(description="Length in seconds.")
    peaks: list[float] = Field(description="Largest amplitude of each equally long part, 0 to 1.")


def main() -> int:
    """Print the waveform of a file; returns 1 if it cannot be used."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    try:
        print(read_waveform(options.file).model_dump_json())
    except LipSyncError as error:
        print(f"waveform: {error}", file=sys.stderr)
        return 1
    return 0


def read_waveform(path: Path) -> Waveform:
    """Return the waveform of a sound.

    Raises:
        LipSyncError: it cannot be decoded.
    """
    with AudioSource(path) as audio:
        samples = audio.speech_length
        part = max(1, -(-samples // PEAKS))  # rounded up
        peaks = [float(np.abs(block).max(initial=0.0)) for block in audio.speech_blocks(part)]
    return Waveform(length_s=samples / AUDIO_SAMPLE_RATE, peaks=[round(min(peak, 1.0), 3) for peak in peaks])


async def make_waveform(sound: Path) -> Waveform:
    """Run this module on a sound.

    Raises:
        ProblemError: 422, it cannot be decoded, or not in time.
    """
    async with _running:
        command = [sys.executable, "-m", "client.web.waveform", str(sound)]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        said = b""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                said, _ = await process.communicate()
        except TimeoutError:
            pass
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    if process.returncode != 0 or not said:
        people = "The sound of this file cannot be shown here. It can probably be used."
        raise ProblemError(
            UNREADABLE_MEDIA, name=SOUND_PART, expected="a sound that can be decoded", got="another", people=people
        )
    return Waveform.model_validate_json(said)


if __name__ == "__main__":
    sys.exit(main())
