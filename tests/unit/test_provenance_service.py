"""Settings that sign the results of a whole service: checked when it starts, and told to its jobs by names of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.errors import UsageError
from client.option import OptionValues
from client.options import read_options
from client.provenance.certificates import CredentialFiles, make_credentials
from client.provenance.options import is_marking
from client.web.__main__ import main
from client.web.settings import build_parser
from client.web.signing import set_up_signing
from tests.unit.signing_credentials import issue

pytest.importorskip("c2pa")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> CredentialFiles:
    return make_credentials(tmp_path_factory.mktemp("credentials"), "Test Studio")


def set_up(*arguments: str) -> tuple[str | None, dict[str, str]]:
    environment: dict[str, str] = {}
    return set_up_signing(build_parser().parse_args(arguments), environment), environment


def test_jobs_are_told_by_their_environment(files: CredentialFiles) -> None:
    """Names of files alone; the key itself stays where it is."""
    signing = ("--sign-cert", str(files.certificate), "--sign-key", str(files.key))
    signer, environment = set_up(*signing, "--mark", "--timestamp-url", "http://127.0.0.1:9/")
    assert signer == "Test Studio"
    assert environment == {
        "LIPSYNC_SIGN_CERT": str(files.certificate), "LIPSYNC_SIGN_KEY": str(files.key),
        "LIPSYNC_TIMESTAMP_URL": "http://127.0.0.1:9/", "LIPSYNC_MARK": "1",
    }  # fmt: skip


def test_service_without_settings_signs_nothing() -> None:
    assert set_up() == (None, {})


def test_half_of_the_credentials_fails(files: CredentialFiles) -> None:
    with pytest.raises(UsageError, match="expected a certificate and its private key, got one of the two"):
        set_up("--sign-cert", str(files.certificate))


def test_service_does_not_start_with_bad_credentials(
    files: CredentialFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An expired certificate, another one's key, and a key that everybody can read: one line each."""
    for folder in ("expired", "other"):
        (tmp_path / folder).mkdir()
    certificate, key = issue(tmp_path / "expired", days=(-3, -1))
    other, _ = issue(tmp_path / "other")
    bare = tmp_path / "bare.key"
    bare.write_bytes(files.key.read_bytes())
    bare.chmod(0o644)
    cases = {
        (certificate, key): "which expired on",
        (other, files.key): "that of another one",
        (files.certificate, bare): "with mode 644",
    }
    for (signs, secret), said in cases.items():
        place = ("--data", str(tmp_path / "data"), "--port", "0")
        assert main([*place, "--sign-cert", str(signs), "--sign-key", str(secret)]) == 2
        error = capsys.readouterr().err.strip()
        assert said in error
        assert "\n" not in error
    assert not (tmp_path / "data").exists()


def test_service_does_not_start_with_a_mark_that_is_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    """LIPSYNC_MARK=false would have marked everything."""
    with pytest.raises(UsageError, match=r"\$LIPSYNC_MARK: expected 1 or 0, got 'false'"):
        set_up_signing(build_parser().parse_args([]), {"LIPSYNC_MARK": "false"})
    monkeypatch.setenv("LIPSYNC_MARK", "no")
    with pytest.raises(UsageError, match="expected 1 or 0, got 'no'"):
        is_marking(OptionValues())


@pytest.mark.parametrize(("variable", "default"), [("1", True), ("0", False), ("", False)])
def test_a_jobs_own_choice_of_the_mark_wins(variable: str, default: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIPSYNC_MARK", variable)
    assert is_marking(OptionValues()) == default
    for chosen in (True, False):
        assert is_marking(read_options({"mark": chosen})) == chosen
