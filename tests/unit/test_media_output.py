from __future__ import annotations

from pathlib import Path

from client.media.output import PendingFile


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
