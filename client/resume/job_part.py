"""What one task does of a long job, whose answers another task then finds. Knows nothing of where tasks run."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path

FOLDER = "part-"


@dataclass(frozen=True)
class JobPart:
    """A share of a job's frames, all of the same length. Drawing it leaves the servers' answers in a folder.

    A run of the whole job finds there what was drawn. It asks for what is missing, so that parts may fail.

    Attributes:
        index: which share, from 0; None for none of them: then only what all shares need is found out, such as faces.
        count: number of shares.
    """

    index: int | None
    count: int

    def frames(self, total: int) -> range:
        """Return the frames of the share, of about so many in all."""
        if self.index is None:
            return range(0)
        first, end = (total * number // self.count for number in (self.index, self.index + 1))
        return range(first, end if self.index < self.count - 1 else sys.maxsize)

    def folder(self, work_dir: Path) -> Path:
        """Return where the answers are kept; what all shares need lies in the job's own folder."""
        return work_dir if self.index is None else work_dir / f"{FOLDER}{self.index}"

    def as_json(self) -> dict[str, int | None]:
        """Return the part as JSON."""
        return asdict(self)
