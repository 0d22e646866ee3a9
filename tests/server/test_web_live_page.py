"""The card of live streams in a real browser, without a Triton: the service's streams are fakes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from client.web import live_socket
from tests.page_states import LIVE, start_live
from tests.server.clips import write_wave
from tests.server.test_web_page import browser
from tests.server.test_web_page_parts import clips, opened
from tests.waiting import wait_until

__all__ = ["browser", "clips"]  # fixtures
Clips = tuple[Path, Path]
BUFFERED_S = "video => video.buffered.length ? video.buffered.end(video.buffered.length - 1) : 0"


def button(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def test_recording_is_spoken_by_the_clip(browser: Browser, clips: Clips) -> None:
    """What is buffered grows and plays close behind; an interruption shuts the mouth; Stop ends the stream."""
    with opened(browser, clips, has_live=True) as stand:
        page, video = stand.page, stand.page.locator(LIVE)
        expect(page.get_by_role("region", name="Live")).to_be_visible()
        expect(page.get_by_role("button", name="Interrupt")).to_be_disabled()
        start_live(page)
        expect(page.locator("#live-state")).to_have_text("On air.")
        before_s = wait_until(lambda: video.evaluate(BUFFERED_S))
        wait_until(lambda: video.evaluate(BUFFERED_S) > before_s + 1)
        wait_until(lambda: video.evaluate("video => video.currentTime > 1 && video.videoWidth === 256 && !video.muted"))
        expect(page.locator("#live-badge")).to_have_text("Speaks")
        button(page, "Interrupt")
        expect(page.locator("#live-badge")).to_have_text("Idle")
        expect(page.locator("#live-state")).to_contain_text("Interrupted")
        assert video.evaluate(f"video => ({BUFFERED_S})(video) - video.currentTime") < 2
        button(page, "Stop")
        expect(page.locator("#live-state")).to_have_text("Stopped.")
        expect(page.get_by_role("button", name="Start")).to_be_focused()
        wait_until(lambda: stand.service.live.open_streams == 0)


def test_stream_ends_with_its_recording(browser: Browser, clips: Clips, tmp_path: Path) -> None:
    """The page says how long it was, the video plays to its end, and the next one can start."""
    recording = write_wave(tmp_path / "short.wav", np.sin(np.arange(24_000) / 10) / 2, 48_000)
    with opened(browser, clips, has_live=True) as stand:
        start_live(stand.page, recording)
        expect(stand.page.locator("#live-state")).to_contain_text("were shown.")
        wait_until(lambda: stand.page.locator(LIVE).evaluate("video => video.ended"))
        button(stand.page, "Start")
        expect(stand.page.locator("#live-state")).to_have_text("On air.")


def test_microphone_is_spoken_by_the_clip(browser: Browser, clips: Clips) -> None:
    """Its beeps come back; nobody hears themselves again."""
    with opened(browser, clips, has_live=True, permissions=["microphone"]) as stand:
        button(stand.page, "Start")
        expect(stand.page.locator("#live-state")).to_have_text("On air: speak.")
        expect(stand.page.locator("#live-badge")).to_have_text("Speaks")
        assert stand.page.locator(LIVE).evaluate("video => video.muted")
        button(stand.page, "Interrupt")
        expect(stand.page.locator("#live-state")).to_contain_text("Go on when you like")
        button(stand.page, "Stop")
        wait_until(lambda: stand.service.live.open_streams == 0)


def test_microphone_that_is_not_allowed_is_told(browser: Browser, clips: Clips) -> None:
    """And what to do."""
    with opened(browser, clips, has_live=True) as stand:
        button(stand.page, "Start")
        expect(stand.page.get_by_role("alert")).to_contain_text("Allow this page to use it")
        expect(stand.page.get_by_role("button", name="Start")).to_be_enabled()
        button(stand.page, "Start")


def test_problems_of_the_service_are_told(browser: Browser, clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the service's words: no place, a clip that went, a stream that idles."""
    with opened(browser, clips, has_live=True) as stand:
        with stand.service.live.place("127.0.0.1"), stand.service.live.place("127.0.0.1"):
            start_live(stand.page)
            expect(stand.page.get_by_role("alert")).to_contain_text("You have 2 live streams open")
        assert stand.service.settings.clips is not None
        (stand.service.settings.clips / "ann").rename(stand.service.settings.clips / "eve")
        button(stand.page, "Start")
        expect(stand.page.get_by_role("alert")).to_contain_text("This clip is not there any more")
        (stand.service.settings.clips / "eve").rename(stand.service.settings.clips / "ann")
        button(stand.page, "Start")
        expect(stand.page.locator("#live-badge")).to_have_text("Speaks")
        monkeypatch.setattr(live_socket, "IDLE_S", 0.2)
        button(stand.page, "Interrupt")
        expect(stand.page.get_by_role("alert")).to_contain_text("No voice arrived for a minute")


def test_card_appears_only_with_live_streams(browser: Browser, clips: Clips) -> None:
    """A server without them, or a service without clips, shows no card."""
    with opened(browser, clips) as stand:
        with stand.page.expect_response("**/live/clips"):
            stand.page.reload()
        expect(stand.page.locator("#live")).to_be_hidden()
