"""What the page shows of a result's credentials and quality, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from client.lipsync import main
from client.provenance.certificates import make_credentials
from tests.imitation_triton import OPTIONS, imitated_server
from tests.page_states import REPORT, Stand, done, open_stand
from tests.server.clips import SPEECH, swaying_head, write_video
from tests.server.test_web_page import browser

__all__ = ["browser"]  # a fixture
pytestmark = pytest.mark.server
RESULT = "video[aria-label=Result]"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "head.mp4", swaying_head(150), rate=5)


@pytest.fixture
def stand(browser: Browser, clip: Path) -> Iterator[Stand]:
    """A page, without errors in its scripts."""
    with open_stand(browser, (clip, clip)) as made:
        errors: list[str] = []
        made.page.on("pageerror", lambda error: errors.append(str(error)))
        made.page.on("console", lambda said: errors.append(said.text) if "Content Security" in said.text else None)
        yield made
        assert errors == []


def test_provenance_beside_the_result_can_be_downloaded(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the container cannot hold it."""
    monkeypatch.setitem(REPORT, "provenance", {**REPORT["provenance"], "sidecar": "result.webm.c2pa"})
    done(stand)
    expect(stand.page.get_by_role("link", name="Download the credentials")).to_be_visible()


def test_provenance_and_quality_of_a_result_are_shown(stand: Stand) -> None:
    """A badge says who, when and what. On the timeline each part says how well it does, and leads to its place."""
    done(stand)
    badge = stand.page.locator(".credentials")
    expect(badge).to_have_attribute("data-state", "signed")
    expect(badge).to_contain_text("Signed by Test Studio")
    expect(badge).to_contain_text("2026")
    expect(badge).to_contain_text("lip-synced by Mouth motion, 148 of 150 frames · marked")
    expect(badge.get_by_role("link")).to_have_count(0)
    parts = stand.page.get_by_role("group", name="Quality").get_by_role("button")
    expect(parts).to_have_count(3)
    last = stand.page.get_by_role("button", name="0:20 to 0:29: the mouth does not follow the speech")
    expect(last).to_have_attribute("data-verdict", "bad")
    last.click()
    expect(stand.page.locator(".time")).to_contain_text("0:20")
    box, track = last.bounding_box(), stand.page.locator(".quality-track").bounding_box()
    assert box is not None
    assert track is not None
    assert box["x"] - track["x"] == pytest.approx(track["width"] * 2 / 3, abs=4)
    findings = stand.page.get_by_role("list", name="Quality")
    expect(findings).to_contain_text("The mouth follows the speech (0.71)")
    expect(findings.get_by_role("listitem").filter(has_text="The lips close in 17 of 24 closures")).to_have_attribute(
        "data-verdict", "doubtful"
    )


def test_results_of_older_versions_have_neither(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("quality", "provenance"):
        monkeypatch.delitem(REPORT, name)
    done(stand)
    expect(stand.page.locator(RESULT)).to_be_visible()
    expect(stand.page.locator(".credentials, .quality-track")).to_have_count(0)


def test_video_is_checked_on_the_page(stand: Stand, tmp_path: Path) -> None:
    """By keyboard: a signed result says who, what and what is not known; a file that is no video, what is wrong."""
    pytest.importorskip("c2pa")
    page, signed, text = stand.page, tmp_path / "signed.mp4", tmp_path / "text.mp4"
    files = make_credentials(tmp_path / "credentials", "Test Studio")
    with imitated_server():
        paths = ("--video", str(stand.video), "--audio", str(SPEECH), "--output", str(signed))
        signing = ("--sign-cert", str(files.certificate), "--sign-key", str(files.key))
        assert (
            main([*paths, *OPTIONS, *signing, "--if-audio-longer", "cut", "--start", "5.2", "--end", "6", "--quiet"])
            == 0
        )
    summary, chosen = page.get_by_text("Check a video", exact=True), page.get_by_label("Video to check")
    expect(chosen).to_be_hidden()
    summary.focus()
    page.keyboard.press("Enter")
    chosen.set_input_files(signed)
    found = page.get_by_role("region", name="What was found")
    expect(found).to_contain_text("The credentials hold: the file is as it was signed.", timeout=60_000)
    expect(found).to_be_focused()
    expect(found).to_contain_text("Test Studio")
    expect(found).to_contain_text("The mouth in 4 of 4 frames, at 0.0 s to 0.8 s")
    expect(found).to_contain_text("Not found")  # it was not marked
    expect(found).to_contain_text("Whether the speech is genuine")
    text.write_text("no video")
    chosen.set_input_files(text)
    expect(page.locator("#verify-problem")).to_contain_text("This file cannot be read as a video", timeout=60_000)
    expect(found).to_be_hidden()
    expect(chosen).to_be_focused()
