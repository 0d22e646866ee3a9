"""Credentials that sign results: how they are made, and which are refused before a job starts."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from client.errors import UsageError
from client.lipsync import main
from client.options import read_options
from client.provenance.certificates import CredentialFiles, make_credentials
from client.provenance.credentials import find_credentials, read_credentials
from tests.unit.signing_credentials import issue, write_key

pytest.importorskip("c2pa")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> CredentialFiles:
    return make_credentials(tmp_path_factory.mktemp("credentials"), "Test Studio")


def refusal(certificate: Path, key: Path) -> str:
    with pytest.raises(UsageError) as raised:
        read_credentials(certificate, key)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_made_credentials_sign(files: CredentialFiles) -> None:
    """Those of `lipsync credentials init` are accepted, and name the signer."""
    assert read_credentials(files.certificate, files.key).signer == "Test Studio"


def test_made_files_are_their_owners_alone(files: CredentialFiles) -> None:
    """Mode 600."""
    assert {stat.S_IMODE(path.stat().st_mode) for path in files.all} == {0o600}


def test_init_says_what_the_credentials_prove(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And what they do not; nothing of the key is printed."""
    assert main(["credentials", "init", str(tmp_path / "new"), "--name", "Studio"]) == 0
    printed = capsys.readouterr().out
    assert "What they do not prove: who that is" in printed
    assert "PRIVATE KEY" not in printed


def test_init_fails_where_credentials_are(files: CredentialFiles, capsys: pytest.CaptureFixture[str]) -> None:
    """No key is overwritten."""
    before = files.key.read_bytes()
    assert main(["credentials", "init", str(files.key.parent)]) == 2
    assert "expected a folder without credentials, got some" in capsys.readouterr().err
    assert files.key.read_bytes() == before


def test_credentials_are_found_in_the_environment(files: CredentialFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no option names them."""
    assert find_credentials(read_options({})) is None
    monkeypatch.setenv("LIPSYNC_SIGN_CERT", str(files.certificate))
    monkeypatch.setenv("LIPSYNC_SIGN_KEY", str(files.key))
    monkeypatch.setenv("LIPSYNC_TIMESTAMP_URL", "http://127.0.0.1:9/")
    found = find_credentials(read_options({}))
    assert found is not None
    assert found.timestamp_url == "http://127.0.0.1:9/"


def test_keys_show_in_no_text(files: CredentialFiles) -> None:
    """Neither the repr nor the fields that logs print hold the key."""
    assert "BEGIN" not in repr(read_credentials(files.certificate, files.key))


def test_world_readable_key_fails(files: CredentialFiles, tmp_path: Path) -> None:
    """Others could sign in this name."""
    key = tmp_path / "open.key"
    key.write_bytes(files.key.read_bytes())
    key.chmod(0o644)
    assert "expected a file that only its owner and group can use" in refusal(files.certificate, key)


def test_expired_certificate_fails(tmp_path: Path) -> None:
    """The line says since when."""
    assert "which expired on 20" in refusal(*issue(tmp_path, days=(-9, -2)))


def test_future_certificate_fails(tmp_path: Path) -> None:
    """The clock may be wrong."""
    assert "which starts on 20" in refusal(*issue(tmp_path, days=(2, 9)))


@pytest.mark.parametrize("purpose", [ExtendedKeyUsageOID.SERVER_AUTH, None])
def test_certificate_for_other_uses_fails(tmp_path: Path, purpose: object) -> None:
    """A web server's certificate, or one that says nothing."""
    assert "expected a certificate for signing" in refusal(*issue(tmp_path, purpose=purpose))  # type: ignore[arg-type]


def test_self_signed_certificate_fails(tmp_path: Path) -> None:
    """C2PA refuses them."""
    assert "which is signed by itself" in refusal(*issue(tmp_path, by_itself=True))


def test_authority_as_signer_fails(files: CredentialFiles) -> None:
    """It issues certificates, and signs nothing else."""
    assert "expected a certificate for signing" in refusal(files.authority, files.authority_key)


def test_key_of_another_certificate_fails(files: CredentialFiles, tmp_path: Path) -> None:
    """They are no pair."""
    other = write_key(tmp_path / "other.key", ec.generate_private_key(ec.SECP256R1()))
    assert "expected the private key of this certificate" in refusal(files.certificate, other)


def test_encrypted_key_fails(files: CredentialFiles, tmp_path: Path) -> None:
    """Nobody is asked for a password."""
    other = write_key(tmp_path / "other.key", ec.generate_private_key(ec.SECP256R1()), b"secret")
    assert "which is encrypted" in refusal(files.certificate, other)


def test_text_that_is_no_key_fails(files: CredentialFiles, tmp_path: Path) -> None:
    """Its content is not printed."""
    wrong = tmp_path / "wrong.key"
    wrong.write_text("secret words")
    wrong.chmod(0o600)
    assert "secret words" not in refusal(files.certificate, wrong)


def test_one_of_the_two_files_fails(files: CredentialFiles) -> None:
    """A certificate without its key."""
    with pytest.raises(UsageError, match="expected a certificate and its private key, got one of the two"):
        find_credentials(read_options({"sign_cert": str(files.certificate)}))


def test_timestamp_without_credentials_fails() -> None:
    """There would be no signature to stamp."""
    with pytest.raises(UsageError, match="timestamp_url: expected sign_cert and sign_key beside it"):
        find_credentials(read_options({"timestamp_url": "http://127.0.0.1:9/"}))


def test_timestamp_address_with_a_password_fails() -> None:
    """It would enter messages."""
    with pytest.raises(UsageError, match="an http or https address without a password"):
        read_options({"timestamp_url": "http://user:secret@example.org/"})
