"""A receiver of webhooks as other people's systems have one: it answers as it is told to."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Received:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiving:
    """A running receiver: `answers` are given in turn, the last one again and again."""

    url: str = ""
    answers: list[int | Callable[[Any], None]] = field(default_factory=lambda: [200])
    received: list[Received] = field(default_factory=list)
    connections: int = 0

    def next_answer(self) -> int | Callable[[Any], None]:
        """Give the next answer, and keep the last one."""
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128


@contextmanager
def receiving(*answers: int | Callable[[Any], None]) -> Iterator[Receiving]:
    """Run a receiver on this machine until the block ends."""
    kept = Receiving()
    if answers:
        kept.answers = list(answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            kept.connections += 1

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            kept.received.append(
                Received(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            )
            answer = kept.next_answer()
            if callable(answer):
                answer(self)
            else:
                self.send_response(answer)
                self.send_header("content-length", "0")
                self.end_headers()

        def log_message(self, *args: object) -> None:
            """Stay quiet."""

    server = _Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    kept.url = f"http://127.0.0.1:{server.server_address[1]}/hooks"
    try:
        yield kept
    finally:
        server.shutdown()
        server.server_close()


def redirecting(to: str) -> Callable[[Any], None]:
    """Answer that the receiver is elsewhere."""

    def answer(handler: Any) -> None:
        handler.send_response(302)
        handler.send_header("location", to)
        handler.send_header("content-length", "0")
        handler.end_headers()

    return answer


def answering(status: int, **headers: str) -> Callable[[Any], None]:
    """Answer with a status and headers, such as retry_after."""

    def answer(handler: Any) -> None:
        handler.send_response(status)
        for name, value in {"content-length": "0", **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()

    return answer


def slow(seconds: float) -> Callable[[Any], None]:
    """Answer nothing for so long."""

    def answer(handler: Any) -> None:
        time.sleep(seconds)
        handler.close_connection = True

    return answer


def dripping(handler: Any) -> None:
    """Answer a byte now and then, and never to the end."""
    handler.close_connection = True
    for byte in b"HTTP/1.1 200 OK\r\n" + b"x-more: " + b"." * 1000:
        try:
            handler.wfile.write(bytes([byte]))
        except OSError:
            return
        time.sleep(0.05)


def endless(handler: Any) -> None:
    """Answer 200 with a body that has no end."""
    handler.close_connection = True
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b"x" * 65536)
    except OSError:
        return
