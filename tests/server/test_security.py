from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from client.errors import AccessDenied, UsageError
from client.servers.access import ServerAccess
from client.servers.addresses import Address
from client.servers.calls import InferRequest
from client.servers.connection import TritonConnection
from client.servers.pool import ServerPool
from client.servers.security import Security, read_token
from lipsync_core.serving.access import Access
from lipsync_core.serving.ports import free_port
from lipsync_core.serving.server import EmbeddedServer, ServerOptions
from tests.certificates import Authority, Pair
from tests.server.clips import SPEECH, head_frame, write_video
from tests.server.toy_models import DOUBLE_CONFIG, DOUBLE_MODEL, write_model

pytestmark = pytest.mark.server

TOKEN = "callers-token-0123456789"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder, "authority")


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = tmp_path_factory.mktemp("toys")
    write_model(repository, "double", DOUBLE_CONFIG, DOUBLE_MODEL)
    return repository


def serve(toys: Path, access: Access | None = None) -> EmbeddedServer:
    return EmbeddedServer(ServerOptions(toys, ("double",), http_port=free_port(), access=access or Access()))


def by_tls(pair: Pair, client_ca: Path | None = None) -> Access:
    return Access(pair.certificate, pair.key, client_ca)


@pytest.fixture(scope="module")
def tls_server(toys: Path, authority: Authority) -> Iterator[EmbeddedServer]:
    with serve(toys, by_tls(authority.issue("server"))) as server:
        yield server


@pytest.fixture(scope="module")
def mutual_server(toys: Path, authority: Authority) -> Iterator[EmbeddedServer]:
    with serve(toys, by_tls(authority.issue("server"), authority.certificate)) as server:
        yield server


def double(url: str | Address, security: Security, transport: str = "auto") -> None:
    values = np.arange(100_000, dtype=np.float32)
    with TritonConnection(url, transport, security=security) as connection:  # type: ignore[arg-type]
        np.testing.assert_array_equal(
            connection.infer(InferRequest("double", {"values": values}))["doubled"], values * 2
        )


@pytest.mark.parametrize("transport", ["shm", "grpc"])
def test_tls_works(tls_server: EmbeddedServer, authority: Authority, transport: str) -> None:
    """Requests are answered by a server that the authority vouches for."""
    double(tls_server.url, Security(tls=True, ca=authority.certificate), transport)


def test_unknown_authority_fails(tls_server: EmbeddedServer, folder: Path) -> None:
    """A server that another authority vouches for is refused, and the message says which option to look at."""
    other = Authority(folder, "other")
    with pytest.raises(AccessDenied, match=r"tls_ca vouches for, got one refused: .*(certificate|issuer)"):
        double(tls_server.url, Security(tls=True, ca=other.certificate))


def test_public_authorities_alone_fail(tls_server: EmbeddedServer) -> None:
    """Without its certificate a private authority is not trusted."""
    with pytest.raises(AccessDenied, match="tls_ca"):
        double(tls_server.url, Security(tls=True))


def test_expired_certificate_fails(toys: Path, authority: Authority) -> None:
    """A certificate that has run out is refused by that reason."""
    with (
        serve(toys, by_tls(authority.issue("expired", days=-1))) as server,
        pytest.raises(AccessDenied, match="certificate has expired"),
    ):
        double(server.url, Security(tls=True, ca=authority.certificate))


def test_certificate_for_another_name_fails(toys: Path, authority: Authority) -> None:
    """A certificate for another host is refused by that reason; for the name that was looked up it is right."""
    security = Security(tls=True, ca=authority.certificate)
    with serve(toys, by_tls(authority.issue("named", host="triton.internal"))) as server:
        with pytest.raises(AccessDenied, match=r"mismatch.*127\.0\.0\.1"):
            double(server.url, security)
        double(Address(server.url, "triton.internal"), security)
        with pytest.raises(AccessDenied, match=r"mismatch.*elsewhere\.internal"):
            double(Address(server.url, "elsewhere.internal"), security)


def test_mutual_tls_works(mutual_server: EmbeddedServer, authority: Authority) -> None:
    """A client whose certificate the server's authority signed is let in."""
    mine = authority.issue("client")
    double(mutual_server.url, Security(True, authority.certificate, mine.certificate, mine.key))


def test_no_client_certificate_fails(mutual_server: EmbeddedServer, authority: Authority) -> None:
    """The message says that the server asks for one."""
    with pytest.raises(AccessDenied, match="expected a client certificate.*got no client certificate.*tls_cert"):
        double(mutual_server.url, Security(tls=True, ca=authority.certificate))


def test_client_certificate_of_another_authority_fails(
    mutual_server: EmbeddedServer, authority: Authority, folder: Path
) -> None:
    """The server refuses it, and the message says so."""
    stranger = Authority(folder, "third").issue("stranger")
    security = Security(True, authority.certificate, stranger.certificate, stranger.key)
    with pytest.raises(AccessDenied, match=r"stranger\.pem refused"):
        double(mutual_server.url, security)


def test_plain_client_of_an_encrypting_server_fails(tls_server: EmbeddedServer) -> None:
    """The message says to encrypt."""
    with pytest.raises(AccessDenied, match="got one that encrypts. Add tls"):
        double(tls_server.url, Security())


def test_encrypting_client_of_a_plain_server_fails(toys: Path) -> None:
    """The message says that the server does not encrypt."""
    with serve(toys) as server, pytest.raises(AccessDenied, match="expected a server that encrypts"):
        double(server.url, Security(tls=True))


def test_token_opens_a_restricted_server(toys: Path) -> None:
    """With the token requests are answered; without, or with a wrong one, they are refused at once."""
    with serve(toys, Access(token=TOKEN)) as server:
        double(server.url, Security(token=TOKEN))
        for security in (Security(), Security(token="guess")):
            with pytest.raises(AccessDenied, match="expected a token.*token_file"):
                double(server.url, security)


def test_pool_fails_with_the_same_message(tls_server: EmbeddedServer, folder: Path) -> None:
    """Several servers, or a name for them, are held to the same rules."""
    other = Authority(folder, "fourth")
    security = Security(tls=True, ca=other.certificate)
    with pytest.raises(AccessDenied, match="tls_ca"):
        ServerPool(ServerAccess((tls_server.url,), security=security))


def test_pool_checks_the_name_that_was_looked_up(
    toys: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind dns:/// the certificate must stand for the name, not for the addresses."""
    security = Security(tls=True, ca=authority.certificate)
    with serve(toys, by_tls(authority.issue("behind", host="triton.internal"))) as server:
        port = int(server.url.rpartition(":")[2])
        monkeypatch.setattr("client.servers.addresses._look_up", lambda name: [Address(server.url, name.host)])
        with ServerPool(ServerAccess((f"dns:///triton.internal:{port}",), security=security)) as pool:
            assert pool.infer(InferRequest("double", {"values": np.ones(3, np.float32)}))["doubled"].tolist() == [
                2,
                2,
                2,
            ]
        with pytest.raises(AccessDenied, match="mismatch"):
            ServerPool(ServerAccess((f"dns:///other.internal:{port}",), security=security))


def test_token_in_the_clear_fails() -> None:
    """A token never crosses a network unencrypted."""
    with pytest.raises(UsageError, match=r"192\.0\.2\.1:8001: expected tls beside a token"):
        ServerPool(ServerAccess(("192.0.2.1:8001",), security=Security(token="secret")))


def test_choices_that_do_not_go_together_fail(authority: Authority, folder: Path) -> None:
    """Each is told before anything is sent."""
    mine, other = authority.issue("mine"), authority.issue("theirs")
    right = Security(True, authority.certificate, mine.certificate, mine.key)
    for change, message in (
        ({"tls": False}, "Add tls"),
        ({"key": None}, "Give both"),
        ({"key": other.key}, "tls_cert, tls_key: expected a certificate and its private key in PEM"),
        ({"ca": folder / "missing.pem"}, "tls_ca: expected certificates.*missing.pem"),
        ({"ca": mine.key}, "tls_ca: expected certificates"),
        ({"token": "two\nlines"}, "token: expected one line"),
    ):
        with pytest.raises(UsageError, match=message):
            replace(right, **change)


def test_token_is_read_from_file_or_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file counts before the environment; neither, or an empty variable, means no token."""
    (tmp_path / "token").write_text("secret\n")
    monkeypatch.delenv("LIPSYNC_TOKEN", raising=False)
    assert read_token(None) is None
    monkeypatch.setenv("LIPSYNC_TOKEN", "")
    assert read_token(None) is None
    monkeypatch.setenv("LIPSYNC_TOKEN", "other")
    assert (read_token(None), read_token(tmp_path / "token")) == ("other", "secret")
    with pytest.raises(UsageError, match="token_file: expected a readable text file"):
        read_token(tmp_path / "missing")


def test_command_says_in_one_line_what_is_refused(
    tls_server: EmbeddedServer, folder: Path, lipsync_command: list[str], tmp_path: Path
) -> None:
    """The exit code is that of a server that cannot be reached, and nothing is written."""
    other = Authority(folder, "fifth")
    video = write_video(tmp_path / "head.mp4", [head_frame()] * 2)
    files = ["--video", str(video), "--audio", str(SPEECH), "--output", str(tmp_path / "out.mp4"), "--quiet"]
    command = [*lipsync_command, *files, "--url", tls_server.url, "--tls", "--tls-ca", str(other.certificate)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert len(done.stderr.splitlines()) == 1
    assert "--tls-ca vouches for" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["head.mp4"]
