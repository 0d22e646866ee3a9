from __future__ import annotations

from pathlib import Path

import pytest

from client.cli import serve
from client.errors import UsageError
from lipsync_core.serving.access import Access, read_token
from lipsync_core.serving.links import link_models
from lipsync_core.serving.server import ServerOptions

TOKEN = "callers-token-0123456789"


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    path = tmp_path / "some.pem"
    path.touch()
    return path


def test_closed_calls_have_a_new_secret_each_time() -> None:
    """A server without an operator's token makes up a random one, so that nobody can use it."""
    assert Access().arguments() != Access().arguments()


def test_guarded_endpoints_leave_http_its_health(pem: Path) -> None:
    """HTTP has no TLS here: once callers must identify themselves, all its APIs are closed but health."""
    for access in (Access(token=TOKEN), Access(pem, pem), Access(shares_memory=False)):
        (http,) = (text for text in access.arguments() if text.startswith("--http-restricted-api="))
        apis = http.partition("=")[2].partition(":")[0].split(",")
        assert {"inference", "model-config", "metadata", "shared-memory", "model-repository"} <= set(apis)
        assert "health" not in apis


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"certificate": "pem"}, "expected a certificate and its key"),
        ({"key": "pem"}, "expected a certificate and its key"),
        ({"client_ca": "pem"}, "expected a certificate beside the client CA"),
        ({"certificate": "pem", "key": "/no.key"}, "expected a PEM file, got /no.key"),
        ({"token": "short"}, "token: expected one of 16 to 256"),
        ({"token": "with:colon-0123456789"}, "token: expected one of 16 to 256"),
        ({"admin_token": "with,comma-0123456789"}, "admin token: expected one of 16 to 256"),
    ],
)
def test_access_fails_on_parts_that_do_not_fit(pem: Path, parts: dict[str, str], message: str) -> None:
    """Each message names what is wrong; a token's text is not repeated."""
    paths = {key: pem if text == "pem" else Path(text) for key, text in parts.items() if "token" not in key}
    tokens = {key: text for key, text in parts.items() if "token" in key}
    with pytest.raises(ValueError, match=message) as caught:
        Access(**paths, **tokens)  # type: ignore[arg-type]
    assert not any(text in str(caught.value) for text in tokens.values())


def test_read_token_fails_without_a_usable_file(tmp_path: Path) -> None:
    """A file that is absent, empty or not text."""
    for name, content in (("absent", None), ("empty", b"\n"), ("binary", b"\xff\xfe")):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"token: expected .*{name}"):
            read_token(tmp_path / name)


def test_serving_beyond_loopback_fails_unguarded(pem: Path) -> None:
    """Other hosts reach gRPC only with TLS and a token or certificates, and never with shared memory."""
    for access in (
        Access(),
        Access(pem, pem, shares_memory=False),
        Access(token=TOKEN, shares_memory=False),
        Access(pem, pem, token=TOKEN),
    ):
        with pytest.raises(ValueError, match=r"address: expected 127\.0\.0\.1 or ::1, or TLS"):
            ServerOptions(Path(), (), http_port=1, address="0.0.0.0", access=access)
    guarded = Access(pem, pem, token=TOKEN, shares_memory=False)
    assert ServerOptions(Path(), (), http_port=1, address="0.0.0.0", access=guarded).address == "0.0.0.0"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--address", "0.0.0.0"], "address: expected"),
        (["--tls-cert", "/no.pem"], "tls: expected"),
        (["--token-file", "/no"], "token: expected"),
    ],
)
def test_serve_fails_as_wrong_usage(arguments: list[str], message: str) -> None:
    """Before anything is started, as a usage error."""
    with pytest.raises(UsageError, match=message):
        serve.serve_command(["--models", "faces", *arguments])


def test_only_asked_for_models_are_linked(tmp_path: Path) -> None:
    """Tritonserver finds only what it is to serve, and an engine replaces its model's own files."""
    for name in ("one", "two", "three"):
        (tmp_path / "models" / name / "1").mkdir(parents=True)
        (tmp_path / "models" / name / "config.pbtxt").write_text(name)
    engine = tmp_path / "engines" / "two" / "1" / "model.plan"
    engine.parent.mkdir(parents=True)
    engine.write_bytes(b"engine")
    folder = link_models(tmp_path / "models", ["one", "two"], tmp_path / "links", tmp_path / "engines")
    assert sorted(path.name for path in folder.iterdir()) == ["one", "two"]
    assert (folder / "one").resolve() == tmp_path / "models" / "one"
    assert (folder / "two" / "config.pbtxt").read_text() == "two"
    assert (folder / "two" / "1" / "model.plan").read_bytes() == b"engine"
