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
from worker.client import PAUSE, TIMEOUT, TRY_AGAIN, Message

TRUSTING = ssl._create_unverified_context()  # noqa: S323  # the certificate is the lab's own
CONNECTIONS = 48  # of the sender; the proxy takes 64 from one address


class Traffic:
    """Messages for new keys, posted by a thread of its own from `start` to `stop`."""

    def __init__(self, url: str, secret: str, codes: Iterator[str], per_second: float) -> None:
        self.history = History()
        self.begun: dict[str, float] = {}
        self.taken: dict[str, float] = {}
        self.refused_at = 0.0  # when an answer last was none, or no 2xx
        self._url, self._secret = url, signatures.read_secret(secret)
        self._codes, self._pause = codes, 1 / per_second
        self._connections = asyncio.Semaphore(CONNECTIONS)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._failure: Exception | None = None

    def start(self) -> None:
        """Begin to post."""
        self._thread.start()

    def stop(self) -> History:
        """Begin no more, and wait until every message is taken; raises what ended it before."""
        self._stopping.set()
        self._thread.join()
        if self._failure:
            raise self._failure
        return self.history

    def _run(self) -> None:
        try:
            asyncio.run(self._flow())
        except Exception as error:
            self._failure = error

    async def _flow(self) -> None:
        async with (
            httpx.AsyncClient(verify=TRUSTING, timeout=TIMEOUT, trust_env=False) as client,
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
            async with self._connections:  # httpx' own bound costs much where hundreds wait
                answer = await self._answer(client, message)
            status = answer.status_code if answer else 0
            event = answer.json().get("event") if answer and status < 300 else None
            self.history.note(message.webhook_id, status, event)
            if event:
                self.taken[message.webhook_id] = time.monotonic()
            elif answer and status not in TRY_AGAIN:
                return self.history.given_up.append(message.webhook_id)
            else:
                self.refused_at = time.monotonic()
                await asyncio.sleep(_pause(answer))
        return None

    async def _answer(self, client: httpx.AsyncClient, message: Message) -> httpx.Response | None:
        with suppress(httpx.TransportError):
            headers = signed(self._secret, message)
            return await client.post(self._url, content=message.body, headers=headers)
        return None


def _pause(answer: httpx.Response | None) -> float:
    """Give the seconds to wait before a retry: those that the answer says, if it does."""
    asked = answer.headers.get("retry-after", "") if answer else ""
    return float(asked) if asked.isdecimal() else PAUSE


def signed(secret: bytes, message: Message) -> dict[str, str]:
    """Give a message's headers, signed now."""
    now = int(time.time())
    return {
        "content-type": "application/json",
        "webhook-id": message.webhook_id,
        "webhook-timestamp": str(now),
        "webhook-signature": signatures.sign(secret, message.webhook_id, now, message.body),
    }
