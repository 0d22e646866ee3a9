"""Downloads where the hub answers as usual, and the host that it redirects to does not."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub", reason="no huggingface_hub; run: make test")

from export.shared import hub, transfer
from tests.export.hub_helpers import CONTENT, REVISION, assert_fails, part, publish
from tests.imitation_hub import CONTENT_PREFIX, Fault, ImitationHub, unused_port

EXPIRED = Fault(status=403, body=b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>")
BLOCKED = "The network may block that host: allow it, or run the command again later to resume"


@pytest.fixture
def file(imitation_hub: ImitationHub) -> hub.HubFile:
    return publish(imitation_hub)


def asked(imitation_hub: ImitationHub) -> list[str]:
    """The hub or its storage, by request."""
    return ["storage" if seen.path.startswith(CONTENT_PREFIX) else "hub" for seen in imitation_hub.seen]


@pytest.mark.parametrize(
    "fault",
    [
        Fault(cut=3000),
        Fault(cut=3000, sizeless=True),
        Fault(stall=3000),
        Fault(silent=True),
        EXPIRED,
        Fault(status=429),
        Fault(status=500),
    ],
)
def test_storage_that_fails_once_is_asked_by_a_new_address(
    imitation_hub: ImitationHub, file: hub.HubFile, fault: Fault
) -> None:
    """Each try begins at the hub, as signatures expire, and asks for what is missing only."""
    imitation_hub.content_faults = [fault]
    assert hub.fetch(file, "--unet").read_bytes() == CONTENT
    assert asked(imitation_hub) == ["hub", "storage"] * 2
    assert imitation_hub.ranges() == [None, "bytes=3000-" if fault.cut or fault.stall else None]


@pytest.mark.parametrize(
    ("fault", "got", "advice"),
    [
        (EXPIRED, "403 Forbidden from HOST. ", BLOCKED),
        (Fault(status=404), "404 Not Found from HOST. ", BLOCKED),
        (Fault(status=429), "429 Too Many Requests from HOST. Wait some minutes", "for a higher limit"),
        (Fault(status=500), "500 Internal Server Error from HOST. The server has a problem", "later to resume"),
        (Fault(cut=0), "a connection from HOST that ended after 0 of 10,240 bytes. ", hub.AGAIN),
        (Fault(stall=0), "no byte in 0.5 s from HOST. ", hub.AGAIN),
        (Fault(headers={"Content-Type": "text/html"}), "a web page. ", "log in there and run the command again"),
    ],
)
def test_storage_that_goes_on_failing_is_named(
    imitation_hub: ImitationHub, file: hub.HubFile, tmp_path: Path, fault: Fault, got: str, advice: str
) -> None:
    """In one line without the address's signature; nobody is told to accept terms or to log in to the hub for it."""
    imitation_hub.content_faults = [fault] * 3
    assert_fails(file, got.replace("HOST", imitation_hub.content_host), advice)
    assert not part(file, tmp_path).exists()


def test_storage_that_cannot_be_reached_is_named(imitation_hub: ImitationHub, file: hub.HubFile) -> None:
    """Instead of the hub, which was."""
    address = f"127.0.0.1:{unused_port()}"
    imitation_hub.faults = [Fault(status=302, headers={"Location": f"http://{address}/x?Signature=secret"})]
    assert_fails(file, f"no connection to {address} (Connection refused). ", "name a mirror in HF_ENDPOINT")


@pytest.mark.parametrize("headers", [{}, {"Content-Range": f"bytes */{len(CONTENT) - 1}"}])
def test_a_range_that_storage_refuses_is_given_up(
    imitation_hub: ImitationHub, file: hub.HubFile, headers: dict[str, str]
) -> None:
    """The file is downloaded from its start."""
    imitation_hub.content_faults = [Fault(cut=3000), Fault(status=416, headers=headers)]
    assert hub.fetch(file, "--unet").read_bytes() == CONTENT
    assert imitation_hub.ranges() == [None, "bytes=3000-", None]


def test_a_file_of_unknown_hash_is_complete_at_the_size_that_the_hub_tells(
    imitation_hub: ImitationHub, file: hub.HubFile
) -> None:
    """A transfer that was cut is not taken for the whole file, even if storage told no length."""
    imitation_hub.content_faults = [Fault(cut=3000, sizeless=True)]
    assert hub.fetch(replace(file, sha256=None), "--unet").read_bytes() == CONTENT


def test_the_token_follows_a_renamed_repository(
    imitation_hub: ImitationHub, file: hub.HubFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub redirects to itself, and a gated file needs the token there too; storage still does not get it."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    imitation_hub.add("owner/renamed", REVISION, file.file, CONTENT)
    new_path = f"/owner/renamed/resolve/{REVISION}/{file.file}"
    imitation_hub.faults = [Fault(status=307, headers={"Location": new_path})]
    hub.fetch(file, "--unet")
    sent = [seen.headers.get("Authorization") for seen in imitation_hub.seen]
    assert sent == ["Bearer hf_secret", "Bearer hf_secret", None]


def test_what_a_killed_run_left_is_resumed_or_refused(
    imitation_hub: ImitationHub, file: hub.HubFile, tmp_path: Path
) -> None:
    """Never taken for the file: its rest is downloaded and its hash checked, and a damaged one is deleted."""
    path = part(file, tmp_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT[:3000])
    hub.fetch(file, "--unet").unlink()
    assert imitation_hub.ranges() == ["bytes=3000-"]
    path.write_bytes(bytes(len(CONTENT)))
    with pytest.raises(ValueError, match=r"got .* It was deleted: run the command again"):
        hub.fetch(file, "--unet")
    assert hub.fetch(file, "--unet").read_bytes() == CONTENT
    assert not path.exists()


def test_what_hugging_faces_client_left_unfinished_is_not_used(
    imitation_hub: ImitationHub, file: hub.HubFile, tmp_path: Path
) -> None:
    """It belongs to that client, which resumes or removes it."""
    unfinished = tmp_path / "hugging-face" / "models--owner--name" / "blobs" / f"{file.sha256}.incomplete"
    unfinished.parent.mkdir(parents=True)
    unfinished.write_bytes(CONTENT[:3000])
    assert hub.fetch(file, "--unet").read_bytes() == CONTENT
    assert unfinished.stat().st_size == 3000


def test_unfinished_files_are_not_kept_for_ever(imitation_hub: ImitationHub, file: hub.HubFile, tmp_path: Path) -> None:
    """One of another revision goes after two weeks, unless a process writes to it; one whose file is there, at once."""
    folder = part(file, tmp_path).parent.parent
    old, new, busy = (folder / name / "unet.pt.part" for name in ("old", "new", "busy"))
    for path in (old, new, busy):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"unfinished")
        if path != new:
            os.utime(path, (time.time() - hub.KEPT_S - 1,) * 2)
    with busy.open("ab", buffering=0) as writing:
        transfer._lock(writing)
        hub.fetch(file, "--unet")
    assert not old.parent.exists()
    assert new.exists()
    assert busy.exists()
    part(file, tmp_path).write_bytes(CONTENT[:3000])
    hub.fetch(file, "--unet")
    assert not part(file, tmp_path).exists()


def test_a_hub_behind_a_mirror_refuses_for_itself(imitation_hub: ImitationHub, file: hub.HubFile) -> None:
    """Its own refusal is no expired address: it is not tried again, and terms or a token are advised."""
    imitation_hub.content_faults = [Fault(status=401, headers={"X-Error-Code": "GatedRepo"})]
    with pytest.raises(ValueError, match="401 Unauthorized from .*HF_TOKEN"):
        hub.fetch(file, "--unet")
    assert asked(imitation_hub) == ["hub", "storage"]


def test_a_second_download_leaves_the_first_ones_file(
    imitation_hub: ImitationHub, file: hub.HubFile, tmp_path: Path
) -> None:
    """Also before its first byte: the first would write to a file without a name."""
    path = part(file, tmp_path)
    path.parent.mkdir(parents=True)
    with path.open("ab", buffering=0) as writing:
        transfer._lock(writing)
        with pytest.raises(ValueError, match="another process"):
            hub.fetch(file, "--unet")
        assert path.exists()
