"""The clips of a live server: shared, limited in memory, and shown back and forth."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from client.errors import LipSyncError, MediaError
from client.live.clips import ROOMS_PER_FRAME, ClipStore
from client.media import VideoSource, timeline
from tests.server.clips import swaying_head, write_video
from tests.unit.test_prepared import prepare

FRAMES = 5
CLIP_BYTES = FRAMES * 256 * 256 * 3 // 2 * ROOMS_PER_FRAME


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three clips of five frames."""
    for name in ("ann", "bob", "eve"):
        prepare(write_video(tmp_path / f"{name}.mp4", swaying_head(FRAMES)), tmp_path / name)
    return tmp_path


def test_frames_are_those_of_a_jobs_timeline(folder: Path) -> None:
    """Forward, backward, and so on: the same pictures at the same times."""
    with ClipStore(folder).use("ann") as clip:
        shown = list(islice(clip.frames(), 20))
    expected = list(timeline(VideoSource(folder / "ann.mp4"), 20 / 25))
    assert [frame.index for frame in shown] == [0, 1, 2, 3, 4, 3, 2, 1, 0, 1, 2, 3, 4, 3, 2, 1, 0, 1, 2, 3]
    facts = [(frame.index, frame.time_s, frame.duration_s) for frame in shown]
    assert facts == [(frame.index, frame.time_s, frame.duration_s) for frame in expected]
    pairs = zip(shown, expected, strict=True)
    assert all(np.array_equal(a.picture.rgb(), b.picture.rgb()) for a, b in pairs)


def test_a_clip_is_decoded_once_for_all_who_show_it(folder: Path) -> None:
    """And kept for the next one; a clip that was prepared again is decoded again."""
    store = ClipStore(folder)
    with store.use("ann") as first, store.use("ann") as second:
        assert first is second
    with store.use("ann") as third:
        assert third is first
    prepare(write_video(folder / "ann.mp4", swaying_head(FRAMES + 1)), folder / "ann")
    with store.use("ann") as other:
        assert other is not first


def test_clips_that_nobody_shows_make_room(folder: Path) -> None:
    """The one that was shown longest ago goes first; those in use stay, and a further one is refused."""
    store = ClipStore(folder, 2 * CLIP_BYTES)
    with store.use("ann") as ann:
        pass
    with store.use("bob"), store.use("eve"):
        assert store.held_bytes() == 2 * CLIP_BYTES
        with pytest.raises(LipSyncError, match="ann: expected room for its frames"), store.use("ann"):
            pass
    with store.use("ann") as again:
        assert again is not ann
    assert store.held_bytes() == 2 * CLIP_BYTES


@pytest.mark.parametrize("name", ["", "..", "Ann", "a/b", "/etc", "a" * 65, "ann\n"])
def test_other_names_are_refused(folder: Path, name: str) -> None:
    """Nothing but the folder itself is looked into."""
    with pytest.raises(MediaError, match="a name of 1 to 64 lower-case letters"):
        ClipStore(folder).find(name)


def test_links_and_files_elsewhere_are_refused(folder: Path) -> None:
    """A clip is a folder of its own files."""
    (folder / "link").symlink_to(folder / "ann")
    with pytest.raises(MediaError, match="link: expected a clip of the server, got no such clip"):
        ClipStore(folder).find("link")
    video = folder / "ann" / "clip.mp4"
    video.rename(folder / "elsewhere.mp4")
    video.symlink_to(folder / "elsewhere.mp4")
    with pytest.raises(MediaError, match="ann: expected a clip whose files are its own"):
        ClipStore(folder).find("ann")


def test_a_clip_that_never_fits_is_refused(folder: Path) -> None:
    """It says what would."""
    with (
        pytest.raises(MediaError, match="expected a clip whose frames fit into 1 MB"),
        ClipStore(folder, 10**6).use("ann"),
    ):
        pass


def test_a_server_without_clips_says_so() -> None:
    """And how it gets them."""
    with pytest.raises(MediaError, match="expected a server with clips, got one without. Start it with their folder"):
        ClipStore(None).find("ann")
