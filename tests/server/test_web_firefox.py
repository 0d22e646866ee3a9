"""The page in Debian's Firefox: it starts, and asks for all that it shows. Chromium has the tests of what it does."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from client.web.heads import HeadMiddleware
from tests.waiting import wait_until
from tests.web_service import SomeModels, listening, make_service

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
STARTED_S = 90
WANTED = {"/session", "/limits", "/options", "/jobs", "/pipelines", "/queue", "/example", "/events"}


@pytest.mark.skipif(FIREFOX is None, reason="no firefox here; on Debian: apt-get install firefox-esr")
def test_page_starts_in_firefox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every module runs: each part of the page sends its first request."""
    asked: set[str] = set()
    answer = HeadMiddleware.__call__

    async def noted(self: HeadMiddleware, scope: Scope, receive: Receive, send: Send) -> None:
        asked.add(scope.get("path", ""))
        await answer(self, scope, receive, send)

    monkeypatch.setattr(HeadMiddleware, "__call__", noted)
    profile = tmp_path / "profile"
    profile.mkdir()
    with listening(make_service(tmp_path / "web", SomeModels("mouth-motion"))) as address:
        command = [str(FIREFOX), "--headless", "--no-remote", "--profile", str(profile), address]
        environment = {**os.environ, "HOME": str(tmp_path)}
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        ) as firefox:
            try:
                wait_until(lambda: asked >= WANTED, STARTED_S)
            finally:
                firefox.terminate()
