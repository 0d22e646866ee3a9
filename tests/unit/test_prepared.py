"""Prepared clips: what their folders hold, and how damaged, foreign and unfitting ones are refused."""

from __future__ import annotations

import json
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest

from client.batch import read_jobs
from client.errors import LipSyncError, MediaError, NoFaceError, OutputError, UsageError
from client.job_options import job_from_json
from client.option import OptionValues
from client.options import FACE
from client.prepared.clip import FORMAT, MANIFEST, Manifest, PreparedClip, part_name
from client.prepared.known import FirstKnown, HeldAnalyses, PreparedAnalyses, PreparedFaces, analysis_part
from client.prepared.options import PreparationOptions, prepared_job, read_preparation
from client.prepared.preparation import Preparation
from client.prepared.weights import check_weights, weights_of
from client.progress import SilentProgress
from client.servers.calls import InferRequest
from client.tracking.consecutive import ConsecutiveFinder
from client.tracking.faces import parse_face_choice
from lipsync_core.weights import WeightsNote, write_note
from tests.limits import small_files
from tests.server.clips import head_landmarks, swaying_head, write_video

SIDE = 256
LANDMARKS = head_landmarks()


class FaceTriton:
    """Finds the same two faces in every frame, the second smaller, or none; does not follow them."""

    transport, server_count = "grpc", 1

    def __init__(self, faces: int = 2) -> None:
        self._faces = faces

    def infer(self, request: InferRequest) -> dict[str, np.ndarray]:
        if request.model == "face_landmarks":
            count = len(request.inputs["images"])
            return {"landmarks": np.zeros((count, 468, 3), np.float32), "presence_logits": np.full((count, 1), -1.0)}
        count = len(request.inputs["frames"])
        boxes = np.array([[70, 50, 180, 190], [0, 0, 40, 40]], np.float32)[: self._faces]
        landmarks = np.stack([LANDMARKS, LANDMARKS / 4])[: self._faces].astype(np.float32)
        return {
            "boxes": np.tile(boxes, (count, 1, 1)),
            "scores": np.full((count, self._faces), 0.9, np.float32),
            "landmarks": np.tile(landmarks, (count, 1, 1, 1)),
        }

    def cancel(self) -> None:
        pass


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a video, and the clip prepared from it for the default pipeline."""
    folder = tmp_path_factory.mktemp("made")
    prepare(write_video(folder / "ann.mp4", swaying_head(70)), folder / "ann.prepared")
    return folder


@pytest.fixture
def video(made: Path, tmp_path: Path) -> Path:
    """A copy of the video."""
    return Path(shutil.copy(made / "ann.mp4", tmp_path))


@pytest.fixture
def prepared(made: Path, tmp_path: Path, video: Path) -> Path:
    """A copy of the prepared clip, beside the video."""
    return Path(shutil.copytree(made / "ann.prepared", tmp_path / "ann.prepared"))


def prepare(
    video: Path, folder: Path, triton: object | None = None, weights: dict[str, str] | None = None, **given: object
) -> Path:
    with Preparation(read_preparation(video, folder, given), weights or {}) as preparation:
        preparation.run(triton or FaceTriton(), SilentProgress())  # type: ignore[arg-type]
    return folder


def shown(index: int, *, held: bool = False) -> Any:
    return SimpleNamespace(index=index, picture=SimpleNamespace(shared=held))


def test_prepared_clip_holds_all_faces(prepared: Path) -> None:
    """Frame by frame, in any order, as the server found them; a part holds 64 frames."""
    clip = PreparedClip(prepared)
    assert clip.manifest.frames == 70
    assert len(list(prepared.glob("faces-*"))) == 2
    found = PreparedFaces(clip).find([shown(69), shown(0)])
    for frame in found:
        largest, small = frame.faces
        np.testing.assert_array_equal(largest.landmarks, LANDMARKS)
        np.testing.assert_array_equal(small.box, [0, 0, 40, 40])
        assert frame.thumbnail.shape == (32, 32)
    assert clip.mouth_profile() is not None
    clip.check_video()


def test_prepared_clip_replaces_an_older_one_alone(tmp_path: Path, video: Path, prepared: Path) -> None:
    """The name of another folder or file is refused, and what is there stays."""
    assert PreparedClip(prepare(video, prepared, end=1)).manifest.frames == 25
    other = tmp_path / "holiday"
    other.mkdir()
    (other / "photo").write_text("mine")
    (other / MANIFEST).write_text("x")
    (prepared / "monday.mp4").write_text("mine")
    for taken in (other, video, prepared):
        with pytest.raises(OutputError, match="expected a new folder, or a prepared clip to replace, got something"):
            prepare(video, taken)
    assert (other / "photo").read_text() == (prepared / "monday.mp4").read_text() == "mine"


def test_preparing_through_a_link_replaces_what_it_leads_to(tmp_path: Path, video: Path, prepared: Path) -> None:
    """The link stays."""
    link = tmp_path / "link"
    link.symlink_to(prepared)
    prepare(video, link, end=1)
    assert link.is_symlink()
    assert PreparedClip(prepared).manifest.frames == 25


def test_preparation_that_ended_leaves_the_next_one_alone(tmp_path: Path, video: Path) -> None:
    """Its server may take a moment to stop, in which another process prepares the same clip again."""
    options = PreparationOptions(video, tmp_path / "ann.prepared", OptionValues())
    with Preparation(options, {}) as first:
        first.run(FaceTriton(), SilentProgress())  # type: ignore[arg-type]
        second = Preparation(options, {})
    second.run(FaceTriton(), SilentProgress())  # type: ignore[arg-type]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ann.mp4", "ann.prepared"]


def test_names_that_are_too_long_fail_in_one_line(tmp_path: Path, video: Path) -> None:
    """As for other outputs."""
    with pytest.raises(OutputError, match="the name is too long"):
        prepare(video, tmp_path / ("a" * 300))


def test_frames_are_not_held(tmp_path: Path, video: Path) -> None:
    """Faces of 64 frames are kept together; their pictures are let go as they pass."""
    alive: list[weakref.ref[Any]] = []

    most: list[int] = []
    find = ConsecutiveFinder.find

    def watched(finder: ConsecutiveFinder, window: Any) -> Any:
        alive.extend(weakref.ref(frame.picture) for frame in window.frames)
        most.append(sum(picture() is not None for picture in alive))
        return find(finder, window)

    with mock.patch.object(ConsecutiveFinder, "find", watched):
        prepare(video, tmp_path / "ann.prepared")
    assert len(alive) >= 70
    assert max(most) < 64


def test_preparation_that_fails_leaves_nothing(tmp_path: Path, video: Path) -> None:
    """Neither the folder nor the hidden one; a clip that was prepared before stays."""
    folder = prepare(video, tmp_path / "ann.prepared")
    before = (folder / MANIFEST).read_text()

    class Broken(FaceTriton):
        def infer(self, request: InferRequest) -> dict[str, np.ndarray]:
            raise LipSyncError("gone")

    with pytest.raises(LipSyncError, match="gone"):
        prepare(video, folder, Broken())
    with pytest.raises(NoFaceError, match="no usable face in any of 70 frames"):
        prepare(video, tmp_path / "none.prepared", FaceTriton(faces=0))
    with pytest.raises(MediaError, match="expected a media file"):
        prepare(tmp_path / "absent.mp4", tmp_path / "none.prepared")
    assert (folder / MANIFEST).read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ann.mp4", "ann.prepared"]


def test_preparation_beside_another_fails(tmp_path: Path, video: Path) -> None:
    """Two processes do not write one folder; what a killed one left is used up."""
    folder = tmp_path / "ann.prepared"
    options = PreparationOptions(video, folder, OptionValues())
    busy = pytest.raises(OutputError, match="expected a clip that nobody prepares, got another process")
    with Preparation(options, {}), busy:
        Preparation(options, {})
    (tmp_path / ".ann.prepared.preparing").mkdir()
    (tmp_path / ".ann.prepared.preparing" / part_name("faces", 9)).write_bytes(b"old")
    prepare(video, folder)
    assert not (folder / part_name("faces", 9)).exists()


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda folder: damage(folder / part_name("faces", 0)), "expected a part of this clip, got a damaged one"),
        (lambda folder: (folder / part_name("faces", 0)).unlink(), "expected a readable file, got No such file"),
        (
            lambda folder: shutil.copy(folder / part_name("faces", 1), folder / part_name("faces", 0)),
            "got a damaged one. Prepare the clip again",
        ),
    ],
)
def test_prepared_faces_fail_on_damage(prepared: Path, fault: Callable[[Path], None], message: str) -> None:
    """A part that changed, is missing or is another one is refused when it is needed."""
    fault(prepared)
    with pytest.raises(MediaError, match=message):
        PreparedFaces(PreparedClip(prepared)).find([shown(0)])


def test_prepared_clip_fails_with_another_video(prepared: Path) -> None:
    """The faces are those of the video that was copied."""
    damage(prepared / "clip.mp4")
    with pytest.raises(MediaError, match="expected the video that was prepared, got another content"):
        PreparedClip(prepared).check_video()


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (None, f"expected a folder that lipsync prepare wrote, got no {MANIFEST} in it"),
        ("{", f"got an unreadable {MANIFEST}"),
        ("[]", f"of format {FORMAT}, got None"),
        (json.dumps({"format": FORMAT + 1}), f"of format {FORMAT}, got {FORMAT + 1}. Prepare the clip again"),
        (json.dumps({"format": FORMAT, "hat": 1}), f"got a damaged {MANIFEST}"),
        (json.dumps({"format": FORMAT, "options": [], "video": 1, "video_digest": "", "weights": {}}), "got a damaged"),
    ],
)
def test_opening_fails_on_what_is_no_prepared_clip(tmp_path: Path, manifest: str | None, message: str) -> None:
    """A line says what was expected."""
    if manifest is not None:
        (tmp_path / MANIFEST).write_text(manifest)
    with pytest.raises(MediaError, match=message.replace("{", r"\{")):
        PreparedClip(tmp_path)


def test_job_takes_the_options_of_its_clip(tmp_path: Path, video: Path) -> None:
    """Those that the preparation depends on come from the folder; others stay free, and the same values may be said."""
    folder = prepare(video, tmp_path / "ann.prepared", face="right", end=2)
    job = prepared_job(folder, tmp_path / "a.wav", tmp_path / "o.mp4", {"crf": 20, "end": "2"})
    assert job.values[FACE] == parse_face_choice("right")
    assert (job.video, job.prepared) == (folder / "clip.mp4", folder)
    assert "faces" not in job.needed_models
    assert job_from_json(json.loads(json.dumps(job.as_json()))) == job
    for name, value, held in (("face", "left", "right"), ("model", "wav2lip", "mouth-motion"), ("end", 1, "2.0")):
        with pytest.raises(UsageError, match=f"{name}: expected {held}, which the clip was prepared with"):
            prepared_job(folder, tmp_path / "a.wav", tmp_path / "o.mp4", {name: value})


def test_preparing_fails_for_whoever_speaks(tmp_path: Path, video: Path) -> None:
    """A clip is prepared for one face."""
    with pytest.raises(UsageError, match="face: expected a face that does not depend on who speaks, got auto"):
        read_preparation(video, tmp_path / "clip", {"face": "auto"})


def test_preparing_fails_with_options_of_the_speech(tmp_path: Path, video: Path) -> None:
    """They would have no effect; those of another pipeline are refused as everywhere."""
    with pytest.raises(UsageError, match="strength: expected an option that the analysis for mouth-motion depends on"):
        read_preparation(video, tmp_path / "p", {"strength": 1.2})
    with pytest.raises(UsageError, match="mouth_area: expected model musetalk, got model mouth-motion"):
        read_preparation(video, tmp_path / "p", {"mouth_area": "mouth"})


def test_batch_takes_prepared_clips(tmp_path: Path, prepared: Path) -> None:
    """In place of a video; both at once, and folders that are none, fail their own line alone."""
    lines = [
        {"prepared": str(prepared), "audio": "a.wav", "output": "1.mp4"},
        {"prepared": str(prepared), "video": "v.mp4", "audio": "a.wav", "output": "2.mp4"},
        {"prepared": str(tmp_path), "audio": "a.wav", "output": "3.mp4"},
    ]
    jobs = tmp_path / "jobs.jsonl"
    jobs.write_text("\n".join(map(json.dumps, lines)))
    good, both, none = read_jobs(jobs, {})
    assert good.options is not None
    assert good.options.prepared == prepared
    assert good.stamps()["prepared"] is not None
    assert "expected video or prepared, got both" in str(both.problem)
    assert "expected a folder that lipsync prepare wrote" in str(none.problem)


def test_manifest_fails_on_any_change(prepared: Path) -> None:
    """Also of what the parts do not depend on; options of another version are told as what they are."""
    manifest = prepared / MANIFEST
    whole = json.loads(manifest.read_text())
    for change in ({"has_mouth": False}, {"frames": 1}, {"video": "../ann.mp4"}, {"options": None}, {"digest": ""}):
        manifest.write_text(json.dumps({**whole, **change}))
        with pytest.raises(MediaError, match="got a damaged clip.json. Prepare the clip again"):
            PreparedClip(prepared)
    fields = {name: value for name, value in whole.items() if name not in ("format", "digest")}
    manifest.write_text(Manifest(**{**fields, "options": {"hat": 1}}).as_json())
    with pytest.raises(MediaError, match="expected options of this version, got hat: expected an option of a job"):
        prepared_job(prepared, Path("a.wav"), Path("o.mp4"), {})


def test_clip_that_is_prepared_anew_during_a_job_is_told(video: Path, prepared: Path) -> None:
    """The job can be run again; the new clip needs no further preparation."""
    clip = PreparedClip(prepared)
    prepare(video, prepared, end=1)
    with pytest.raises(MediaError, match="got one that was prepared since. Run the job again"):
        PreparedFaces(clip).find([shown(69)])


def write_weights(repository: Path, model: str, weights: WeightsNote, file: str = "model.onnx") -> None:
    network = repository / model / "1" / file
    network.parent.mkdir(parents=True, exist_ok=True)
    (repository / model / "config.pbtxt").write_text('backend: "python"')
    network.touch()
    write_note(network, weights)


def test_weights_are_compared(tmp_path: Path, video: Path) -> None:
    """A clip of other weights is refused; other formats of the same ones, and where they were not known, are taken."""
    write_weights(tmp_path / "models", "faces", WeightsNote(seed_shift=0))
    known = prepare(video, tmp_path / "known.prepared", weights=weights_of(tmp_path / "models", ("faces",)))
    write_weights(tmp_path / "models", "faces", WeightsNote(seed_shift=0), "model.pt2")
    check_weights(known, tmp_path / "models")
    write_weights(tmp_path / "models", "faces", WeightsNote(seed_shift=1))
    with pytest.raises(MediaError, match="expected a clip prepared with the weights that the models have now"):
        check_weights(known, tmp_path / "models")
    check_weights(prepare(video, tmp_path / "unknown.prepared"), tmp_path / "models")
    with pytest.raises(UsageError, match="expected a model repository, got none"):
        weights_of(tmp_path, ("faces",))


def analysis_of(numbers: list[int], boxes: np.ndarray) -> SimpleNamespace:
    """A clip whose one part knows some frames."""
    part = analysis_part(numbers, {"boxes": boxes}, {"face_latents": np.arange(len(numbers), dtype=np.float32)})
    return SimpleNamespace(analysis=lambda number: part, manifest=SimpleNamespace(analysed=8))


def test_analyses_are_found_by_frame_and_place() -> None:
    """A face elsewhere, a frame without one and other kinds of places are not known; one unknown face is enough."""
    boxes = np.array([[0, 0, 10, 10], [5, 5, 20, 20]], np.float32)
    known = PreparedAnalyses(analysis_of([2, 5], boxes))  # type: ignore[arg-type]
    found = known.find([shown(5), shown(2)], {"boxes": boxes[::-1]})
    assert found is not None
    np.testing.assert_array_equal(found["face_latents"], [1, 0])
    assert known.find([shown(5), shown(2)], {"boxes": boxes}) is None
    assert known.find([shown(3)], {"boxes": boxes[:1]}) is None
    assert known.find([shown(2)], {"boxes": boxes[:1], "landmarks": np.zeros((1, 468, 3))}) is None


def test_sources_are_asked_in_turn() -> None:
    """A held picture whose box is not the folder's is analysed once all the same."""
    asked: list[str] = []

    def source(name: str, known: dict[str, np.ndarray] | None) -> Any:
        return SimpleNamespace(find=lambda frames, places: asked.append(name) or known)

    here = {"face_latents": np.zeros((1, 2))}
    known = FirstKnown(None, source("folder", None), source("held", here), source("never", None))
    assert known.find([shown(1)], {}) is here
    assert asked == ["folder", "held"]
    assert FirstKnown(None).find([shown(1)], {}) is None


def test_held_pictures_are_analysed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames that move, faces that move and pictures that are not held are left to the whole ensemble."""
    asked = []

    def analyse(triton: object, analysis: object, frames: list[Any], places: dict[str, np.ndarray]) -> Any:
        asked.append(frames[0].index)
        return {"face_latents": np.full((1, 2), frames[0].index, np.float32)}

    monkeypatch.setattr("client.prepared.known.analyse_faces", analyse)
    held, box = HeldAnalyses(None, None), np.array([[0, 0, 10, 10]], np.float32)  # type: ignore[arg-type]
    for count in (3, 1):
        found = held.find([shown(7, held=True)] * count, {"boxes": np.repeat(box, count, axis=0)})
        assert found is not None
        assert found["face_latents"].tolist() == [[7, 7]] * count
    assert held.find([shown(7)], {"boxes": box}) is None
    assert held.find([shown(7, held=True), shown(8, held=True)], {"boxes": np.repeat(box, 2, axis=0)}) is None
    assert held.find([shown(7, held=True)] * 2, {"boxes": np.concatenate([box, box + 1])}) is None
    held.find([shown(7, held=True)], {"boxes": box + 1})
    assert asked == [7, 7]


def test_a_full_disk_leaves_no_folder(video: Path, tmp_path: Path) -> None:
    """One line says why, and neither the clip nor its hidden folder stays."""
    with small_files(), pytest.raises(OutputError) as caught:
        prepare(video, tmp_path / "ann")
    assert str(caught.value).startswith(f"{tmp_path / 'ann'}: ")
    assert [path for path in tmp_path.iterdir() if path != video] == []
