"""The page in a real browser without a Triton: its states, keys and looks. No job runs; records are written here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect

from tests.page_states import PLAN, REPORT, SIZES, STATES, USER, WATCH, WATCHED, Stand, open_stand
from tests.server.clips import SPEECH, swaying_head, write_video
from tests.server.test_web_page import PATIENCE_MS, browser
from tests.waiting import wait_until

__all__ = ["browser"]  # a fixture
SERIOUS = ("serious", "critical")
OFTEN_SEEN = ("faces", "speakers", "watched", "live", "done")  # states
ORIGINAL, RESULT = "video[aria-label=Original]", "video[aria-label=Result]"


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A head that sways, and a smaller file of the same."""
    folder = tmp_path_factory.mktemp("clips")
    heads = swaying_head(50)
    return write_video(folder / "head.mp4", heads), write_video(folder / "two.mp4", heads[:10])


@pytest.fixture
def stand(browser: Browser, clips: tuple[Path, Path]) -> Iterator[Stand]:
    """A page on a desk; an error in its scripts fails the test."""
    with opened(browser, clips) as made:
        yield made


@contextmanager
def opened(browser: Browser, clips: tuple[Path, Path], **options: Any) -> Iterator[Stand]:
    """Open a page; an error in its scripts fails the test."""
    errors: list[str] = []
    expect.set_options(timeout=PATIENCE_MS)
    with open_stand(browser, clips, **options) as made:
        made.page.set_default_timeout(PATIENCE_MS)
        made.page.on("pageerror", lambda error: errors.append(str(error)))
        yield made
    assert errors == []


@pytest.mark.parametrize(
    "state",
    ["empty", "faces", "speakers", "running", "watched", "live", "done", "failed", "many", "disk_full", "signed_out"],
)
def test_nothing_serious_keeps_people_out(browser: Browser, clips: tuple[Path, Path], state: str) -> None:
    """Axe finds no serious fault: names, roles, contrast, focus order; in the light and in the dark.

    Nothing sticks out sideways.
    """
    with opened(browser, clips, asks_for_token=state == "signed_out", has_live=state == "live") as stand:
        STATES[state](stand)
        assert serious_faults(stand.page) == []
        stand.page.emulate_media(color_scheme="dark", reduced_motion="reduce")
        assert serious_faults(stand.page) == []
        if state in OFTEN_SEEN:
            check_widths(stand.page)


def serious_faults(page: Page) -> list[tuple[str, list[str]]]:
    found = Axe().run(page).response["violations"]
    return [(fault["id"], [node["html"] for node in fault["nodes"]]) for fault in found if fault["impact"] in SERIOUS]


def check_widths(page: Page) -> None:
    """Check that nothing sticks out sideways from 320 px on; 720 px is what 1,440 px show at 200 % zoom."""
    page.get_by_text("More options").click()
    for width in (*SIZES, 720):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"at {width} pixels"


def test_long_names_stick_out_nowhere(stand: Stand) -> None:
    """They are broken or cut."""
    STATES["long_names"](stand)
    check_widths(stand.page)


def sent(stand: Stand) -> dict[str, Any]:
    """Send the form; returns the job."""
    with stand.page.expect_response(lambda answer: answer.url.endswith("/jobs") and answer.status == 202) as answer:
        stand.page.get_by_role("button", name="Make the video").click()
    job: dict[str, Any] = answer.value.json()
    return job


def test_parts_are_chosen_by_keyboard(stand: Stand) -> None:
    """Handles move by keys, fill in the fields and follow them; the speech that is sent is cut."""
    stand.choose()
    start = stand.page.get_by_role("slider", name="Start of the video")
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft"):
        start.press(key)
    stand.page.get_by_role("slider", name="End of the video").press("ArrowLeft")
    expect(start).to_have_attribute("aria-valuenow", "0.2")
    end = stand.page.get_by_role("slider", name="End of the speech")
    for _ in range(4):
        end.press("PageDown")
    expect(stand.page.locator("#summary")).to_contain_text("A video of 0:05")
    job = sent(stand)
    assert (job["settings"]["start"], job["settings"]["end"]) == (0.2, 1.9)
    assert job["audio_name"] == "speech.wav"
    with av.open(str(stand.service.settings.job_folder(job["id"]) / "audio")) as container:
        assert container.duration is not None
        assert container.duration / av.time_base == pytest.approx(5.3, abs=0.02)


def test_fields_move_the_handles(stand: Stand) -> None:
    """Who types the seconds sees them on the bar."""
    stand.choose()
    stand.page.get_by_text("More options").click()
    stand.page.get_by_label("Start at (seconds)").fill("0.5")
    stand.page.get_by_label("Start at (seconds)").press("Tab")
    expect(stand.page.get_by_role("slider", name="Start of the video")).to_have_attribute("aria-valuenow", "0.5")


def test_planned_parts_are_removed_by_keyboard(stand: Stand) -> None:
    """What is planned fills a lane for each speaker; what is left of it is sent; a change of a speaker forgets it."""
    STATES["speakers"](stand)
    expect(stand.page.get_by_role("region", name="Bob").get_by_role("listitem")).to_have_count(2)
    expect(stand.page.get_by_text("2.5 to 4.0 s: lip-sync, speaks in the video, 81 % sure")).to_be_visible()
    stand.page.get_by_text("Faces that were found").click()
    sheet = stand.page.get_by_role("img", name="Frames of the video")
    expect(sheet).to_be_visible()
    assert sheet.evaluate("picture => picture.decode().then(() => picture.naturalWidth)") > 0
    button = stand.page.get_by_role("button", name="Remove Bob, 4.0 to 6.0 s")
    button.press("Enter")
    expect(stand.page.get_by_role("button", name="Remove Bob, 2.5 to 4.0 s")).to_be_focused()
    job = sent(stand)
    folder = stand.service.settings.job_folder(job["id"])
    ann, bob = json.loads((folder / "script.json").read_text())["speakers"]
    assert (ann, len(bob["segments"])) == (PLAN["script"]["speakers"][0], 1)  # type: ignore[index]
    assert job["voices"] == {"voice_1": "speech.flac", "voice_2": "speech.flac"}
    stand.page.get_by_label("Name").first.fill("Zoë")
    expect(stand.page.locator(".lanes")).to_be_hidden()


def test_speakers_choose_their_faces_in_the_video(stand: Stand) -> None:
    """A click on a box is for the speaker that was chosen last; the script has its point, and no face of the job."""
    STATES["speakers"](stand)
    for place, face in enumerate(("Face 2 from the left", "Face 1 from the left")):
        stand.page.get_by_label("Name").nth(place).focus()
        stand.page.get_by_role("radio", name=face).check(force=True)
        expect(stand.page.get_by_label("Face", exact=True).nth(place)).to_have_value(re.compile(r"^[0-9]+,[0-9]+$"))
    job = sent(stand)
    speakers = json.loads((stand.service.settings.job_folder(job["id"]) / "script.json").read_text())["speakers"]
    assert [speaker["name"] for speaker in speakers] == ["Ann", "Bob"]
    assert float(speakers[0]["face"].split(",")[0]) > float(speakers[1]["face"].split(",")[0])
    assert job["settings"]["face"] == "largest"


def test_speakers_of_an_earlier_job_are_filled_in(stand: Stand) -> None:
    """Names and faces come back, the voices are to be added again; another job's settings remove them."""
    STATES["speakers"](stand)
    stand.page.get_by_label("Name").nth(1).fill("Zoë")
    stand.page.get_by_label("Face", exact=True).nth(1).select_option("none")
    job = sent(stand)
    assert stand.service.store.get(job["id"]) is not None
    stand.service.store.cancel(job["id"])
    stand.page.reload()
    stand.page.get_by_role("button", name=re.compile("Use these settings again")).first.click()
    expect(stand.page.get_by_label("Name")).to_have_count(2)
    expect(stand.page.get_by_label("Name").nth(1)).to_have_value("Zoë")
    expect(stand.page.get_by_label("Face", exact=True).nth(1)).to_have_value("none")


RICH = {
    "voice": {"file": "voice_4", "channel": "left"},
    "unchanged": [[0.5, 0.75]],
    "speakers": [
        {"name": "ann", "face": [60, 70], "segments": [{"start": 0, "end": 0.5, "options": {"strength": 0.5}}]},
        {"name": "bob", "face": "none", "segments": [{"start": 0.5}], "options": {"seed": 7}},
    ],
}


def choose_again(stand: Stand, name: str) -> None:
    """Choose the action in the list of jobs."""
    row = stand.page.locator(".job").filter(has_text=name)
    row.get_by_role("button", name="Actions for").click()
    row.get_by_role("button", name="Use these settings again").click()


def use_again(stand: Stand, script: dict[str, Any]) -> None:
    """Have a job with this script, and its settings filled in again."""
    parts = {"video": stand.video, "voice_4": SPEECH}
    sent_files = {part: (file.name, file.read_bytes()) for part, file in parts.items()}
    answer = httpx.post(f"{stand.page.url}jobs", files=sent_files, data={"script": json.dumps(script)}, trust_env=False)
    assert answer.status_code == 202, answer.text
    stand.service.store.cancel(answer.json()["id"])
    stand.page.reload()
    choose_again(stand, stand.video.name)
    expect(stand.page.get_by_label("Name")).to_have_count(2)


def test_earlier_script_is_sent_again(stand: Stand) -> None:
    """Its times, options, shared voice and what stays unchanged too, while speakers and faces are as in it."""
    use_again(stand, RICH)
    expect(stand.page.get_by_text("The voice of ann")).to_be_visible()
    stand.page.locator("#video").set_input_files(stand.video)
    stand.page.get_by_label("Voice").first.set_input_files(SPEECH)
    job = sent(stand)
    script = json.loads((stand.service.settings.job_folder(job["id"]) / "script.json").read_text())
    assert script == {**RICH, "voice": {"file": "voice_1", "channel": "left"}}
    assert job["voices"] == {"voice_1": "speech.flac"}


def test_changed_speakers_drop_the_earlier_script(stand: Stand) -> None:
    """The page says that it keeps times and options, and no longer does when somebody has another name."""
    use_again(stand, RICH)
    note = stand.page.get_by_text("Who speaks when, and all options, are those of the earlier video")
    expect(note).to_be_visible()
    stand.page.get_by_label("Name").first.fill("Zoë")
    expect(note).to_be_hidden()
    expect(stand.page.get_by_text("The voice of ann")).to_be_hidden()


def test_late_script_of_another_job_is_not_used(stand: Stand) -> None:
    """Who clicks on another job meanwhile gets that one's settings alone."""
    use_again(stand, RICH)
    stand.job("cancelled", "plain.mp4", number=7)
    stand.page.reload()
    late: list[Route] = []

    def hold(route: Route) -> None:
        late.append(route)

    stand.page.route("**/script", hold)
    choose_again(stand, stand.video.name)
    wait_until(lambda: late or stand.page.wait_for_timeout(50))
    choose_again(stand, "plain.mp4")
    late[0].continue_()
    stand.page.wait_for_timeout(1000)
    expect(stand.page.get_by_label("Several people speak")).not_to_be_checked()


def test_speaker_without_a_voice_fails_in_words(stand: Stand) -> None:
    """Nothing is sent, and the field has the focus."""
    stand.choose()
    stand.page.get_by_label("Several people speak").check()
    stand.page.get_by_role("button", name="Make the video").click()
    expect(stand.page.get_by_role("alert").filter(has_text="Add the voice of Speaker 1.")).to_be_visible()
    expect(stand.page.get_by_label("Voice").first).to_be_focused()
    stand.page.get_by_label("Several people speak").uncheck()
    assert sent(stand)["voices"] == {}


def test_sound_that_the_browser_cannot_decode_is_drawn_by_the_service(stand: Stand, tmp_path: Path) -> None:
    """Its waveform comes from the service."""
    stand.page.add_init_script("OfflineAudioContext.prototype.decodeAudioData = () => Promise.reject(new Error('no'))")
    stand.page.reload()
    with stand.page.expect_response("**/waveform") as answer:
        stand.choose()
    assert answer.value.json()["length_s"] == pytest.approx(9.32)
    expect(stand.page.get_by_role("img", name="Waveform of speech.flac, 0:09")).to_be_visible()


def test_click_is_answered_within_a_second(stand: Stand) -> None:
    """The steps show at once, while nothing has been uploaded yet; cancelling gives the form back."""
    stand.choose()
    stand.page.route("**/jobs", lambda route: None)
    stand.page.evaluate(
        """() => new MutationObserver(() => { window.answered ??= performance.now(); })
        .observe(document.getElementById("result"), { childList: true })"""
    )
    stand.page.evaluate("addEventListener('click', () => { window.asked ??= performance.now(); }, { capture: true })")
    stand.page.get_by_role("button", name="Make the video").click()
    stand.page.get_by_role("button", name="Cancel upload").click()
    expect(stand.page.get_by_role("button", name="Make the video")).to_be_enabled()
    assert stand.page.evaluate("window.answered - window.asked") < 1000


def test_summary_says_what_will_be_made(stand: Stand) -> None:
    """What, how long it takes and who is ahead; cards say the time, and what the server lacks."""
    stand.job("finished")
    stand.job("queued", number=2)
    stand.page.reload()
    summary = stand.page.locator("#summary")
    expect(summary).to_contain_text("Add a video and a speech")
    stand.choose()
    expect(summary).to_contain_text("A video of 0:09: head.mp4 says speech.flac, by Mouth motion.")
    expect(summary).to_contain_text("Takes about 1 s on this server.")
    expect(summary).to_contain_text("1 video is ahead, for about 1 s.")
    expect(stand.page.get_by_text("about 1 s for this clip on this server")).to_be_visible()
    expect(stand.page.get_by_role("radio", name=re.compile("LatentSync"))).to_be_disabled()
    expect(stand.page.get_by_text("Whoever runs this service can add what it lacks")).to_be_visible()


def test_removal_is_undone(stand: Stand) -> None:
    """A removed video comes back by Undo, and goes when the page is left."""
    job_id = stand.job("finished")
    stand.page.reload()
    row = stand.page.locator(".job")
    remove(row)
    row.get_by_role("button", name="Undo").click()
    expect(row.get_by_role("heading", name="head.mp4")).to_be_visible()
    assert stand.service.store.get(job_id) is not None
    remove(row)
    expect(row.get_by_role("button", name="Undo")).to_be_focused()
    stand.page.goto("about:blank")
    wait_until(lambda: stand.service.store.get(job_id) is None)


def remove(row: Any) -> None:
    """Remove the video of a row."""
    row.get_by_role("button", name="Actions for").click()
    row.get_by_role("button", name=re.compile("^Remove: ")).click()


def test_list_is_searched(stand: Stand) -> None:
    """By names, also those of videos that were not shown yet."""
    for number in range(25):
        stand.job("cancelled", f"video-{number:02}.mp4", number + 1)
    stand.page.reload()
    expect(stand.page.locator(".job")).to_have_count(20)
    stand.page.get_by_role("searchbox").fill("video-03")
    expect(stand.page.locator(".job:visible")).to_have_count(1)
    stand.page.get_by_role("searchbox").fill("nothing")
    expect(stand.page.get_by_text("No video of yours is called “nothing”.")).to_be_visible()


def test_menu_closes_by_escape(stand: Stand) -> None:
    """And gives the focus back to its button."""
    stand.job("cancelled")
    stand.page.reload()
    button = stand.page.get_by_role("button", name="Actions for")
    button.press("Enter")
    again = stand.page.locator(".menu").get_by_role("button", name="Try again: head.mp4")
    again.focus()
    again.press("Escape")
    expect(again).to_be_hidden()
    expect(button).to_be_focused()


def test_player_is_driven_by_keys(stand: Stand) -> None:
    """Loop, half speed, single frames, the other picture; a help line names the keys."""
    stand.job("finished")
    stand.show()
    player = stand.page.get_by_role("group", name="Player")
    expect(player.get_by_text("zoom to the mouth")).to_be_visible()
    wait_until(lambda: stand.page.locator(RESULT).evaluate("video => video.readyState > 1"))
    player.focus()
    for key, name in (("l", "Loop"), ("s", "Half speed")):
        player.press(key)
        expect(player.get_by_role("button", name=name)).to_have_attribute("aria-pressed", "true")
    for key, shown in ((".", 1.5), (".", 2.5), (",", 1.5)):
        player.press(key)
        wait_until(lambda at=shown: at_frame(stand.page, at))
    player.press("c")
    expect(player.get_by_role("radio", name="Original")).to_be_checked()
    expect(stand.page.locator(ORIGINAL)).to_be_visible()
    expect(stand.page.locator(RESULT)).to_be_hidden()


def at_frame(page: Page, frame: float) -> bool:
    """Return whether the result shows the middle of a frame."""
    return abs(page.locator(RESULT).evaluate("video => video.currentTime") - frame / REPORT["video_fps"]) < 0.001


def test_player_wipes_and_zooms(stand: Stand) -> None:
    """The line moves by keys; the zoom brings the mouth to the middle; no black bars beside a square picture."""
    stand.job("finished")
    stand.show()
    wipe = stand.page.get_by_role("slider", name="Line between original and result")
    wipe.press("ArrowRight")
    expect(wipe).to_have_value("51")
    wait_until(lambda: stand.page.locator(RESULT).evaluate("video => video.readyState > 1"))
    with stand.page.expect_response("**/faces"):
        stand.page.get_by_role("button", name="Zoom to the mouth").click()
    expect(stand.page.locator(".pair")).to_have_class(re.compile("zoomed"))
    box = stand.page.locator(".pair").bounding_box()
    assert box is not None
    assert box["width"] == pytest.approx(box["height"], abs=1)


def test_interrupted_stream_is_said(stand: Stand) -> None:
    """While events cannot be followed, the header says so; afterwards it is ready again."""
    stand.page.add_init_script("delete window.SharedWorker")  # whose requests cannot be made to fail from here
    stand.page.route("**/events?**", lambda route: route.abort())
    stand.page.reload()
    expect(stand.page.get_by_role("status")).to_have_text("Reconnecting…")
    stand.page.unroute("**/events?**")
    expect(stand.page.get_by_role("status")).to_have_text("Ready")


def test_reduced_motion_stands_still(browser: Browser, clips: tuple[Path, Path]) -> None:
    """Who wants no motion starts the loop in the header by hand."""
    with opened(browser, clips, reduced_motion="reduce") as stand:
        expect(stand.page.get_by_role("button", name="Pause or play the example")).to_have_text("Play")
        stand.page.get_by_role("button", name="Pause or play the example").click()
        expect(stand.page.get_by_role("button", name="Pause or play the example")).to_have_text("Pause")


def test_choices_are_seen_in_forced_colours(browser: Browser, clips: tuple[Path, Path]) -> None:
    """The chosen model is outlined where the system chooses the colours."""
    with opened(browser, clips, forced_colors="active") as stand:
        expect(stand.page.locator(".model:has(input:checked)")).to_have_css("outline-style", "solid")


BUFFERED_S = "video => video.buffered.length ? video.buffered.end(0) : 0"


def test_result_is_watched_while_it_is_made(stand: Stand) -> None:
    """The button comes with the first pictures, what is buffered grows with the file, and the result goes on there."""
    write = stand.write_result()
    stand.show()
    button = stand.page.get_by_role("button", name=WATCH)
    expect(button).to_be_hidden()
    write(50)
    (job_id,) = (job.id for job in stand.service.store.jobs_of(USER, 1))
    stand.service.store.note_frames(job_id, 50)
    button.press("Enter")
    video = stand.page.locator(WATCHED)
    expect(video).to_be_focused()
    before_s = wait_until(lambda: video.evaluate(BUFFERED_S))
    write(50)
    wait_until(lambda: video.evaluate(BUFFERED_S) > before_s + 1)
    expect(button).to_be_hidden()
    wait_until(lambda: video.evaluate("video => video.currentTime > 0.5 && video.videoWidth === 256"))
    stand.open_files.close()  # completes the result
    wait_until(lambda: video.evaluate("video => video.duration < 10 && video.buffered.end(0) >= video.duration - 0.1"))
    seen_s = video.evaluate("video => video.currentTime")
    stand.service.store.finish(job_id, dict(REPORT))
    wait_until(lambda: stand.page.locator(RESULT).evaluate("(video, at) => video.currentTime >= at", seen_s))


def test_what_the_browser_cannot_play_is_not_offered(stand: Stand) -> None:
    """Without Media Source, or without the codec, the page shows how far the job is, as before."""
    stand.page.add_init_script("MediaSource.isTypeSupported = () => false")
    write = stand.write_result()
    write(50)
    with stand.page.expect_response("**/progressive"):
        stand.show()
    expect(stand.page.get_by_role("progressbar")).to_be_visible()
    expect(stand.page.get_by_role("button", name=WATCH)).to_be_hidden()
