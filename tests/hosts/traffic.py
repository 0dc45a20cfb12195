"""Signed webhooks at a steady rate, each posted until it is taken; and when each was posted and taken."""

import asyncio
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import httpx

from tests.faults.senders import History, redemption
from worker import signatures
from worker.client import PAUSE, TIMEOUT, Message

TRUSTING = ssl._create_unverified_context()  # noqa: S323  # the certificate is the lab's own


class Traffic:
    """Messages for new keys, posted by a thread of its own from `start` to `stop`."""

    def __init__(self, url: str, secret: str, codes: Iterator[str], per_second: float) -> None:
        self.history = History()
        self.begun: dict[str, float] = {}
        self.taken: dict[str, float] = {}
        self._url, self._secret = url, signatures.read_secret(secret)
        self._codes, self._pause = codes, 1 / per_second
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._flow()), daemon=True)

    def start(self) -> None:
        """Begin to post."""
        self._thread.start()

    def stop(self) -> History:
        """Begin no more, and wait until every message is taken."""
        self._stopping.set()
        self._thread.join()
        return self.history

    async def _flow(self) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=32)
        async with (
            httpx.AsyncClient(
                verify=TRUSTING, timeout=TIMEOUT, trust_env=False, limits=limits
            ) as client,
            asyncio.TaskGroup() as posting,
        ):
            due = time.monotonic()
            while not self._stopping.is_set():
                code = next(self._codes)
                posting.create_task(
                    self._post(client, redemption(code, f"{code}@example.org".lower()))
                )
                due = max(due + self._pause, time.monotonic())
                await asyncio.sleep(due - time.monotonic())

    async def _post(self, client: httpx.AsyncClient, message: Message) -> None:
        self.begun[message.webhook_id] = time.monotonic()
        while message.webhook_id not in self.taken:
            status, event = await self._tried(client, message)
            self.history.note(message.webhook_id, status, event)
            if 200 <= status < 300:
                self.taken[message.webhook_id] = time.monotonic()
            elif status and status < 500 and status != 429:
                return self.history.given_up.append(message.webhook_id)
            else:
                await asyncio.sleep(PAUSE)
        return None

    async def _tried(self, client: httpx.AsyncClient, message: Message) -> tuple[int, str | None]:
        headers = signed(self._secret, message)
        with suppress(httpx.TransportError, ValueError):
            answer = await client.post(self._url, content=message.body, headers=headers)
            return answer.status_code, answer.json().get("event")
        return 0, None


def signed(secret: bytes, message: Message) -> dict[str, str]:
    """Give a message's headers, signed now."""
    now = int(time.time())
    return {
        "content-type": "application/json",
        "webhook-id": message.webhook_id,
        "webhook-timestamp": str(now),
        "webhook-signature": signatures.sign(secret, message.webhook_id, now, message.body),
    }
