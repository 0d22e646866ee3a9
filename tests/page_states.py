"""Takes pictures of the page in every state, for people to look at: python -m tests.page_picture --all FOLDER.

The service in this process runs no jobs: their records are written as a worker would write them.
"""

from __future__ import annotations

import base64
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from playwright.sync_api import Browser, Page, Route

from client.media import AudioSource, VideoSource, VideoWriter, timeline
from client.portrait import portrait
from client.quality.judging import NO_SILENCE, judge_edge, judge_flicker
from client.quality.report import Finding, QualityReport, SpanQuality, SpeakerQuality
from client.web.example import LOOP, PHOTOGRAPH, write_before_and_after, write_inputs
from client.web.job_record import Failure
from client.web.service import Service
from tests.fake_live import head_session, write_clip
from tests.server.clips import SPEECH, swaying_head, write_video
from tests.waiting import wait_until
from tests.web_service import TOKENS, SomeModels, listening, make_service

SIZES = {1440: 900, 768: 1024, 390: 844, 320: 640}  # width -> height
ORIGINAL = "video[aria-label=Original]"
WATCH, WATCHED = "Watch while it is made", "video[aria-label='What is ready so far']"
LIVE = "video[aria-label='Live picture']"
THUMBS_ARE_THERE = "all => all.slice(0, 3).every(one => one.naturalWidth > 0)"
SCHEMES = ("light", "dark")
USER = "127.0.0.1"
LONG = "A very long name of a video that somebody exported from their telephone without ever renaming it " * 2


FOLLOWS = Finding("good", 0.71, "the mouth follows the speech")
LOOSELY = Finding("doubtful", 0.38, "the mouth follows the speech loosely")
FOREIGN = Finding("bad", 0.12, "the mouth does not follow the speech")
CLOSES = Finding("doubtful", 0.708, "the lips close in 17 of 24 closures")
STILL = Finding("good", 0.08, "the mouth is still in silence")
QUALITY = QualityReport(
    "full",
    150,
    1.2,
    [
        SpeakerQuality(
            "speaker", 150, FOLLOWS, STILL, Finding("good", 0.0, "lips and speech are in time"), closures=CLOSES
        )
    ],
    [
        SpanQuality("speaker", 10.0 * part, 10.0 * part + 9.8, 50, follows, NO_SILENCE)
        for part, follows in enumerate((FOLLOWS, LOOSELY, FOREIGN))
    ],
    flicker=judge_flicker(0.17),
    edge=judge_edge(5.2),
)

REPORT = {
    "frames": 150, "frames_synced": 148, "seconds": 4.2, "duration_s": 30.0, "width": 480, "height": 480,
    "video_fps": 5.0, "warnings": [], "unchanged": {},
    "provenance": {
        "is_marked": True, "signed_by": "Test Studio", "signed_at": "2026-02-01T12:00:00+00:00", "timestamped_by": None,
        "sidecar": None, "label": None,
    },
    "quality": asdict(QUALITY),
}  # fmt: skip
FACES = {
    "width": 960, "height": 480, "frame": "",
    "faces": [
        {"x1": 160, "y1": 110, "x2": 320, "y2": 300, "score": 0.9, "choice": "240,205"},
        {"x1": 640, "y1": 110, "x2": 800, "y2": 300, "score": 0.9, "choice": "720,205"},
    ],
}  # fmt: skip


def _sheet() -> str:
    """Return a contact sheet as the service sends it: a PNG as a `data:` URL."""
    frames = np.hstack([swaying_head(1)[0]] * 3)
    return "data:image/png;base64," + base64.b64encode(cv2.imencode(".png", frames)[1].tobytes()).decode()


PLAN = {
    "timeline": [
        {"speaker": "Ann", "start_s": 0.0, "end_s": 2.5, "action": "lip-sync", "why": "speaks in the video",
         "confidence": 0.93, "person": 1},
        {"speaker": "Bob", "start_s": 2.5, "end_s": 4.0, "action": "lip-sync", "why": "speaks in the video",
         "confidence": 0.81, "person": 2},
        {"speaker": "Bob", "start_s": 4.0, "end_s": 6.0, "action": "leave", "why": "nobody in view speaks then",
         "confidence": None, "person": 0},
    ],
    "script": {
        "speakers": [
            {"name": "Ann", "voice": "voice_1", "face": [160, 110, 320, 300]},
            {"name": "Bob", "voice": "voice_2", "face": None, "segments": [
                {"start": 2.5, "end": 4.0, "face": [640, 110, 800, 300]}, {"start": 4.0},
            ]},
        ]
    },
    "expected_s": 7.2, "warnings": [], "contact_sheet": _sheet(),
}  # fmt: skip


@dataclass
class Stand:
    """A page and what is behind it.

    Attributes:
        page: the page.
        service: its service.
        video: a video of a head.
        two: a video of two.
        open_files: is closed with the page.
    """

    page: Page
    service: Service
    video: Path
    two: Path
    open_files: ExitStack = field(default_factory=ExitStack)

    def job(self, state: str, name: str = "head.mp4", number: int = 1) -> str:
        """Write a job in a state, with its files."""
        store = self.service.store
        job_id = f"{number:032x}"
        folder = self.service.settings.job_folder(job_id)
        folder.mkdir()
        shutil.copy(self.video, folder / "video")
        shutil.copy(SPEECH, folder / "audio")
        shutil.copy(self.video, folder / "result.mp4")
        settings = {"model": "mouth-motion", "container": "mp4", "face": "largest"}
        store.add(job_id, USER, settings, name, "speech.flac", 6.0)
        if state != "queued":
            store.claim(job_id)
            store.begin_stage(job_id, "lip-syncing", 150)
            store.note_frames(job_id, 63)
        if state == "finished":
            store.finish(job_id, dict(REPORT))
        if state == "failed":
            said = "No face was found in any of 150 frames. Check that a face is at least 64 pixels high."
            store.fail(job_id, _failure("No face was found", said))
        if state == "cancelled":
            store.cancel(job_id)
            store.end_cancelled(job_id)
        return job_id

    def write_result(self) -> Callable[[int], None]:
        """Begin to write a running job's result; returns what writes so many further frames of it."""
        output = self.service.settings.job_folder(self.job("running")) / "result.mp4"
        output.unlink()
        speech = AudioSource(SPEECH)
        source = VideoSource(self.video)
        writer = self.open_files.enter_context(VideoWriter(output, source, speech, progressive="on"))
        shown = timeline(source, speech.duration)

        def write(frames: int) -> None:
            for frame in islice(shown, frames):
                writer.write(frame.picture, frame.pts, frame.duration)

        return write

    def choose(self, video: Path | None = None) -> None:
        """Fill in the form."""
        self.page.locator("#video").set_input_files(video or self.video)
        self.page.locator("#audio").set_input_files(SPEECH)
        self.page.locator(".waveform").wait_for()
        self.page.locator(".faces").wait_for(state="attached")

    def show(self) -> None:
        """Show the first job of the list."""
        self.page.reload()
        self.page.locator(".job-title").first.click()


def _failure(title: str, said: str) -> Any:
    return Failure(title, said, said)


def empty(stand: Stand) -> None:
    stand.page.locator("#empty").wait_for()


def chosen(stand: Stand) -> None:
    stand.choose()


def faces(stand: Stand) -> None:
    stand.page.unroute("**/faces")
    stand.page.route("**/faces", lambda route: route.fulfill(json=FACES))
    stand.choose(stand.two)


def speakers(stand: Stand) -> None:
    faces(stand)
    stand.page.route("**/plan", lambda route: route.fulfill(json=PLAN))
    stand.page.get_by_label("Several people speak").check()
    for place, name in enumerate(("Ann", "Bob")):
        stand.page.get_by_label("Name").nth(place).fill(name)
        stand.page.get_by_label("Voice").nth(place).set_input_files(SPEECH)
    stand.page.get_by_role("button", name="Find out who speaks").click()
    stand.page.locator(".lane").nth(1).wait_for()


def uploading(stand: Stand) -> None:
    stand.choose()
    stand.page.route("**/jobs", lambda route: None if route.request.method == "POST" else route.continue_())
    stand.page.get_by_role("button", name="Make the video").click()
    stand.page.get_by_role("button", name="Cancel upload").wait_for()


def queued(stand: Stand) -> None:
    stand.job("finished", number=1)
    stand.job("queued", number=2)
    stand.job("queued", "second.mp4", number=3)
    stand.choose()
    stand.show()


def running(stand: Stand) -> None:
    stand.job("running")
    stand.show()


def watched(stand: Stand) -> None:
    write = stand.write_result()
    write(60)
    stand.show()
    stand.page.get_by_role("button", name=WATCH).click()
    wait_until(lambda: stand.page.locator(WATCHED).evaluate("video => video.currentTime > 0.5"))
    stand.page.locator(WATCHED).evaluate("video => video.pause()")


def live(stand: Stand) -> None:
    start_live(stand.page)
    wait_until(lambda: stand.page.locator(LIVE).evaluate("video => video.currentTime > 1"))
    stand.page.locator(LIVE).evaluate("video => video.pause()")


def start_live(page: Page, recording: Path = SPEECH) -> None:
    """Show a clip that says what a recording says."""
    page.get_by_label("Recording", exact=True).check()
    page.get_by_label("Recording to speak").set_input_files(recording)
    page.get_by_role("button", name="Start").click()


def done(stand: Stand) -> None:
    stand.job("finished")
    stand.show()
    stand.page.locator("#result").get_by_role("img").or_(stand.page.locator(ORIGINAL)).first.wait_for()


def failed(stand: Stand) -> None:
    stand.job("failed")
    stand.show()


def cancelled(stand: Stand) -> None:
    stand.job("cancelled")
    stand.show()


def many(stand: Stand) -> None:
    states = ("finished", "failed", "cancelled", "queued")
    for number in range(24):
        stand.job(states[number % 4], f"video-{number}.mp4", number + 1)
    stand.page.reload()
    stand.page.locator(".job").nth(19).wait_for()
    stand.page.get_by_role("button", name="Actions for").nth(2).click()


def long_names(stand: Stand) -> None:
    for number, state in enumerate(("finished", "failed", "running")):
        stand.job(state, f"{LONG}{number}.mp4", number + 1)
    path = stand.video.with_name(f"{'long-name-without-any-space' * 7}.mp4")
    shutil.copy(stand.video, path)
    stand.show()
    stand.choose(path)


def server_gone(stand: Stand) -> None:
    stand.job("finished")
    stand.page.route("**/ready", lambda route: route.abort())
    stand.show()
    stand.page.get_by_role("alert").filter(has_text="cannot be reached").wait_for()


def disk_full(stand: Stand) -> None:
    stand.service.disk._min_free_bytes = 10**18
    stand.page.reload()
    stand.page.get_by_role("alert").filter(has_text="disk").wait_for()


def signed_out(stand: Stand) -> None:
    stand.page.get_by_role("dialog").wait_for()


STATES: dict[str, Callable[[Stand], None]] = {
    state.__name__: state
    for state in (
        empty, chosen, faces, speakers, uploading, queued, running, watched, live, done, failed, cancelled, many,
        long_names, server_gone, disk_full, signed_out,
    )
}  # fmt: skip


def take_all(browser: Browser, folder: Path, only: str = "") -> None:
    """Take a picture of each state, at each size, light and dark."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        clips = Path(name)
        heads = swaying_head(150)
        video = write_video(clips / "head.mp4", heads)
        two = write_video(clips / "two.mp4", [_twice(head) for head in heads[:25]])
        for state, arrange in STATES.items():
            if only and only not in state:
                continue
            for width in SIZES:
                for scheme in SCHEMES:
                    path = folder / f"{state}-{width}-{scheme}.png"
                    take(browser, path, arrange, (video, two), width=width, scheme=scheme)
                    print(path, flush=True)


def take(
    browser: Browser, path: Path, arrange: Callable[[Stand], None], clips: tuple[Path, Path], **options: Any
) -> None:
    """Take one picture, of a page and a service of its own."""
    with open_stand(browser, clips, asks_for_token=arrange is signed_out, has_live=arrange is live, **options) as stand:
        arrange(stand)
        wait_until(lambda: stand.page.locator(".thumb").evaluate_all(THUMBS_ARE_THERE))
        stand.page.wait_for_timeout(500)
        stand.page.screenshot(path=path, full_page=arrange is not signed_out)
        wide = stand.page.evaluate("document.documentElement.scrollWidth")
        if wide > options["width"]:
            print(f"{path}: expected no sideways scrolling, got a width of {wide}", flush=True)


@contextmanager
def open_stand(
    browser: Browser,
    clips: tuple[Path, Path],
    *,
    width: int = 1440,
    scheme: Any = "light",
    asks_for_token: bool = False,
    has_live: bool = False,
    **options: Any,
) -> Iterator[Stand]:
    """Open the page of a service of its own.

    Args:
        browser: what opens it.
        clips: a video of a head, and one of two.
        width: of the page, in pixels.
        scheme: light or dark.
        asks_for_token: whether people have to sign in.
        has_live: whether the server draws live streams.
        options: further options of the browser's context.
    """
    with tempfile.TemporaryDirectory() as data:
        tokens = TOKENS if asks_for_token else {}
        service = make_service(
            Path(data) / "web",
            SomeModels("mouth-motion", live=has_live),
            open_session=head_session,
            tokens=tokens,
            max_jobs_per_user=100,
            clips=Path(data) / "clips",
        )
        write_clip(Path(data) / "clips" / "ann")
        write_clip(Path(data) / "clips" / "slow", "latentsync")
        _write_example(service.settings.example_folder, clips[0])
        viewport: Any = {"width": width, "height": SIZES.get(width, 900)}
        with (
            listening(service) as address,
            browser.new_context(viewport=viewport, color_scheme=scheme, **options) as context,
        ):
            page = context.new_page()
            page.route("**/faces", _one_face)
            photograph = service.settings.example_folder / PHOTOGRAPH
            page.route("**/poster", lambda route: route.fulfill(path=photograph))  # no processes that outlive the page
            page.goto(address)
            with ExitStack() as open_files:
                yield Stand(page, service, *clips, open_files)


@cache
def _before_and_after(video: Path) -> bytes:
    """Return the file that compares the example with a video; encoded once for all pages."""
    with tempfile.TemporaryDirectory() as folder:
        write_before_and_after(portrait(), VideoSource(video), Path(folder) / LOOP)
        return (Path(folder) / LOOP).read_bytes()


def _write_example(folder: Path, video: Path) -> None:
    folder.mkdir()
    write_inputs(folder)
    (folder / LOOP).write_bytes(_before_and_after(video))


def _one_face(route: Route) -> None:
    route.fulfill(json={**FACES, "width": 480, "faces": FACES["faces"][:1]})  # type: ignore[index]


def _twice(head: np.ndarray) -> np.ndarray:
    return np.hstack([head, head[:, ::-1]])
