from __future__ import annotations

import json
from pathlib import Path

import pytest

from client.errors import UsageError
from client.servers.access import ServerAccess, read_access
from client.servers.connection import REQUEST_TIMEOUT_S
from client.servers.security import Security
from tests.certificates import Authority, Pair

TOKEN = "callers-token-0123456789"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"), "authority")


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    return authority.issue("client")


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIPSYNC_TOKEN", raising=False)


def test_access_survives_json(authority: Authority, pair: Pair) -> None:
    """A child process gets exactly what its parent has, with everything set and with nothing."""
    security = Security(True, authority.certificate, pair.certificate, pair.key, TOKEN)
    full = ServerAccess(("a:1", "b:2"), "grpc", 12.5, security)
    for access in (full, ServerAccess(), ServerAccess(("dns:///triton.internal:8001",), security=Security(tls=True))):
        text = access.as_json()
        assert "\n" not in text
        assert ServerAccess.from_json(text) == access
        assert ServerAccess.from_json(text.encode()) == access
    assert json.loads(full.as_json())["security"]["token"] == TOKEN


def test_renewed_token_reaches_child_processes(tmp_path: Path) -> None:
    """A token from a file is read again by each child process, and does not travel."""
    file = tmp_path / "token"
    file.write_text(TOKEN)
    access = read_access(["a:1"], token_file=file, tls=True)
    text = access.as_json()
    assert TOKEN not in text
    assert ServerAccess.from_json(text) == access
    file.write_text("renewed-token-0123456789")
    assert ServerAccess.from_json(text).security.token == "renewed-token-0123456789"


def test_token_shows_in_no_repr() -> None:
    """Logs and tracebacks print values by their repr."""
    access = ServerAccess(("127.0.0.1:1",), security=Security(token=TOKEN))
    assert access.security.token == TOKEN
    for value in (access, access.security):
        assert TOKEN not in repr(value)


def test_paths_become_absolute(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child process in another working directory finds the same files; links stay links."""
    folder = authority.certificate.parent
    (folder / "link.pem").symlink_to(authority.certificate)
    monkeypatch.chdir(folder)
    access = read_access(["a:1"], tls=True, tls_ca=Path("link.pem"))
    monkeypatch.chdir("/")
    assert access.security.ca == folder / "link.pem"
    assert ServerAccess.from_json(access.as_json()) == access


def test_access_gives_servers() -> None:
    """None without URLs; everything else has its default."""
    access = ServerAccess(("a:1,b:2",))
    servers = access.servers
    assert servers is not None
    assert [address.url for address in servers.fixed] == ["a:1", "b:2"]
    assert read_access(None).servers is None
    assert read_access(None) == ServerAccess((), "auto", REQUEST_TIMEOUT_S, Security())


def test_token_comes_from_file_or_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's token is for servers that are given by URL, and the file's counts before it."""
    (tmp_path / "token").write_text("secret\n")
    monkeypatch.setenv("LIPSYNC_TOKEN", TOKEN)
    assert read_access(None).security.token is None
    assert read_access(["a:1"]).security.token == TOKEN
    assert read_access(["a:1"], token_file=tmp_path / "token").security.token == "secret"


def test_security_without_url_fails(tmp_path: Path) -> None:
    """Without URLs there is nothing to encrypt, and nobody to send a token to."""
    message = "tls, token_file: expected url beside them, got none. Name the servers"
    for options in ({"tls": True}, {"token_file": tmp_path / "absent"}):
        with pytest.raises(UsageError, match=message):
            read_access(None, **options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=message):
        ServerAccess(security=Security(token=TOKEN))


def test_url_that_cannot_be_read_fails_at_once() -> None:
    """Not only when the first connection is made."""
    with pytest.raises(UsageError, match=r"expected HOST:PORT"):
        ServerAccess(("nonsense",))
