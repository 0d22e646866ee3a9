"""The clips of a live server: shared, limited in memory, and shown back and forth."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from client.errors import LipSyncError, MediaError
from client.live.clips import ROOMS_PER_FRAME, ClipStore, HeldClip
from client.media import SourceFrame, VideoSource, timeline
from client.prepared.clip import FACES_PER_PART
from client.prepared.known import PARTS_KEPT, PreparedFaces
from tests.server.clips import swaying_head, write_video
from tests.unit.test_prepared import prepare

FRAMES = 5
FRAMES_BYTES = FRAMES * 256 * 256 * 3 // 2 * ROOMS_PER_FRAME


def use(store: ClipStore, name: str) -> AbstractContextManager[HeldClip]:
    """Find a clip and show it."""
    return store.use(store.find(name))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three clips of five frames."""
    for name in ("ann", "bob", "eve"):
        prepare(write_video(tmp_path / f"{name}.mp4", swaying_head(FRAMES)), tmp_path / name)
    return tmp_path


def test_frames_are_those_of_a_jobs_timeline(folder: Path) -> None:
    """Forward, backward, and so on: the same pictures at the same times."""
    with use(ClipStore(folder), "ann") as clip:
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
    with use(store, "ann") as first, use(store, "ann") as second:
        assert first is second
    with use(store, "ann") as third:
        assert third is first
    prepare(write_video(folder / "ann.mp4", swaying_head(FRAMES + 1)), folder / "ann")
    with use(store, "ann") as other:
        assert other is not first


def test_clips_that_nobody_shows_make_room(folder: Path) -> None:
    """The one that was shown longest ago goes first; those in use stay, and a further one is refused."""
    with use(ClipStore(folder), "ann") as ann:
        assert FRAMES_BYTES < ann.nbytes < 1.1 * FRAMES_BYTES  # with what is known of its faces
    store = ClipStore(folder, 2 * ann.nbytes)
    with use(store, "ann") as ann:
        pass
    with use(store, "bob"), use(store, "eve"):
        assert store.held_bytes() == 2 * ann.nbytes
        with pytest.raises(LipSyncError, match="ann: expected room for its frames"), use(store, "ann"):
            pass
    with use(store, "ann") as again:
        assert again is not ann
    assert store.held_bytes() == 2 * ann.nbytes


def test_memory_is_taken_before_frames_are_decoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that many clips that are opened at once take no more of it than they may together."""
    held: list[int] = []
    decode = VideoSource.frames

    def frames(video: VideoSource) -> Iterator[SourceFrame]:
        held.append(store.held_bytes())
        return decode(video)

    with use(ClipStore(folder), "ann") as ann:
        store = ClipStore(folder, ann.nbytes)
    monkeypatch.setattr(VideoSource, "frames", frames)
    with use(store, "bob"):
        assert held == [ann.nbytes]
        with pytest.raises(LipSyncError, match="eve: expected room for its frames"), use(store, "eve"):
            pass
    assert len(held) == 1


def test_a_clip_in_memory_needs_its_folder_no_more(folder: Path) -> None:
    """Also beyond the first few parts of what is known of it, which are as many as jobs keep."""
    frames = FACES_PER_PART * (PARTS_KEPT + 1) + 1
    picture = swaying_head(1)
    prepare(write_video(folder / "long.mp4", picture * frames), folder / "long")
    store = ClipStore(folder)
    with use(store, "long") as clip:
        shutil.rmtree(folder / "long")
        found = [PreparedFaces(clip).find([frame])[0] for frame in islice(clip.frames(), 2 * frames)]
        assert all(len(one.faces) == 2 for one in found)


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
        use(ClipStore(folder, 10**6), "ann"),
    ):
        pass


def test_a_server_without_clips_says_so() -> None:
    """And how it gets them."""
    with pytest.raises(MediaError, match="expected a server with clips, got one without. Start it with their folder"):
        ClipStore(None).find("ann")
