"""Several services over one PostgreSQL and one S3-compatible storage; and addresses that cannot be used."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from client.errors import UsageError
from client.web.__main__ import main
from client.web.settings import build_parser, settings_from
from client.web.store import JobStore
from tests.postgresql import PASSWORD, new_database, postgresql
from tests.s3_server import S3Server
from tests.web_service import NOWHERE, TOKEN, WebProcess, bearer, files, problem

KEY = {"Idempotency-Key": "one-key"}


def test_service_goes_on_where_a_killed_one_was(tmp_path: Path) -> None:
    """Jobs, files, keys, links and sign-outs of a service that was killed are there at another, on its own folder."""
    with postgresql() as address, S3Server(tmp_path / "s3") as s3:
        environment = {
            **s3.environment,
            "LIPSYNC_STORE": new_database(address, "jobs"),
            "LIPSYNC_WEB_TOKENS": f"ann:{TOKEN}",
        }
        arguments = ["--url", NOWHERE, "--workers", "0", "--media", "s3://media/jobs"]
        with (
            WebProcess(tmp_path / "one", *arguments, **environment) as one,
            WebProcess(tmp_path / "two", *arguments, **environment) as two,
            two.client(**bearer(TOKEN)) as client,
        ):
            with one.client(**bearer(TOKEN)) as first:
                job = first.post("/jobs", files=files(b"a video"), headers=KEY).json()
                gone = first.post("/jobs", files=files()).json()["id"]
                assert client.delete(f"/jobs/{gone}").status_code == 204
                first.post("/session", json={"token": TOKEN})
                cookie = {"Cookie": f"lipsync_session={first.cookies['lipsync_session']}"}
                first.delete("/session", headers=cookie)
            one.process.send_signal(signal.SIGKILL)
            one.process.wait(20)
            assert [known["id"] for known in client.get("/jobs").json()["jobs"]] == [job["id"]]
            assert client.get(job["links"]["video"]).content == b"a video"
            again = client.post("/jobs", files=files(b"a video"), headers=KEY)
            assert (again.json()["id"], again.headers["idempotent-replayed"]) == (job["id"], "true")
            with two.client(**cookie) as signed_out:
                problem(signed_out.get("/jobs"), 401)
            seen = Path(f"/proc/{two.process.pid}/cmdline").read_bytes().decode()
            assert PASSWORD not in seen
            assert client.post(f"/jobs/{job['id']}/cancel").json()["state"] == "cancelled"
            assert [name for name in s3.names() if gone in name] == []


def settings_of(*arguments: str, **environment: str) -> object:
    return settings_from(build_parser().parse_args(arguments), environment)


def test_address_of_the_records_is_read() -> None:
    """It comes from the option, else from the environment, and never shows in a log."""
    address = f"postgresql://ann:{PASSWORD}@host/jobs"
    settings = settings_of(LIPSYNC_STORE=address)
    assert settings.store == address  # type: ignore[attr-defined]
    assert PASSWORD not in repr(settings)
    assert (
        settings_of("--store", "postgresql://ann@host/jobs", LIPSYNC_STORE=address).store
        == "postgresql://ann@host/jobs"
    )  # type: ignore[attr-defined]


def test_password_on_the_command_line_fails() -> None:
    """Others can read a command line: the message says where the address belongs, without the password."""
    with pytest.raises(UsageError, match="store: expected an address without a password.*LIPSYNC_STORE") as raised:
        settings_of("--store", f"postgresql://ann:{PASSWORD}@host/jobs")
    assert PASSWORD not in str(raised.value)


@pytest.mark.parametrize("address", ["mysql://host/jobs", "jobs.sqlite3", "postgresql://host", "postgresql://h:x/jobs"])
def test_address_of_no_database_fails(address: str) -> None:
    """Other addresses are refused by the option's name."""
    with pytest.raises(UsageError, match="store: expected postgresql://USER@HOST:PORT/DATABASE, got something else"):
        JobStore(address)


def test_database_that_is_away_fails_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line names the address without its password."""
    monkeypatch.setenv("LIPSYNC_STORE", f"postgresql://ann:{PASSWORD}@127.0.0.1:1/jobs")
    assert main(["--port", "0", "--url", NOWHERE, "--data", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lipsync web: --store: expected a database at postgresql")
    assert PASSWORD not in line


def test_bad_storage_fails_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An address of no storage is named before anything is served."""
    assert main(["--port", "0", "--url", NOWHERE, "--data", str(tmp_path), "--media", "ftp://host/x"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lipsync web: --media: expected s3://BUCKET/PREFIX or a folder")
