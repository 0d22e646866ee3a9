"""What a video's pictures say about themselves comes back, or is named: HDR10, chroma samples' place, stereo 3D."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from client.media import VideoSource
from client.media.carried import hdr
from client.media.carried.chroma import TOP_LEFT
from client.media.carried.hdr import StaticHdr
from client.media.carried.picture_facts import PictureFacts
from client.media.carried.stereo import CHECKERBOARD, COLUMNS, LINES, MATROSKA_MODES, SIDE_BY_SIDE, TOP_BOTTOM, Stereo
from client.media.geometry import Orientation
from tests.media_clips import copy_video, read_frames, write_clip

HDR10 = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400"


@pytest.mark.parametrize(("name", "codec"), [("out.mp4", "auto"), ("out.mkv", "av1"), ("out.mkv", "h264")])
def test_hdr10_comes_back(tmp_path: Path, name: str, codec: str) -> None:
    """Mastering display and light levels are those of the source."""
    clip = write_clip(tmp_path / "clip.mp4", size=(128, 96), frames=3, codec="libx265", pix_fmt="yuv420p10le",
                      options={"x265-params": f"log-level=none:pools=1:{HDR10}"})  # fmt: skip
    assert copy_video(VideoSource(clip), tmp_path / name, codec=codec) == []
    before, after = (StaticHdr.of_frame(read_frames(path)[0]) for path in (clip, tmp_path / name))
    assert before.light == after.light == (1000, 400)
    assert before.display is not None
    assert after.display is not None
    shown = [[*each.red, *each.green, *each.blue, *each.white, each.highest, each.lowest]
             for each in (before.display, after.display)]  # fmt: skip
    np.testing.assert_allclose(np.array(shown[0], float), np.array(shown[1], float), rtol=2e-3)  # AV1 counts in 1/65536


def test_impossible_light_levels_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoders refuse them, and the job would end at its first frame."""
    monkeypatch.setattr(hdr, "frame_data", lambda _: {"CONTENT_LIGHT_LEVEL": hdr.LIGHT_LAYOUT.pack(2**32 - 1, 400)})
    source = VideoSource(write_clip(tmp_path / "clip.mp4", size=(128, 96), frames=3))
    assert copy_video(source, tmp_path / "out.mp4", codec="h264") == []


def test_hdr10_that_a_codec_cannot_hold_is_named(tmp_path: Path) -> None:
    """FFV1 has no place for it in its stream."""
    clip = write_clip(tmp_path / "clip.mp4", size=(128, 96), frames=3, codec="libx265", pix_fmt="yuv420p10le",
                      options={"x265-params": f"log-level=none:pools=1:{HDR10}"})  # fmt: skip
    warnings = copy_video(VideoSource(clip), tmp_path / "out.mkv", codec="ffv1")
    assert warnings == ["clip.mp4: left out of the output: its HDR10 mastering display and light levels"]


@pytest.mark.parametrize(
    ("encoder", "expected"),
    [
        ("libx264", {"crf": "18", "x264-params": "cll=1000,400:chromaloc=2:frame-packing=3"}),
        ("libx265", {"crf": "18", "x265-params": "log-level=none:max-cll=1000,400:chromaloc=2"}),
        ("libsvtav1", {"crf": "18", "svtav1-params": "content-light=1000,400:chroma-sample-position=colocated"}),
        ("ffv1", {"crf": "18"}),
    ],
)
def test_facts_join_an_encoders_own_parameters(encoder: str, expected: dict[str, str]) -> None:
    """They come behind what is there, each encoder by its own names; other options stay."""
    facts = PictureFacts(StaticHdr(light=(1000, 400)), TOP_LEFT, Stereo(SIDE_BY_SIDE, right_first=False))
    own = {"x265-params": "log-level=none"} if encoder == "libx265" else {}
    assert facts.add_to({"crf": "18", **own}, encoder) == expected


@pytest.mark.parametrize(("name", "codec"), [("out.mp4", "h264"), ("out.mkv", "hevc"), ("out.webm", "av1")])
def test_the_place_of_chroma_samples_comes_back(tmp_path: Path, name: str, codec: str) -> None:
    """Chroma samples that lie at the top left, as in HDR10, are said to lie there."""
    clip = write_clip(tmp_path / "clip.mp4", size=(128, 96), frames=3, options={"x264-params": "chromaloc=2"})
    assert VideoSource(clip).facts.pictures.chroma_location == 2
    assert copy_video(VideoSource(clip), tmp_path / name, codec=codec) == []
    assert VideoSource(tmp_path / name).facts.pictures.chroma_location == 2
    assert copy_video(VideoSource(clip), tmp_path / "out.mkv", codec="vp9") == [
        "clip.mp4: left out of the output: where its chroma samples lie"
    ]


@pytest.mark.parametrize("mode", ["left_right", "right_left", "top_bottom"])
def test_stereo_3d_comes_back(tmp_path: Path, mode: str) -> None:
    """The packing of two views is kept by Matroska, and by H.264 where the left one comes first; else it is named."""
    clip = write_clip(tmp_path / "clip.mkv", tags={"stereo_mode": mode})
    source = VideoSource(clip)
    assert source.facts.pictures.stereo is not None
    assert copy_video(source, tmp_path / "out.mkv") == []
    assert VideoSource(tmp_path / "out.mkv").facts.pictures.stereo == source.facts.pictures.stereo
    lost = ["clip.mkv: left out of the output: stereo 3D"]
    assert copy_video(source, tmp_path / "out.mp4") == (lost if mode == "right_left" else [])
    if mode != "right_left":
        assert VideoSource(tmp_path / "out.mp4").facts.pictures.stereo == source.facts.pictures.stereo
    assert copy_video(source, tmp_path / "hevc.mp4", codec="hevc") == lost


@pytest.mark.parametrize(("rotation", "mode"), [(90, "bottom_top"), (-90, "top_bottom"), (180, "right_left")])
def test_the_packing_turns_with_the_pixels(tmp_path: Path, rotation: float, mode: str) -> None:
    """Where the pixels are turned, views that lay side by side lie on top of each other."""
    clip = write_clip(tmp_path / "clip.mkv", tags={"stereo_mode": "left_right"}, rotation=rotation)
    facts = VideoSource(clip).facts
    assert facts.pictures.stereo is not None
    assert facts.pictures.stereo.turned(facts.orientation).tags("matroska") == {"stereo_mode": mode}
    warnings = copy_video(VideoSource(clip), tmp_path / "out.ts")
    if mode == "top_bottom":
        assert warnings == []
        assert VideoSource(tmp_path / "out.ts").facts.pictures.stereo == Stereo(TOP_BOTTOM, right_first=False)
    else:
        assert warnings == ["clip.mkv: left out of the output: stereo 3D"]


@pytest.mark.parametrize("turn", [(t, x, y) for t in (False, True) for x in (False, True) for y in (False, True)])
@pytest.mark.parametrize("kind", MATROSKA_MODES)
def test_each_packing_turns_as_the_pixels_do(turn: tuple[bool, bool, bool], kind: int) -> None:
    """The eye that a pixel belongs to is the same before and after."""
    orientation = Orientation(*turn)
    eyes = {
        SIDE_BY_SIDE: np.repeat([[0, 0, 1, 1]], 4, axis=0),
        TOP_BOTTOM: np.repeat([[0], [0], [1], [1]], 4, axis=1),
        CHECKERBOARD: np.indices((4, 4)).sum(axis=0) % 2,
        LINES: np.indices((4, 4))[0] % 2,
        COLUMNS: np.indices((4, 4))[1] % 2,
    }
    if kind not in eyes:  # one eye after the other
        assert Stereo(kind, right_first=False).turned(orientation) == Stereo(kind, right_first=False)
        return
    after = Stereo(kind, right_first=False).turned(orientation)
    np.testing.assert_array_equal(orientation.upright(eyes[kind]), eyes[after.kind] ^ after.right_first)


@pytest.mark.parametrize(("rotation", "after"), [(90, 4), (-90, None), (180, None)])
def test_the_place_of_chroma_samples_turns_with_the_pixels(tmp_path: Path, rotation: float, after: int | None) -> None:
    """Samples at the top left lie at the bottom left in pixels turned to the left; on the right there is no name."""
    clip = write_clip(tmp_path / "clip.mp4", size=(128, 96), frames=3, rotation=rotation,
                      options={"x264-params": "chromaloc=2"})  # fmt: skip
    warnings = copy_video(VideoSource(clip), tmp_path / "out.ts")
    assert warnings == ([] if after else ["clip.mp4: left out of the output: where its chroma samples lie"])
    assert VideoSource(tmp_path / "out.ts").facts.pictures.chroma_location == after


def test_dolby_vision_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its records hold for single frames as they were, so they are lost; no encoder here can make such a clip."""
    records = {"DOVI_RPU_BUFFER": b"", "DOVI_METADATA": b""}
    monkeypatch.setattr("client.media.facts.frame_data", lambda frame: records)
    warnings = copy_video(VideoSource(write_clip(tmp_path / "clip.mp4")), tmp_path / "out.mp4")
    assert warnings == ["clip.mp4: left out of the output: Dolby Vision"]
