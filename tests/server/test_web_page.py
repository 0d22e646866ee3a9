"""The page in a real browser, with a real Triton behind it."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from lipsync_core.serving.server import EmbeddedServer
from tests.server.clips import SPEECH, empty_frame, swaying_head, write_speech, write_video
from tests.waiting import wait_until
from tests.web_service import TOKEN, WebProcess, wait_for_state

pytestmark = pytest.mark.server
PATIENCE_MS = 120_000  # machines may be busy
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = (
    "--no-sandbox",  # containers lack what it needs
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream",  # a microphone that beeps
)
ORIGINAL, RESULT = "video[aria-label=Original]", "video[aria-label=Result]"
PANEL = "#result"  # the place of the result
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's chromium, without a window."""
    if CHROMIUM is None:
        pytest.skip("no chromium here; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def web(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    """The service, with the shared Triton."""
    with WebProcess(tmp_path_factory.mktemp("web"), "--url", server.url) as process:
        yield process


@pytest.fixture
def page(browser: Browser, web: WebProcess) -> Iterator[Page]:
    """The page, in a context of its own; an error in its scripts fails the test."""
    with browser.new_context(viewport={"width": 1200, "height": 900}, accept_downloads=True) as context:
        yield from open_page(context.new_page(), web)


def open_page(page: Page, web: WebProcess) -> Iterator[Page]:
    page.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if "Content Security" in message.text else None)
    page.goto(web.address)
    yield page
    assert errors == []


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head that sways, two heads beside each other, and no head at all; and a speech."""
    folder = tmp_path_factory.mktemp("clips")
    heads = swaying_head(25)
    write_video(folder / "head.mp4", heads)
    write_video(folder / "two.mp4", [np.hstack([head, head[:, ::-1]]) for head in heads])
    write_video(folder / "hevc.mp4", [np.hstack([head, head[:, ::-1]]) for head in heads], codec="libx265")
    write_video(folder / "empty.mp4", [empty_frame()] * 10)
    write_speech(folder / "speech.wav", 2.6)
    return folder


def send(page: Page, video: Path, audio: Path = SPEECH, **options: str) -> None:
    """Fill in the form and send it."""
    page.locator("#video").set_input_files(video)
    page.locator("#audio").set_input_files(audio)
    expect(page.get_by_role("radio", name="Mouth motion")).to_be_checked()
    if options:
        page.get_by_text("More options").click()
        for label, value in options.items():
            page.locator(f"[name={label}]").fill(value)
    page.get_by_role("button", name="Make the video").click()


def first_job(page: Page, state: str) -> str:
    """Wait until the newest job is in a state; gives its selector."""
    expect(page.locator(".job").first).to_have_attribute("data-state", state)
    return ".job:first-child"


def choose_action(page: Page, row: Locator, name: str) -> None:
    """Choose from the menu of a row."""
    row.get_by_role("button", name="Actions for").click()
    row.get_by_role("button", name=re.compile(f"^{name}: ")).click()


def wait_for_video(page: Page, selector: str, condition: str) -> None:
    """Wait until a condition on a `video` holds; polled from here, as the page forbids evaluated scripts."""
    wait_until(lambda: page.locator(selector).evaluate(f"video => {condition}"))


def test_video_is_uploaded_followed_played_and_downloaded(page: Page, clips: Path, tmp_path: Path) -> None:
    """From two files to a result that plays in step with the original and downloads under a good name."""
    send(page, clips / "head.mp4", clips / "speech.wav")
    expect(page.locator(first_job(page, "finished")).get_by_role("heading")).to_have_text("head.mp4")
    job = page.locator(PANEL)
    expect(job.get_by_role("heading")).to_have_text("head.mp4")
    expect(job.locator(ORIGINAL)).to_be_visible()
    job.get_by_role("button", name="Play", exact=True).click()
    for video in (RESULT, ORIGINAL):
        wait_for_video(page, video, "!video.paused && video.currentTime > 0.2")
    job.get_by_role("button", name="Pause").click()
    for place, shown in ((0.4, 0.4), (1.4, 0.6), (2.3, 0.3)):  # the second second plays backwards
        job.get_by_label("Place in the video").fill(str(place))
        wait_for_video(page, ORIGINAL, f"video.paused && Math.abs(video.currentTime - {shown}) < 0.05")
    with page.expect_download() as download:
        job.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "head-lipsync.mp4"
    download.value.save_as(tmp_path / "result.mp4")
    with av.open(str(tmp_path / "result.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 65  # the speech's length


@pytest.mark.long
def test_example_is_made_in_one_click(browser: Browser, server: EmbeddedServer, tmp_path: Path) -> None:
    """On a fresh install the service makes an example, the header shows it, and one click lip-syncs it."""
    with WebProcess(tmp_path, "--url", server.url, example=True) as web, browser.new_context() as context:
        for page in open_page(context.new_page(), web):
            expect(page.locator("#loop-video")).to_be_visible()
            asked = time.monotonic()
            page.get_by_role("button", name="Try with an example").click()
            first_job(page, "finished")
            print(f"example: {time.monotonic() - asked:.1f} s from click to result")
            expect(page.locator(PANEL).get_by_role("heading")).to_have_text("astronaut.jpg")
            expect(page.get_by_role("img", name="The original picture")).to_be_visible()
            wait_for_video(page, RESULT, "video.readyState > 1")
            page.get_by_role("button", name="Zoom to the mouth").click()
            expect(page.locator(".pair")).to_have_class(re.compile("zoomed"))


@pytest.mark.long
def test_running_job_is_cancelled_and_removed(page: Page, clips: Path) -> None:
    """Progress shows while a job runs; Cancel ends it, Remove takes it from the list, for every open page."""
    send(page, clips / "head.mp4", fps="240")
    identity = page.locator(first_job(page, "running")).get_attribute("data-id")
    job = page.locator(PANEL)
    expect(job.get_by_text(re.compile(r"Lip-syncing · \d+ % · \d+ frames per second"))).to_be_visible()
    expect(job.locator("[aria-current=step]")).to_have_text("Lip-sync")
    expect(page).to_have_title(re.compile(r"\d+ % · Lipsync"))
    job.get_by_role("button", name="Cancel").click()
    first_job(page, "cancelled")
    page.reload()
    same = page.locator(f".job[data-id='{identity}']")
    expect(same).to_have_attribute("data-state", "cancelled")
    choose_action(page, same, "Remove")
    expect(same.get_by_text("head.mp4 is removed.")).to_be_visible()
    expect(same).to_have_count(0)
    expect(page).to_have_title("Lipsync")


@pytest.mark.long
def test_page_makes_up_for_lost_connections(page: Page, web: WebProcess, clips: Path) -> None:
    """What fails while the page opens is asked again, and what changed while nothing could be followed is shown."""
    page.add_init_script("delete window.SharedWorker")  # whose requests cannot be made to fail from here
    failing = iter([True])
    page.route("**/limits", lambda route: route.abort() if next(failing, False) else route.continue_())
    page.route("**/events?**", lambda route: route.fulfill(status=503))
    page.reload()
    expect(page.get_by_role("button", name="Make the video")).to_be_enabled()
    with page.expect_response(lambda answer: answer.url.endswith("/jobs")) as sent:
        send(page, clips / "head.mp4")
    with web.client() as client:
        wait_for_state(client, sent.value.json()["id"], "finished")
    page.unroute("**/events?**")
    first_job(page, "finished")


@pytest.mark.long
def test_many_tabs_share_one_stream(browser: Browser, web: WebProcess, clips: Path) -> None:
    """More tabs than a browser opens connections to one host all load, and all show a job of one of them."""
    with browser.new_context() as context:
        tabs = [context.new_page() for _ in range(8)]
        for tab in tabs:
            tab.set_default_timeout(PATIENCE_MS)
            tab.goto(web.address)
            expect(tab.get_by_role("radio", name="Mouth motion")).to_be_checked(timeout=PATIENCE_MS)
        with tabs[0].expect_response(lambda answer: answer.url.endswith("/jobs") and answer.status == 202) as sent:
            send(tabs[0], clips / "head.mp4")
        for tab in tabs:
            expect(tab.locator(f".job[data-id='{sent.value.json()['id']}']")).to_be_visible(timeout=PATIENCE_MS)


@pytest.mark.long
def test_hidden_page_catches_up(page: Page, web: WebProcess, clips: Path) -> None:
    """While it is hidden the page follows nothing; shown again, it has what came and lacks what went."""
    send(page, clips / "head.mp4")
    old = page.locator(first_job(page, "finished")).get_attribute("data-id")
    show(page, hidden=True)
    with web.client() as client:
        sent = {"video": (clips / "head.mp4").read_bytes(), "audio": SPEECH.read_bytes()}
        new = client.post("/jobs", files=sent).json()["id"]
        client.delete(f"/jobs/{old}")
        wait_for_state(client, new, "finished")
    expect(page.locator(f".job[data-id='{old}']")).to_be_visible()
    expect(page.locator(f".job[data-id='{new}']")).to_have_count(0)
    show(page, hidden=False)
    expect(page.locator(f".job[data-id='{new}']")).to_have_attribute("data-state", "finished")
    expect(page.locator(f".job[data-id='{old}']")).to_have_count(0)


def show(page: Page, *, hidden: bool) -> None:
    """Make the page believe that its tab is hidden, or shown."""
    page.evaluate(
        """hidden => {
        Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }""",
        hidden,
    )


def sent_settings(page: Page) -> dict[str, Any]:
    """Send the form; returns the job's settings."""
    with page.expect_response(lambda answer: answer.url.endswith("/jobs") and answer.request.method == "POST") as sent:
        page.get_by_role("button", name="Make the video").click()
    settings: dict[str, Any] = sent.value.json()["settings"]
    return settings


def test_one_of_two_faces_is_picked(page: Page, clips: Path) -> None:
    """With two faces a preview asks which one; the arrow keys choose, and that face is sent."""
    page.locator("#video").set_input_files(clips / "two.mp4")
    left = page.get_by_role("radio", name="Face 1 from the left")
    right = page.get_by_role("radio", name="Face 2 from the left")
    expect(left).to_be_visible()
    left.focus()
    page.keyboard.press("ArrowRight")
    expect(right).to_be_checked()
    page.locator("#audio").set_input_files(clips / "speech.wav")
    x, _ = map(float, sent_settings(page)["face"].split(","))
    assert 256 < x < 512
    first_job(page, "finished")


@pytest.mark.long
def test_video_that_the_browser_cannot_show_is_shown_by_the_service(page: Page, clips: Path) -> None:
    """HEVC gets a poster and faces to pick from at once, and beside the result a proxy that plays."""
    page.locator("#video").set_input_files(clips / "hevc.mp4")
    expect(page.get_by_text("Your browser cannot show this video.")).to_be_visible()
    expect(page.get_by_role("img", name="First picture of hevc.mp4")).to_be_visible()
    right = page.get_by_role("radio", name="Face 2 from the left")
    right.check(force=True)
    page.locator("#audio").set_input_files(SPEECH)
    x, _ = map(float, sent_settings(page)["face"].split(","))
    assert 256 < x < 512
    first_job(page, "finished")
    wait_for_video(page, ORIGINAL, "video.src.endsWith('/preview') && video.videoWidth > 0 && video.readyState >= 2")
    expect(page.locator(ORIGINAL)).to_have_attribute("poster", re.compile("/poster$"))


def test_errors_are_said_in_peoples_words(page: Page, clips: Path) -> None:
    """A missing file, a bad option and a video without a face each say what to do, without option names."""
    page.get_by_role("button", name="Make the video").click()
    expect(page.get_by_role("alert").filter(has_text="Add the video and the speech first")).to_be_visible()
    send(page, clips / "empty.mp4", start="5", end="4")
    expect(
        page.get_by_role("alert").filter(has_text="End at (seconds): Needed: a time after “Start at (seconds)” (5 s).")
    ).to_be_visible()
    page.locator("[name=start]").fill("")
    page.locator("[name=end]").fill("")
    page.locator("[name=fps]").fill("2")  # few frames, each of which is searched in every way
    page.get_by_role("button", name="Make the video").click()
    first_job(page, "failed")
    failed = page.locator(PANEL)
    expect(failed.get_by_text("No face was found")).to_be_visible()
    expect(failed.get_by_text("Video: no usable face in any of")).to_be_visible()


@pytest.mark.long
def test_failed_job_is_used_again(page: Page, clips: Path) -> None:
    """A failed job is tried again, its settings fill in the form, and its speech goes with another video."""
    send(page, clips / "empty.mp4", fps="2")
    first_job(page, "failed")
    failed = page.locator(PANEL)
    with page.expect_response(lambda answer: answer.url.endswith("/retry")) as retried:
        failed.get_by_role("button", name="Try again").click()
    assert retried.value.status == 202
    first_job(page, "failed")
    page.reload()
    page.get_by_text("More options").click()
    page.locator("[name=fps]").fill("")
    choose_action(page, page.locator(first_job(page, "failed")), "Use these settings again")
    expect(page.locator("[name=fps]")).to_have_value("2")
    page.reload()
    expect(page.get_by_role("radio", name="Mouth motion")).to_be_checked()
    expect(page.locator("[name=fps]")).to_have_value("2")  # kept over the reload
    with page.expect_file_chooser() as chooser:
        failed.get_by_role("button", name="Replace the video").click()
    chooser.value.set_files(clips / "head.mp4")
    expect(page.locator("#audio-chosen .chosen-name")).to_contain_text(SPEECH.name)
    with page.expect_response(lambda answer: answer.url.endswith("/jobs") and answer.request.method == "POST") as sent:
        page.get_by_role("button", name="Make the video").click()
    job = sent.value.json()
    assert (job["video_name"], job["audio_name"], job["settings"]["fps"]) == ("head.mp4", SPEECH.name, "2")
    first_job(page, "finished")


def test_form_follows_the_model(page: Page) -> None:
    """Controls come from the service: those of other models are hidden, and what the browser refuses is named."""
    page.get_by_text("More options").click()
    quality = page.get_by_label("Quality", exact=True)
    expect(quality).to_have_value("18")
    expect(page.get_by_label("Lossless")).not_to_be_checked()
    expect(page.locator("[name=guidance]")).to_be_hidden()
    for name in ("video", "audio"):
        page.locator(f"#{name}").set_input_files(SPEECH)
    quality.fill("99")
    page.get_by_role("button", name="Make the video").click()
    expect(page.get_by_role("alert").filter(has_text="Quality: ")).to_be_visible()
    expect(quality).to_have_attribute("aria-invalid", "true")


def test_page_works_by_keyboard_and_names_everything(page: Page) -> None:
    """Tab reaches the form from the top, and every control has a name for screen readers."""
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the form")).to_be_focused()
    expect(page.get_by_role("radio", name="Mouth motion")).to_be_attached()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "video"
    unnamed = page.evaluate("""() => [...document.querySelectorAll("button, input, select, a[href]")]
        .filter(e => e.checkVisibility() && !e.labels?.length && !e.ariaLabel && !e.textContent.trim()).length""")
    assert unnamed == 0


def test_page_fits_a_phone_and_the_dark(browser: Browser, web: WebProcess, clips: Path) -> None:
    """At a phone's width nothing sticks out sideways; dark mode turns the ground dark."""
    with browser.new_context(viewport=PHONE, color_scheme="dark", has_touch=True, is_mobile=True) as context:
        for page in open_page(context.new_page(), web):
            page.locator("#video").set_input_files(clips / "two.mp4")
            expect(page.get_by_role("radio", name="Face 1 from the left")).to_be_visible()
            page.get_by_text("More options").click()
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
            ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert max(map(int, re.findall(r"\d+", ground)[:3])) < 60


def test_token_is_asked_for_once(browser: Browser, server: EmbeddedServer, tmp_path: Path) -> None:
    """Escape leaves the dialog open, a wrong token is refused with words, the right one is good until signing out."""
    tokens = {"LIPSYNC_WEB_TOKENS": f"ann:{TOKEN}"}
    with WebProcess(tmp_path, "--url", server.url, **tokens) as web, browser.new_context() as context:
        for page in open_page(context.new_page(), web):
            dialog = page.get_by_role("dialog", name="Sign in")
            expect(dialog).to_be_visible()
            for _ in range(3):
                page.keyboard.press("Escape")
            expect(dialog).to_be_visible()
            dialog.get_by_label("Token").fill("not this one")
            dialog.get_by_role("button", name="Sign in").click()
            expect(dialog.get_by_role("alert")).to_contain_text("The token is not valid")
            dialog.get_by_label("Token").fill(TOKEN)
            page.keyboard.press("Enter")
            expect(page.get_by_role("radio", name="Mouth motion")).to_be_attached()
            page.reload()
            expect(page.get_by_role("radio", name="Mouth motion")).to_be_attached()
            page.get_by_role("button", name="Sign out").click()
            expect(dialog).to_be_visible()
