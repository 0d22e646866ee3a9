"""Runs one live stream from a voice to an output: sends from a thread, writes what comes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from client.live.output import LiveOutput
from client.live.stream import LivePicture, LiveSession, StreamEnded

JOIN_S = 1.0  # a thread that still reads a pipe is left behind


@dataclass
class LiveReport:
    """What a stream did.

    Attributes:
        pictures: pictures written.
        spoken: those whose mouth follows the voice.
        held: those that the server could not draw in time; the one before was shown again.
        left_out: those that were left out, as they were not read in time.
        seconds: length of the stream, in seconds.
        is_marked: whether changed pictures carry the imperceptible mark.
    """

    pictures: int = 0
    spoken: int = 0
    held: int = 0
    left_out: int = 0
    seconds: float = 0.0
    is_marked: bool = False

    def note(self, picture: LivePicture) -> None:
        """Count a picture."""
        self.pictures += 1
        self.spoken += picture.speaks
        self.held += picture.is_held
        self.left_out += picture.left_out
        self.seconds = round(picture.time_s + picture.duration_s, 3)

    def summary(self) -> str:
        """Describe it in a line."""
        marked = "marked" if self.is_marked else "not marked"
        line = f"{self.pictures} pictures in {self.seconds:.1f} s, {self.spoken} of them spoken; {marked}, not signed"
        lost = {"held": self.held, "left out": self.left_out}
        return line + "".join(f"; {count} {what}" for what, count in lost.items() if count)


def stream_voice(live: LiveSession, voice: Iterable[np.ndarray], open_output: Callable[[], LiveOutput]) -> LiveReport:
    """Send a voice, and write the pictures until it ends.

    Args:
        live: an open stream.
        voice: the samples in pieces.
        open_output: opens where the pictures go.

    Raises:
        LipSyncError: the stream failed, the voice cannot be read, or the output cannot be written.
    """
    failed: list[BaseException] = []

    def send() -> None:
        try:
            for piece in voice:
                live.send(piece)
            live.end()
        except BaseException as error:  # noqa: BLE001  (raised again by the reader)
            failed.append(error)
            live.close()

    report = LiveReport(is_marked=live.facts.is_marked)
    sender = threading.Thread(target=send, daemon=True, name="live voice")
    with open_output() as output:
        sender.start()
        try:
            for picture in live:
                output.write(picture)
                report.note(picture)
        finally:
            live.close()
            sender.join(JOIN_S)
    if failed and not isinstance(failed[0], StreamEnded):
        raise failed[0]
    return report
