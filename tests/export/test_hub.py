from __future__ import annotations

import fcntl
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub", reason="no huggingface_hub; run: make test")

from huggingface_hub import constants, hf_hub_download

from export.shared import hub, transfer
from tests.export.hub_helpers import CONTENT, REVISION, assert_fails, part, publish
from tests.imitation_hub import CONTENT_PREFIX, Fault, ImitationHub, unused_port


@pytest.fixture
def file(imitation_hub: ImitationHub) -> hub.HubFile:
    return publish(imitation_hub)


def test_a_file_is_downloaded_once(imitation_hub: ImitationHub, file: hub.HubFile) -> None:
    """Then it is read from the cache, its hash checked."""
    path = hub.fetch(file, "--unet")
    assert path.read_bytes() == CONTENT
    assert path.name == "unet.pt"
    requests = len(imitation_hub.seen)
    assert hub.fetch(file, "--unet") == path
    assert len(imitation_hub.seen) == requests


def test_a_token_goes_to_the_hub_alone(
    imitation_hub: ImitationHub, file: hub.HubFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not to the host that it redirects to."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.fetch(file, "--unet")
    for seen in imitation_hub.seen:
        expected = None if seen.path.startswith(CONTENT_PREFIX) else "Bearer hf_secret"
        assert seen.headers.get("Authorization") == expected


@pytest.mark.parametrize("fault", [Fault(cut=3000), Fault(stall=3000), Fault(status=500), Fault(status=503)])
def test_a_fault_that_passes_is_passed_over(imitation_hub: ImitationHub, file: hub.HubFile, fault: Fault) -> None:
    """The next try asks for what is missing only."""
    imitation_hub.faults = [fault]
    assert hub.fetch(file, "--unet").read_bytes() == CONTENT
    assert imitation_hub.ranges() == ["bytes=3000-" if fault.status == 200 else None]


def test_a_server_that_wants_a_pause_gets_it(
    imitation_hub: ImitationHub, file: hub.HubFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as Retry-After says; a long one ends the download at once."""
    pauses: list[float] = []
    monkeypatch.setattr(transfer.time, "sleep", pauses.append)
    imitation_hub.faults = [Fault(status=429, headers={"Retry-After": "1"})]
    hub.fetch(file, "--unet").unlink()
    assert pauses == [1]
    imitation_hub.faults = [Fault(status=429, headers={"Retry-After": "300"})]
    assert_fails(file, "429 Too Many Requests. Wait some minutes and run the command again", "for a higher limit")
    assert pauses == [1]


@pytest.mark.parametrize("fault", [Fault(cut=3000), Fault(stall=3000)])
def test_a_download_is_resumed_by_the_next_run(
    imitation_hub: ImitationHub, file: hub.HubFile, tmp_path: Path, fault: Fault
) -> None:
    """What arrived is kept under one name until the file is whole."""
    imitation_hub.faults = [fault] + [Fault(status=502)] * 2
    kept = part(file, tmp_path)
    assert_fails(
        file, f"502 Bad Gateway; the first 3,000 bytes are kept in {kept}. ", "run the command again later to resume"
    )
    assert kept.stat().st_size == 3000
    assert hub.fetch(file, "--unet").read_bytes() == CONTENT
    assert imitation_hub.ranges() == ["bytes=3000-"]
    assert not kept.exists()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault(cut=0), "a connection that ended after 0 of 10,240 bytes"),
        (Fault(stall=0), "no byte in 0.5 s"),
    ],
)
def test_a_connection_without_a_byte_fails(
    imitation_hub: ImitationHub, file: hub.HubFile, tmp_path: Path, fault: Fault, reason: str
) -> None:
    """After as many tries as configured; nothing stays behind."""
    imitation_hub.faults = [fault] * 3
    assert_fails(file, f"{reason}", "Run the command again to resume")
    assert imitation_hub.faults == []
    assert not list(tmp_path.rglob("*.part"))


def test_lost_bytes_alone_end_a_download(imitation_hub: ImitationHub, file: hub.HubFile) -> None:
    """Each try that brings some starts the count again."""
    imitation_hub.faults = [Fault(cut=1000)] * 6
    assert hub.fetch(file, "--unet").read_bytes() == CONTENT


@pytest.mark.parametrize("unfinished", [CONTENT, CONTENT + b"more"])
def test_an_unfinished_file_without_a_rest_is_completed(
    imitation_hub: ImitationHub, file: hub.HubFile, tmp_path: Path, unfinished: bytes
) -> None:
    """It is whole already, or starts again if it is too long."""
    path = part(file, tmp_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(unfinished)
    assert hub.fetch(file, "--unet").read_bytes() == CONTENT


def test_a_server_without_ranges_starts_again(imitation_hub: ImitationHub, file: hub.HubFile) -> None:
    """The whole file replaces what was there."""
    imitation_hub.faults = [Fault(cut=3000), Fault(ignores_range=True)]
    assert hub.fetch(file, "--unet").read_bytes() == CONTENT


REFUSALS = {
    401: ("401 Unauthorized", "It wants a token: log in with `hf auth login`, name a token in HF_TOKEN"),
    403: ("403 Forbidden", "/owner/name while logged in, and name your token in HF_TOKEN"),
    404: ("404 Not Found", "or the mirror in HF_ENDPOINT does not have it: unset HF_ENDPOINT if it is set"),
    407: ("407 Proxy Authentication Required", "Give the proxy's user and password in the proxy variables"),
    451: ("451 Unavailable For Legal Reasons", "The server does not give it"),
    429: ("429 Too Many Requests", "log in with `hf auth login` for a higher limit"),
    500: ("500 Internal Server Error", "The server has a problem: run the command again later to resume"),
}


@pytest.mark.parametrize("status", REFUSALS)
def test_a_refusal_says_what_helps(imitation_hub: ImitationHub, file: hub.HubFile, tmp_path: Path, status: int) -> None:
    """By its status; those that don't pass by themselves are not tried again."""
    imitation_hub.faults = [Fault(status=status)] * 3
    assert_fails(file, *REFUSALS[status])
    assert len(imitation_hub.seen) == (3 if status in (429, 500) else 1)
    assert not part(file, tmp_path).exists()


def test_a_refused_token_is_named(
    imitation_hub: ImitationHub, file: hub.HubFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A public file is refused too if the token has expired."""
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    imitation_hub.faults = [Fault(status=401)]
    assert_fails(file, "401 Unauthorized. Your token was refused: ", "renew it with `hf auth login`, or unset HF_TOKEN")


def test_a_missing_file_fails(file: hub.HubFile, imitation_hub: ImitationHub) -> None:
    """At once."""
    imitation_hub.files.clear()
    assert_fails(file, *REFUSALS[404])


def test_a_web_page_is_no_file(imitation_hub: ImitationHub, file: hub.HubFile) -> None:
    """As networks send that want a login."""
    imitation_hub.faults = [Fault(headers={"Content-Type": "text/html; charset=utf-8"}, body=b"<html>Log in")]
    assert_fails(file, "a web page. A proxy or the network may want", "log in there and run the command again")


def test_another_hash_fails_and_is_not_kept(imitation_hub: ImitationHub, file: hub.HubFile, tmp_path: Path) -> None:
    """So running the command again helps, as it says."""
    imitation_hub.faults = [Fault(body=b"other")]
    with pytest.raises(ValueError, match=f"expected sha256 {file.sha256}, got .* It was deleted: run the command"):
        hub.fetch(file, "--unet")
    assert not part(file, tmp_path).exists()
    assert hub.fetch(file, "--unet").read_bytes() == CONTENT


def test_a_file_of_unknown_hash_is_downloaded_once(imitation_hub: ImitationHub, file: hub.HubFile) -> None:
    """Whatever it holds; it is kept by its revision."""
    unknown = hub.HubFile(file.repository, file.revision, file.file, None)
    path = hub.fetch(unknown, "--unet")
    assert (path.read_bytes(), path.parent.name) == (CONTENT, REVISION)
    requests = len(imitation_hub.seen)
    assert hub.fetch(unknown, "--unet") == path
    assert len(imitation_hub.seen) == requests


def test_a_damaged_copy_is_downloaded_again(imitation_hub: ImitationHub, file: hub.HubFile) -> None:
    """Without anybody having to delete it."""
    path = hub.fetch(file, "--unet")
    path.write_bytes(CONTENT[:-1] + b"!")
    assert hub.fetch(file, "--unet").read_bytes() == CONTENT


@pytest.mark.parametrize("intact", [True, False])
def test_hugging_faces_cache_is_read(
    imitation_hub: ImitationHub, file: hub.HubFile, tmp_path: Path, intact: bool
) -> None:
    """A damaged file there, behind its link, is left alone and not used."""
    repository = tmp_path / "hugging-face" / "models--owner--name"
    blob, link = repository / "blobs" / file.sha256, repository / "snapshots" / REVISION / "folder" / "unet.pt"
    for folder in (blob.parent, link.parent):
        folder.mkdir(parents=True)
    blob.write_bytes(CONTENT if intact else b"damaged")
    link.symlink_to(blob)
    path = hub.fetch(file, "--unet")
    assert path.read_bytes() == CONTENT
    assert (path == link) is intact
    assert bool(imitation_hub.seen) is not intact


def test_hugging_faces_own_download_is_used(
    imitation_hub: ImitationHub, file: hub.HubFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client takes the imitation for the hub, and what it has downloaded is not downloaded again."""
    template = f"{imitation_hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    path = hf_hub_download(file.repository, file.file, revision=file.revision)
    assert "HEAD" in {seen.method for seen in imitation_hub.seen}
    requests = len(imitation_hub.seen)
    assert hub.fetch(file, "--unet") == Path(path)
    assert Path(path).read_bytes() == CONTENT
    assert len(imitation_hub.seen) == requests


def test_no_network_is_told_at_once(file: hub.HubFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the host that was not reached."""
    address = f"127.0.0.1:{unused_port()}"
    monkeypatch.setattr(constants, "ENDPOINT", f"http://{address}")
    advice = "Check the network and the proxy variables, name a mirror in HF_ENDPOINT"
    assert_fails(file, f"no connection to {address} (Connection refused). ", advice)
    monkeypatch.setattr(constants, "ENDPOINT", "http://nowhere.invalid")
    assert_fails(file, "no connection to nowhere.invalid (", advice)


def test_no_network_in_the_middle_is_waited_for(imitation_hub: ImitationHub, file: hub.HubFile) -> None:
    """It was there a moment ago; the tries are counted."""
    imitation_hub.faults = [Fault(cut=3000), Fault(status=302, headers={"Location": "http://nowhere.invalid/x"})]
    assert hub.fetch(file, "--unet").read_bytes() == CONTENT


def test_a_proxy_is_used_and_named(
    imitation_hub: ImitationHub, file: hub.HubFile, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without its password; no_proxy goes past it."""
    monkeypatch.setattr(constants, "ENDPOINT", "http://hub.invalid")
    monkeypatch.setenv("http_proxy", f"http://user:secret@127.0.0.1:{imitation_hub.port}")
    monkeypatch.setenv("no_proxy", "localhost")
    assert hub.fetch(file, "--unet").read_bytes() == CONTENT
    assert imitation_hub.seen[0].host == "hub.invalid"
    shutil.rmtree(part(file, tmp_path).parent)
    port = unused_port()
    monkeypatch.setenv("http_proxy", f"http://user:secret@127.0.0.1:{port}")
    advice = "Check the network and the proxy variables, name a mirror in HF_ENDPOINT"
    assert_fails(file, f"no connection to hub.invalid through the proxy 127.0.0.1:{port} (Connection", advice)
    monkeypatch.setenv("no_proxy", "hub.invalid")
    assert_fails(file, "no connection to hub.invalid (", advice)
    monkeypatch.setattr(constants, "ENDPOINT", "https://secure.invalid")
    monkeypatch.setenv("https_proxy", imitation_hub.url)
    assert_fails(file, f"no connection to secure.invalid through the proxy {imitation_hub.url[7:]} (Tunnel", advice)


def test_a_network_that_is_switched_off_is_not_asked(
    imitation_hub: ImitationHub, file: hub.HubFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HF_HUB_OFFLINE is named; a copy in the cache is used."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"as HF_HUB_OFFLINE is set, got none. Unset it, or get .* give it with --un"):
        hub.fetch(file, "--unet")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    path = hub.fetch(file, "--unet")
    requests = len(imitation_hub.seen)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub.fetch(file, "--unet") == path
    assert len(imitation_hub.seen) == requests


def test_a_full_disk_is_noticed_before_the_download(
    imitation_hub: ImitationHub, file: hub.HubFile, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As soon as the server says the size."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(transfer, "disk_usage", lambda _folder: usage(1, 1, 5000))
    assert_fails(file, "5,000 free bytes in ", "name a folder on another disk in XDG_CACHE_HOME")
    assert not part(file, tmp_path).exists()


def test_a_disk_that_fills_up_ends_a_download(
    imitation_hub: ImitationHub, file: hub.HubFile, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In one line, while it is written."""
    path = part(file, tmp_path)
    path.parent.mkdir(parents=True)
    path.symlink_to("/dev/full")
    assert_fails(file, "no free bytes in ", "name a folder on another disk in XDG_CACHE_HOME")


def test_two_processes_do_not_write_one_file(imitation_hub: ImitationHub, file: hub.HubFile, tmp_path: Path) -> None:
    """The second one says so, and leaves the file alone."""
    path = part(file, tmp_path)
    path.parent.mkdir(parents=True)
    with path.open("wb") as other:
        other.write(CONTENT[:100])
        other.flush()
        fcntl.flock(other, fcntl.LOCK_EX)
        assert_fails(file, f"another process that writes to {path}. ", "Wait until it has ended")
    assert path.read_bytes() == CONTENT[:100]


def test_an_endpoint_that_is_no_address_fails(file: hub.HubFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its variable is named."""
    monkeypatch.setattr(constants, "ENDPOINT", "mirror.example")
    with pytest.raises(ValueError, match="HF_ENDPOINT: expected an address that begins with https://, got 'mirror"):
        hub.fetch(file, "--unet")
