"""Short digests of a file's encoded pictures, which tell what became of a file whose credentials no longer hold."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import av

DIGEST_BYTES = 4
MAX_DIGESTS = 10_000  # 40 kB in a manifest; of longer videos every second, third, ... picture has one


@dataclass(frozen=True)
class PacketDigests:
    """Digests of the encoded pictures of a file.

    Attributes:
        count: number of encoded pictures.
        step: every so many of them has a digest.
        digests: one after another.
    """

    count: int
    step: int
    digests: bytes

    @classmethod
    def of_file(cls, path: Path) -> PacketDigests:
        """Read a file's encoded pictures.

        Raises:
            av.FFmpegError: it is no video.
        """
        found = b"".join(_digests(path))
        count = len(found) // DIGEST_BYTES
        step = -(-count // MAX_DIGESTS) or 1
        kept = b"".join(found[i * DIGEST_BYTES : (i + 1) * DIGEST_BYTES] for i in range(0, count, step))
        return cls(count, step, kept)

    def as_json(self) -> dict[str, object]:
        """Return the digests for a manifest."""
        return {"count": self.count, "step": self.step, "sha256_32": base64.b64encode(self.digests).decode()}

    @classmethod
    def from_json(cls, fields: Mapping[str, object]) -> PacketDigests:
        """Rebuild what `as_json` returned.

        Raises:
            ValueError, KeyError, TypeError: it is something else.
        """
        count, step = int(str(fields["count"])), int(str(fields["step"]))
        return cls(count, step, base64.b64decode(str(fields["sha256_32"]), validate=True))

    def share_in(self, path: Path) -> float:
        """Return how many of these pictures a file holds unchanged, 0 to 1.

        Raises:
            av.FFmpegError: it is no video.
        """
        signed = [self.digests[i : i + DIGEST_BYTES] for i in range(0, len(self.digests), DIGEST_BYTES)]
        present = Counter(_digests(path))
        return sum((Counter(signed) & present).values()) / max(1, len(signed))


def _digests(path: Path) -> Iterator[bytes]:
    with av.open(str(path)) as container:
        for packet in container.demux(container.streams.video[:1]):
            if packet.size:
                yield hashlib.sha256(packet).digest()[:DIGEST_BYTES]
