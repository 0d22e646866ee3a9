"""Tells web addresses of jobs that have ended: signed, repeated until they answer, never to an inner address.

Messages are signed as Standard Webhooks (https://www.standardwebhooks.com) has it, so that its libraries verify them.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import time

import httpx

from client.storage import AddressRefused
from client.storage.url_guard import UrlGuard, new_client
from client.web.callback_names import CALLBACK_URL, ID, SIGNATURE, TIMESTAMP
from client.web.callback_store import Callback
from client.web.job_views import job_view
from client.web.service import Service
from client.web.settings import SECRET_PREFIX

STEP_S = 10.0  # timeout of each step of an attempt
TOTAL_S = 20.0  # timeout of an attempt; less than a lease
logger = logging.getLogger("client.web")


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the signature of a message: HMAC-SHA256 of id, timestamp and body."""
    plain = not secret.startswith(SECRET_PREFIX)
    key = secret.encode() if plain else base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    digest = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


class CallbackSender:
    """Sends what is due, several at once."""

    def __init__(self, service: Service) -> None:
        """Send the callbacks of this service's jobs."""
        self._service = service
        self._store = service.callbacks
        self._guard: UrlGuard = service.guard

    async def send_due(self) -> None:
        """Make an attempt at every callback that is due."""
        due = await asyncio.to_thread(self._store.take_due)
        await asyncio.gather(*map(self._attempt, due))

    async def _attempt(self, callback: Callback) -> None:
        answer = await self.send(callback)
        again = await asyncio.to_thread(self._store.note, callback, answer)
        if answer:
            what = "it is tried again later" if again else "it is given up"
            logger.warning("callback of job %s: %s; %s", callback.record.id, answer, what)

    async def send(self, callback: Callback) -> str:
        """Send one message; returns why it was not taken, "" if it was."""
        secret = self._service.settings.callback_secret_of(callback.user)
        if secret is None:
            return "there is no secret to sign it with"
        view = job_view(callback.record, keep_s=self._service.settings.keep_s)
        body, now = view.model_dump_json().encode(), int(time.time())
        headers = {
            "Content-Type": "application/json",
            ID: callback.id,
            TIMESTAMP: str(now),
            SIGNATURE: signature(secret, callback.id, now, body),
        }
        try:
            async with asyncio.timeout(TOTAL_S), new_client(STEP_S) as client:
                target = await self._guard.check(CALLBACK_URL, callback.url)
                request = target.request(client, "POST", timeout_s=STEP_S, headers=headers, content=body)
                response = await client.send(request, stream=True)  # whatever the answer says is not read
                await response.aclose()
        except AddressRefused as error:
            return str(error)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError):
            return "no answer"
        return "" if response.is_success else f"status {response.status_code}"
