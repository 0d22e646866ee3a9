"""Callbacks: signed, repeated, never lost, and never sent to an inner address."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from client.errors import UsageError
from client.web import callback_store
from client.web.app import create_app
from client.web.background import Background
from client.web.callbacks import CallbackSender, signature
from client.web.recovery import sweep
from client.web.service import Service
from client.web.settings import build_parser, settings_from
from tests.waiting import wait_until
from tests.web_receiver import Receiver, receiving
from tests.web_service import OTHER_TOKEN, TOKEN, TOKENS, bearer, files, make_service, open_client, problem

SECRET = "a-secret-for-tests-of-callbacks"


@pytest.fixture
def site() -> Iterator[Receiver]:
    """Whoever is called back."""
    with receiving() as running:
        yield running


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the next attempt follow at once."""
    monkeypatch.setattr(callback_store, "DELAYS_S", (0.0,) * 6)


def client_of(service: Service) -> TestClient:
    return TestClient(create_app(service))


def service_with(folder: Path, site: Receiver, secret: str | None = SECRET) -> Service:
    return make_service(folder, guard=site.guard(), callback_secret=secret)


def ended_job(client: TestClient, site: Receiver, path: str = "/hook") -> str:
    job = client.post("/jobs", files=files(), data={"callback_url": site.url(path)})
    assert job.status_code == 202, job.text
    client.post(f"/jobs/{job.json()['id']}/cancel")
    job_id: str = job.json()["id"]
    return job_id


def test_signature_is_that_of_the_standard() -> None:
    """The example of Standard Webhooks gives the signature that its libraries compute."""
    body = b'{"test": 2432232314}'
    made = signature("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_end_of_a_job_is_told(tmp_path: Path, site: Receiver, quick: None) -> None:
    """A receiver that fails twice gets the job at the third attempt, signed, each time with the same id."""
    site.statuses = [500, 307, 204]
    service = service_with(tmp_path, site)
    client = client_of(service)
    assert client.get("/limits").json()["callbacks_allowed"]
    job = client.post("/jobs", files=files(), data={"callback_url": site.url("/hook")}).json()
    assert job["callback"] == {"url": site.url("/hook"), "state": "waiting", "attempts": 0, "answer": ""}
    with Background(service):
        time.sleep(0.7)
        assert site.taken == []  # it has not ended
        service.store.claim(job["id"])
        service.store.finish(job["id"], {"frames": 3, "seconds": 1.0, "warnings": []})
        wait_until(lambda: client.get(f"/jobs/{job['id']}").json()["callback"]["state"] == "delivered")
    assert len(site.taken) == 3
    assert len({headers["webhook-id"] for headers, _ in site.taken}) == 1
    headers, body = site.taken[-1]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    assert headers["content-type"] == "application/json"
    told = json.loads(body)
    assert (told["id"], told["state"], told["report"]["frames"]) == (job["id"], "finished", 3)
    assert told["expires_at"] is not None
    assert client.get(f"/jobs/{job['id']}").json()["callback"]["attempts"] == 3


@pytest.mark.parametrize("end", ["fail", "cancel", "remove"])
def test_every_end_is_told(tmp_path: Path, site: Receiver, end: str) -> None:
    """Failed and cancelled jobs are told too, also if the job is removed before."""
    from client.web.failures import servers_failure

    service = service_with(tmp_path, site)
    client = client_of(service)
    job = client.post("/jobs", files=files(), data={"callback_url": site.url("/hook")}).json()
    if end == "fail":
        service.store.fail(job["id"], servers_failure("No"))
    elif end == "cancel":
        client.post(f"/jobs/{job['id']}/cancel")
    else:
        client.delete(f"/jobs/{job['id']}")
    with Background(service):
        wait_until(lambda: site.taken)
    assert json.loads(site.taken[0][1])["state"] == {"fail": "failed"}.get(end, "cancelled")


def test_attempts_go_on_after_a_restart(tmp_path: Path, site: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not delivered is kept with the time of its next attempt, whichever process makes it."""
    monkeypatch.setattr(callback_store, "DELAYS_S", (0.8,) * 6)
    site.statuses = [500, 200]
    first = service_with(tmp_path, site)
    job_id = ended_job(client_of(first), site)
    with Background(first):
        wait_until(lambda: site.taken)
    wait_until(lambda: (state := first.callbacks.state_of(job_id)) and state.answer == "status 500")
    second = service_with(tmp_path, site)
    with Background(second):
        wait_until(lambda: len(site.taken) == 2)
    assert site.taken[0][0]["webhook-id"] == site.taken[1][0]["webhook-id"]


def test_attempt_that_died_with_its_process_is_made_again(
    tmp_path: Path, site: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt belongs to its process for a while only; meanwhile nobody else makes it."""
    service = service_with(tmp_path, site)
    ended_job(client_of(service), site)
    assert len(service.callbacks.take_due()) == 1  # and then the process dies
    assert service.callbacks.take_due() == []
    monkeypatch.setattr(time, "time", lambda now=time.time: now() + callback_store.LEASE_S + 1)
    (again,) = service.callbacks.take_due()
    assert again.attempts == 2


def test_callback_is_given_up_in_the_end(
    tmp_path: Path, site: Receiver, quick: None, caplog: pytest.LogCaptureFixture
) -> None:
    """After the last attempt the job says why; the log names neither secret nor address."""
    site.statuses = [503]
    service = service_with(tmp_path, site)
    client = client_of(service)
    job_id = ended_job(client, site, "/hook?key=hidden")
    with caplog.at_level(logging.WARNING), Background(service):
        wait_until(lambda: client.get(f"/jobs/{job_id}").json()["callback"]["state"] == "given up", 30)
    told = client.get(f"/jobs/{job_id}").json()["callback"]
    assert (told["attempts"], told["answer"]) == (len(callback_store.DELAYS_S) + 1, "status 503")
    assert "it is given up" in caplog.text
    assert SECRET not in caplog.text
    assert "hidden" not in caplog.text
    assert SECRET not in repr(service.settings)


def test_redirect_fails_and_is_not_followed(tmp_path: Path, site: Receiver) -> None:
    """A receiver that moved has to be named anew."""
    site.statuses = [301]
    service = service_with(tmp_path, site)
    ended_job(client_of(service), site)
    (callback,) = service.callbacks.take_due()
    assert asyncio.run(CallbackSender(service).send(callback)) == "status 301"
    assert len(site.taken) == 1


@pytest.mark.parametrize(
    "url", ["http://inside.example:{port}/x", "http://unknown.example:{port}/x", "file:///etc/passwd", "http://a:b@x/"]
)
def test_inner_callback_address_fails(tmp_path: Path, site: Receiver, url: str) -> None:
    """An address that leads inside, or nowhere, is refused with the job, which is not made."""
    with_port = url.replace("{port}", str(site.server_port))
    client = client_of(service_with(tmp_path, site))
    said = problem(client.post("/jobs", files=files(), data={"callback_url": with_port}), 422)
    assert (said["type"], said["errors"][0]["name"]) == ("/problems/address-refused", "callback_url")
    assert client.get("/jobs").json()["total"] == 0
    assert list((tmp_path / "uploads").iterdir()) == []


def test_name_that_moves_inside_fails_later(tmp_path: Path, site: Receiver) -> None:
    """The guard looks at every attempt: a name that led outside first gets nothing once it leads inside."""
    service = service_with(tmp_path, site)
    ended_job(client_of(service), site)
    service.guard = make_service(tmp_path / "other").guard  # for which loopback is an inner address
    (callback,) = service.callbacks.take_due()
    assert "callback_url: expected" in asyncio.run(CallbackSender(service).send(callback))
    assert site.taken == []


def test_callbacks_fail_without_a_secret(tmp_path: Path, site: Receiver) -> None:
    """Without a secret of the service, or of the user, no job with a callback is accepted."""
    url = {"callback_url": site.url("/hook")}
    said = problem(client_of(service_with(tmp_path, site, None)).post("/jobs", files=files(), data=url), 403)
    assert said["type"] == "/problems/callbacks-off"
    secrets = {"callback_secret": SECRET, "callback_secrets": {"ann": SECRET}}
    with open_client(tmp_path / "users", guard=site.guard(), tokens=TOKENS, **secrets) as client:
        assert client.post("/jobs", files=files(), data=url, headers=bearer(TOKEN)).status_code == 202
        problem(client.post("/jobs", files=files(), data=url, headers=bearer(OTHER_TOKEN)), 403)


def test_one_user_does_not_keep_others_waiting(tmp_path: Path, site: Receiver) -> None:
    """However many callbacks of one user are due, each round has room for the others."""
    service = make_service(
        tmp_path,
        guard=site.guard(),
        tokens=TOKENS,
        callback_secrets=dict.fromkeys(TOKENS, SECRET),
        max_jobs_per_user=50,
    )
    client = client_of(service)
    for token, count in ((TOKEN, 12), (OTHER_TOKEN, 1)):
        for _ in range(count):
            sent = client.post("/jobs", files=files(), data={"callback_url": site.url("/x")}, headers=bearer(token))
            client.post(f"/jobs/{sent.json()['id']}/cancel", headers=bearer(token))
    users = [callback.user for callback in service.callbacks.take_due()]
    assert (users.count("ann"), users.count("bob")) == (callback_store.MAX_OF_USER, 1)


def test_callbacks_go_with_their_job(tmp_path: Path, site: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is over is forgotten when the job's record is."""
    from client.web import store

    service = service_with(tmp_path, site)
    job_id = ended_job(client_of(service), site)
    (callback,) = service.callbacks.take_due()
    service.callbacks.note(callback, "")
    service.store.delete(job_id)
    monkeypatch.setattr(store, "TOMBSTONE_S", -1.0)
    service.store.add("b" * 32, "ann", {}, "v", "a")  # the newest record stays for its revision
    for _ in range(2):
        sweep(service.settings, service.store, service.media)
    assert service.callbacks.state_of(job_id) is None


def settings_of(*arguments: str, **environment: str) -> object:
    return settings_from(build_parser().parse_args(arguments), environment)


def test_secrets_are_read(tmp_path: Path) -> None:
    """Users' secrets come from the environment, the service's own from a file."""
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    assert settings_of("--callback-secret-file", str(file)).callback_secret_of("10.0.0.1") == SECRET  # type: ignore[attr-defined]
    names = {"LIPSYNC_WEB_TOKENS": f"ann:{TOKEN}", "LIPSYNC_WEB_CALLBACK_SECRETS": f"ann:{SECRET}"}
    assert settings_of(**names).callback_secret_of("ann") == SECRET  # type: ignore[attr-defined]
    assert settings_of(**names).callback_secret_of("bob") is None  # type: ignore[attr-defined]


@pytest.mark.parametrize("content", [None, "short", "whsec_not base64 at all!", "\xe9" * 20])
def test_bad_secret_file_fails(tmp_path: Path, content: str | None) -> None:
    """A file that is missing, or holds no secret, is named; what it holds is not."""
    file = tmp_path / "secret"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UsageError, match="callback_secret_file: expected") as raised:
        settings_of("--callback-secret-file", str(file))
    assert content is None or content not in str(raised.value)


def test_secrets_without_their_tokens_fail(tmp_path: Path) -> None:
    """A secret of nobody, and one for all where each user has a token, are mistakes."""
    with pytest.raises(UsageError, match="LIPSYNC_WEB_CALLBACK_SECRETS: expected names that LIPSYNC_WEB_TOKENS has"):
        settings_of(LIPSYNC_WEB_CALLBACK_SECRETS=f"ann:{SECRET}")
    file = tmp_path / "secret"
    file.write_text(SECRET)
    with pytest.raises(UsageError, match="callback_secret_file: expected it where there are no tokens"):
        settings_of("--callback-secret-file", str(file), LIPSYNC_WEB_TOKENS=f"ann:{TOKEN}")
