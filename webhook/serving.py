"""The app as its server calls it: a request takes a thread once its body is here, and not before.

granian calls `Served` by ASGI, in one event loop a process, where a body that does not come costs some
memory and no thread. A short body is read whole, within a deadline and a bound; then the app, which is
synchronous (WSGI), runs in a thread. A long one, such as a table, is handed to the app as a stream: the app
says who may send it before it reads, and each piece has a deadline.
"""

import asyncio
import io
import json
import sys
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any
from urllib.parse import unquote_to_bytes

from webhook.http import clients, headers
from worker import metrics
from worker.logs import log
from worker.machine import watchdog
from worker.settings import settings

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Environ = dict[str, Any]
Application = Callable[..., Iterable[bytes]]  # as WSGI calls it; nothing here gives it a `write`

# 32 may wait for a decision. With hundreds, some would time out waiting for one of the web's connections.
THREADS = 64
SEND_DEADLINE = 60.0  # seconds for a reader to take a piece of a streamed answer
SHORT = 1024 * 1024  # bytes; a longer body is a stream
MOST_READING = 2_000  # short bodies that are on their way at once
MOST_BYTES = 32 * 1024 * 1024  # of short bodies that are on their way

REFUSALS = {
    400: ("body_broken_off", "The body did not come whole; send it again."),
    408: ("body_timeout", "The body did not come in time; send it again, without a pause."),
    503: ("busy", "Too many bodies are on their way; send it again in a while."),
}


class BrokenOffError(ConnectionError):
    """The client went away before its body was complete."""


class BusyError(Exception):
    """As many bodies are on their way as this process reads at once."""


class Served:
    """An app as ASGI, with bodies read before a thread is taken."""

    def __init__(self, app: Application, *, watched: bool = False) -> None:
        """Serve `app`; `watched`, the process is ended once its event loop stands still."""
        self._app = app
        self._unwatched = watched
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="request")
        self._reading = 0
        self._bytes = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        loop = asyncio.get_running_loop()
        if self._unwatched:
            self._unwatched = False
            watchdog.watch()
            _live(loop)
        environ = _environ(scope)
        name = clients.request_id(environ.get("HTTP_X_REQUEST_ID"))
        environ["HTTP_X_REQUEST_ID"] = name
        try:
            environ["wsgi.input"] = await self._body(environ, receive, loop)
        except TimeoutError:
            return await _refuse(send, 408, name)
        except BusyError:
            return await _refuse(send, 503, name)
        except BrokenOffError:
            log.info("request broken off", method=scope["method"], request=name)
            return await _refuse(send, 400, name)  # heard by who is there: its chunks were none
        answer = Answer(self._app, environ, send, loop)
        await loop.run_in_executor(self._threads, answer.make)
        return await answer.finish()

    async def _body(
        self, environ: Environ, receive: Receive, loop: asyncio.AbstractEventLoop
    ) -> io.BufferedIOBase:
        length = environ.get("CONTENT_LENGTH")
        if (length is None and "HTTP_TRANSFER_ENCODING" not in environ) or length == "0":
            return io.BytesIO()
        if length and int(length) > SHORT:
            return io.BufferedReader(Stream(receive, loop), 1 << 16)
        if self._reading >= MOST_READING:
            raise BusyError
        self._reading += 1
        try:
            async with asyncio.timeout(_deadline()):
                return io.BytesIO(await self._collected(receive))
        finally:
            self._reading -= 1

    async def _collected(self, receive: Receive) -> bytes:
        """Read a body; of one that is too long without having said so, no more than shows that it is."""
        pieces: list[bytes] = []
        size, more = 0, True
        try:
            while more and size <= SHORT:
                piece, more = await _piece(receive)
                pieces.append(piece)
                size += len(piece)
                self._bytes += len(piece)
                if self._bytes > MOST_BYTES and more:
                    raise BusyError
            return b"".join(pieces)
        finally:
            self._bytes -= size


def _live(loop: asyncio.AbstractEventLoop) -> None:
    watchdog.alive()
    loop.call_later(watchdog.PATIENCE / 10, _live, loop)


class Stream(io.RawIOBase):
    """A long body, for the thread that reads it: each piece must come within the deadline."""

    def __init__(self, receive: Receive, loop: asyncio.AbstractEventLoop) -> None:
        self._receive = receive
        self._loop = loop
        self._piece = b""
        self._more = True

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what is there; 0 at the end, or where the client went away or was too slow."""
        while not self._piece and self._more:
            self._piece, self._more = self._next()
        size = min(len(buffer), len(self._piece))
        buffer[:size], self._piece = self._piece[:size], self._piece[size:]
        return size

    def _next(self) -> tuple[bytes, bool]:
        coming = asyncio.wait_for(_piece(self._receive), _deadline())
        try:
            return asyncio.run_coroutine_threadsafe(coming, self._loop).result()
        except (TimeoutError, BrokenOffError):
            return b"", False  # whoever reads compares the length


@dataclass
class Answer:
    """An answer of the app's, made in a thread."""

    app: Application
    environ: Environ
    send: Send
    loop: asyncio.AbstractEventLoop
    start: Message | None = None
    body: bytes = b""

    def make(self) -> None:
        """Run the app. An answer in one piece is kept for `finish`; of others each piece is sent at once."""
        pieces = self.app(self.environ, self._begin)
        try:
            rest = iter(pieces)
            self.body = next(rest, b"")
            if (second := next(rest, None)) is not None:
                self._stream(chain((self.body, second), rest))
        finally:
            if close := getattr(pieces, "close", None):
                close()

    async def finish(self) -> None:
        """Send what is left of it."""
        if self.start is not None:
            await self.send(self.start)
        await self.send({"type": "http.response.body", "body": self.body, "more_body": False})

    def _begin(self, status: str, headers: list[tuple[str, str]], _error: object = None) -> None:
        named = [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers
        ]
        self.start = {"type": "http.response.start", "status": int(status[:3]), "headers": named}

    def _stream(self, pieces: Iterable[bytes]) -> None:
        begun, self.start, self.body = self.start, None, b""
        self._sent(begun or {})
        for piece in pieces:
            self._sent({"type": "http.response.body", "body": piece, "more_body": True})

    def _sent(self, message: Message) -> None:
        """Send, and wait until the client has room, so that a slow one costs no memory."""
        sending = asyncio.wait_for(_awaited(self.send, message), SEND_DEADLINE)
        asyncio.run_coroutine_threadsafe(sending, self.loop).result()


def _deadline() -> float:
    """Give the seconds for a short body as a whole, and for each piece of a long one."""
    return settings().body_deadline.total_seconds()


async def _awaited(send: Send, message: Message) -> None:
    await send(message)


async def _piece(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] != "http.request":
        raise BrokenOffError
    return message.get("body", b""), message.get("more_body", False)


async def _refuse(send: Send, status: int, name: str) -> None:
    """Refuse a request whose body is not read; the connection ends, since the body would follow."""
    code, detail = REFUSALS[status]
    log.warning("request refused before its body was read", status=status, request=name)
    metrics.REQUESTS.add("other", "unread", str(status))
    title = code.replace("_", " ").capitalize()
    problem = {"type": f"/problems/{code}", "title": title, "status": status, "detail": detail}
    told = headers.every() | {
        "Content-Type": "application/problem+json",
        "Connection": "close",
        "Retry-After": "2",
        "X-Request-Id": name,
    }
    named = [(name.lower().encode(), value.encode()) for name, value in told.items()]
    await send({"type": "http.response.start", "status": status, "headers": named})
    await send({"type": "http.response.body", "body": json.dumps(problem).encode()})


def _environ(scope: Message) -> Environ:
    """Give a request's variables as WSGI has them (PEP 3333)."""
    host, port = scope.get("server") or ("", "")
    environ: Environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope["raw_path"].partition(b"?")[0]).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": (scope.get("client") or ("",))[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
    }
    for name, value in scope["headers"]:
        _add(environ, name.decode("latin-1").upper(), value.decode("latin-1"))
    return environ


def _add(environ: Environ, name: str, value: str) -> None:
    if "_" in name:
        return  # could pass for another header, such as X_Forwarded_For
    key = name.replace("-", "_")
    if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        key = f"HTTP_{key}"
    if key in environ:
        value = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{value}"
    environ[key] = value
