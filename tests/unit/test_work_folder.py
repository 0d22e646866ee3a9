from __future__ import annotations

import errno
import fcntl
import shutil
from pathlib import Path

import numpy as np
import pytest

from client.errors import MediaError, OutputError
from client.resume import work_folder
from client.resume.calls import JobCalls, request_key
from client.resume.job_folder import drop_folder
from client.resume.work_folder import ANSWER_SUFFIX, WorkFolder, default_work_dir, file_digest
from client.servers.calls import InferRequest
from lipsync_core.contract import ModelContract

FACTS = {"video": "a", "audio": "b"}
ANSWER = {"boxes": np.array([[1.5, np.nan]], np.float32), "empty": np.zeros((0, 3), np.int32)}


class Doubler:
    """Doubles frames and counts how often it is asked."""

    transport = "grpc"
    server_count = 1

    def __init__(self, version: str = "1") -> None:
        self.version = version
        self.ids: list[str] = []

    def contract(self, model: str) -> ModelContract:
        raise AssertionError(f"{model}: a work folder asks for no contract")

    def identity(self, model: str) -> str:
        return f"{model} {self.version}"

    def infer(self, request: InferRequest) -> dict[str, np.ndarray]:
        self.ids.append(request.id)
        frames = request.inputs["frames"]
        return {"synced_frames": frames * 2, "sum": frames.sum(keepdims=True)}

    def cancel(self) -> None: ...


def answers_in(path: Path) -> list[Path]:
    return sorted(path.glob(f"*{ANSWER_SUFFIX}"))


def test_kept_answers_come_back_as_they_were(tmp_path: Path) -> None:
    """The next run finds every array with its dtype, shape and content, NaN included."""
    with WorkFolder(tmp_path / "work", FACTS) as folder:
        folder.save("k", ANSWER)
    with WorkFolder(tmp_path / "work", FACTS) as folder:
        kept = folder.load("k")
        assert kept is not None
        assert folder.load("other") is None
        assert not folder.changed
    for name, array in ANSWER.items():
        assert kept[name].dtype == array.dtype
        np.testing.assert_array_equal(kept[name], array)


def test_frames_are_kept_as_changes_and_answered_without_the_server(tmp_path: Path) -> None:
    """The second run gives the same answer without asking, wrapped-around differences included."""
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    first, second = Doubler(), Doubler()
    for triton in (first, second):
        with WorkFolder(tmp_path / "work", FACTS) as folder:
            calls = JobCalls(triton, "job", folder)
            answer = calls.infer(InferRequest("double", {"frames": frames}))
            np.testing.assert_array_equal(answer["synced_frames"], frames * 2)
            assert answer["sum"] == frames.sum()
    assert (first.ids, second.ids) == (["job-1"], [])
    assert (calls.request_count, calls.reused_count) == (1, 1)


def test_another_model_or_input_has_another_key(tmp_path: Path) -> None:
    """The key covers the model's version and the inputs' names, contents, dtypes and shapes."""
    frames = np.zeros((1, 4, 4, 3), np.uint8)
    keys = {
        request_key("1", {"frames": frames}),
        request_key("2", {"frames": frames}),
        request_key("1", {"frames": frames + 1}),
        request_key("1", {"frames": frames.reshape(1, 2, 8, 3)}),
        request_key("1", {"frames": frames.view(np.int8)}),
        request_key("1", {"pixels": frames}),
    }
    assert len(keys) == 6
    assert request_key("1", {"frames": frames[:, ::2]}) == request_key("1", {"frames": frames[:, ::2].copy()})


def test_texts_count_by_their_content() -> None:
    """The dtype's length of the longest text does not matter; where a text ends does."""
    inputs = {"scheduler": np.array([b"ddim"]), "speed": np.array([b"fast"])}
    key = request_key("1", inputs)
    assert request_key("1", {**inputs, "scheduler": np.array([b"ddim"], dtype="S9")}) == key
    assert request_key("1", {**inputs, "scheduler": np.array([b"ddim"], dtype=object)}) == key
    others = [np.array([b"unipc"]), np.array([b"ddim", b""]), np.array([b"dd", b"im"]), np.array([[b"ddim"]])]
    keys = {request_key("1", {**inputs, "scheduler": other}) for other in others}
    assert len(keys | {key}) == 5


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "swapped"])
def test_damaged_answers_are_not_used(tmp_path: Path, damage: str) -> None:
    """What a power loss leaves, and a file under another name, count as absent."""
    with WorkFolder(tmp_path / "work", FACTS) as folder:
        folder.save("k", ANSWER)
        folder.save("l", ANSWER)
        (path, other) = answers_in(tmp_path / "work")
        stored = bytearray(path.read_bytes())
        if damage == "flipped":
            stored[len(stored) // 2] ^= 1
        path.write_bytes({"cut": stored[:-5], "empty": b"", "flipped": stored, "swapped": other.read_bytes()}[damage])
        assert folder.load("k") is None
        assert folder.load("l") is not None


def test_other_facts_empty_the_folder_and_are_named(tmp_path: Path) -> None:
    """A change of the video empties the folder, and the user learns that it was the video."""
    with WorkFolder(tmp_path / "work", FACTS) as folder:
        folder.save("k", ANSWER)
    with WorkFolder(tmp_path / "work", {**FACTS, "video": "c"}) as folder:
        assert folder.changed == ["video"]
        assert folder.load("k") is None
        assert len(folder) == 0


def test_folder_of_a_running_job_is_left_to_it(tmp_path: Path) -> None:
    """A second job on the same output neither reads nor writes nor removes what the first one keeps."""
    with WorkFolder(tmp_path / "work", FACTS) as first, WorkFolder(tmp_path / "work", {"video": "z"}) as second:
        first.save("k", ANSWER)
        second.save("l", ANSWER)
        assert second.load("k") is None
        assert len(second) == 0
        assert "another job" in second.warnings[0]
        second.remove()
        assert first.load("k") is not None
        assert len(first) == 1


def test_full_folder_keeps_no_more_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Disk use is bounded; what is kept already stays usable."""
    with WorkFolder(tmp_path / "work", FACTS) as folder:
        folder.save("k", ANSWER)
        monkeypatch.setattr(work_folder, "MAX_BYTES", 1)
        folder.save("l", ANSWER)
        folder.save("m", ANSWER)
        assert len(folder) == 1
        assert folder.load("k") is not None
        assert len(folder.warnings) == 1
        folder.remove()
    assert not (tmp_path / "work").exists()


def test_full_disk_keeps_no_more_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room is left for the output itself."""
    monkeypatch.setattr(work_folder, "MIN_FREE_BYTES", 1 << 62)
    with WorkFolder(tmp_path / "work", FACTS) as folder:
        folder.save("k", ANSWER)
        assert "nearly full" in folder.warnings[0]
        assert len(folder) == 0


def test_file_in_the_folders_place_fails_with_its_name(tmp_path: Path) -> None:
    """The message names the path."""
    (tmp_path / "work").write_text("mine")
    with pytest.raises(OutputError, match=r"work: cannot be written"):
        WorkFolder(tmp_path / "work", FACTS)


def test_input_that_vanished_fails_as_media(tmp_path: Path) -> None:
    """A file that can no longer be read is not a defect of the program."""
    with pytest.raises(MediaError, match=r"in\.mp4: expected a readable file, got No such file"):
        file_digest(tmp_path / "in.mp4")


def test_folder_that_vanished_counts_as_empty(tmp_path: Path) -> None:
    """Removing it during a job does the job no harm."""
    with WorkFolder(tmp_path / "work", FACTS) as folder:
        folder.save("k", ANSWER)
        shutil.rmtree(tmp_path / "work")
        assert len(folder) == 0
        assert folder.load("k") is None
        folder.save("l", ANSWER)
        assert len(folder.warnings) == 1
        folder.remove()


def test_default_folder_is_hidden_beside_the_output(tmp_path: Path) -> None:
    """Every run finds the same folder, also if the output is a link."""
    (tmp_path / "link.mp4").symlink_to(tmp_path / "out.mp4")
    assert default_work_dir(tmp_path / "link.mp4") == tmp_path / ".out.mp4.work"
    default_work_dir(tmp_path / f"{'x' * 251}.mp4").mkdir()


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    """A folder that the user chose may hold other files; a finished job removes only its own."""
    (tmp_path / "film.part").write_text("mine")
    (tmp_path / "sub").mkdir()
    with WorkFolder(tmp_path, FACTS) as folder:
        folder.save("k", ANSWER)
        folder.remove()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.part", "sub"]
    drop_folder(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.part", "sub"]


def test_folder_of_an_earlier_run_that_cannot_be_removed_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result is complete by then; a full disk must not turn it into a failure."""
    with WorkFolder(tmp_path / "work", FACTS) as folder:
        folder.save("k", ANSWER)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(work_folder, "_write_facts", full)
    drop_folder(tmp_path / "work")
    assert (tmp_path / "work").is_dir()


def test_folder_that_cannot_be_used_is_unlocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failure to open it, the next job can have it."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(work_folder, "_write_facts", full)
        with pytest.raises(OutputError, match="the disk is full") as failure:
            WorkFolder(tmp_path / "work", FACTS)
    with WorkFolder(tmp_path / "work", FACTS) as folder:
        assert folder.is_ours, failure


def test_disk_without_locks_keeps_nothing_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job itself goes on."""

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with WorkFolder(tmp_path / "work", FACTS) as folder:
        folder.save("k", ANSWER)
        assert not folder.is_ours
        assert "No locks available" in folder.warnings[0]
