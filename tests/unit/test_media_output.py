from __future__ import annotations

from pathlib import Path

import pytest

from client.errors import OutputError
from client.media.output import PendingFile
from tests.media_clips import leftovers


def test_what_a_killed_job_left_is_removed(tmp_path: Path) -> None:
    """Hidden files that nobody works on any more don't pile up; those of running jobs and of other outputs stay."""
    final = tmp_path / "out[1].mp4"
    dead, other = tmp_path / ".out[1].mp4.0123abcd.part", tmp_path / ".out1.mp4.0123abcd.part"
    dead.touch()
    other.touch()
    first = PendingFile(final)
    second = PendingFile(final)
    assert not dead.exists()
    assert all(path.exists() for path in (first.part, second.part, other))
    first.publish()
    second.discard()
    assert sorted(tmp_path.iterdir()) == sorted([final, other])


@pytest.mark.parametrize("name", [f"{'x' * 251}.mp4", f"{'ä' * 125}.mp4"])
def test_the_longest_names_are_written(tmp_path: Path, name: str) -> None:
    """A name as long as the disk allows leaves room for the hidden file; abandoned ones are still found."""
    abandoned = PendingFile(tmp_path / name)
    abandoned.part.touch()
    left = abandoned.part.rename(abandoned.part.with_name(abandoned.part.name[:-13] + "01234567.part"))
    abandoned.discard()
    pending = PendingFile(tmp_path / name)
    assert not left.exists()
    pending.publish()
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_a_replaced_file_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    """Nobody may read the new file, or the unfinished one, who could not read the old one."""
    final = tmp_path / "out.mp4"
    final.touch()
    final.chmod(mode)
    pending = PendingFile(final)
    assert pending.part.stat().st_mode & 0o777 == mode | 0o600
    pending.publish()
    assert final.stat().st_mode & 0o777 == mode


def test_nothing_is_left_where_permissions_cannot_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that refuses permissions ends the job without a hidden file."""

    def refuse(path: Path, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    final = tmp_path / "out.mp4"
    final.touch()
    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(OutputError, match="permission denied"):
        PendingFile(final)
    assert leftovers(tmp_path) == []
