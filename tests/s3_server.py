"""An S3-compatible server for tests, a process of its own that can go away and come back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx

from lipsync_core.serving.ports import free_port
from tests.waiting import wait_until

BUCKET = "media"


class S3Server:
    """A server of one bucket; the context ends it."""

    def __init__(self, folder: Path) -> None:
        """Keep the bucket in this folder."""
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        (folder / BUCKET).mkdir(parents=True)

    @property
    def environment(self) -> dict[str, str]:
        """What clients need in their environment."""
        address = f"http://127.0.0.1:{self._port}"
        return {"AWS_ENDPOINT_URL": address, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "a-secret-of-s3"}

    def names(self) -> list[str]:
        """Return the keys of the bucket."""
        root = self._folder / BUCKET
        found = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
        return sorted(str(path) for path in found if not any(part.startswith(".") for part in path.parts))

    def start(self) -> None:
        """Start, and wait until it answers."""
        command = [sys.executable, "-m", "localbucket", str(self._folder), "--port", str(self._port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers, 30)

    def stop(self) -> None:
        """End it at once."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def _answers(self) -> bool:
        try:
            httpx.get(self.environment["AWS_ENDPOINT_URL"], trust_env=False)
        except httpx.TransportError:
            return False
        return True

    def __enter__(self) -> S3Server:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()
