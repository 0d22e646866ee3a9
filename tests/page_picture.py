"""Takes the picture of the page that docs/web.md shows: python -m tests.page_picture.

With --all FOLDER it takes pictures of all states instead.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from tests.page_states import take_all
from tests.server.clips import SPEECH, swaying_head, write_video
from tests.server.test_web_page import (
    ARGUMENTS,
    CHROMIUM,
    ORIGINAL,
    PANEL,
    PATIENCE_MS,
    RESULT,
    first_job,
    wait_for_video,
)
from tests.web_service import WebProcess

PICTURE = Path(__file__).resolve().parent.parent / "client" / "web" / "screenshot.jpg"
WIDTH, HEIGHT = 1280, 1500  # of the page
QUALITY = 85
VIDEO_FRAMES = 150
SHOWN_S = 2.36  # a closed mouth, while the original smiles


def main() -> int:
    """Take the picture or pictures; returns 0, or 1 without a browser."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="take pictures of all states into this folder")
    parser.add_argument("--only", default="", metavar="STATE", help="of states whose name contains this")
    options = parser.parse_args()
    if CHROMIUM is None:
        print("page_picture: expected chromium, got none. On Debian: apt-get install chromium", file=sys.stderr)
        return 1
    if options.all is not None:
        with (
            sync_playwright() as player,
            player.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS)) as browser,
        ):
            take_all(browser, options.all, options.only)
        return 0
    with (
        tempfile.TemporaryDirectory() as folder,
        WebProcess(Path(folder) / "web", example=True) as web,
        sync_playwright() as player,
    ):
        video = write_video(Path(folder) / "head.mp4", swaying_head(VIDEO_FRAMES))
        with player.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS)) as browser:
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            page.set_default_timeout(PATIENCE_MS)
            expect.set_options(timeout=PATIENCE_MS)
            page.goto(web.address)
            take(page, video)
    return 0


def take(page: Page, video: Path) -> None:
    """Make a video on the page, show a moment of it beside the original, and take the picture."""
    expect(page.locator("#loop-video")).to_be_visible()
    choose(page, video)
    page.get_by_role("button", name="Make the video").click()
    first_job(page, "finished")
    page.locator(PANEL).get_by_label("Place in the video").fill(str(SHOWN_S))
    for shown in (RESULT, ORIGINAL):
        wait_for_video(page, shown, "!video.seeking && video.readyState > 1 && video.currentTime > 1")
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=PICTURE, type="jpeg", quality=QUALITY, full_page=True)


def choose(page: Page, video: Path) -> None:
    """Fill in the form."""
    page.locator("#video").set_input_files(video)
    page.locator("#audio").set_input_files(SPEECH)
    expect(page.get_by_role("radio", name="Mouth motion")).to_be_checked()


if __name__ == "__main__":
    sys.exit(main())
