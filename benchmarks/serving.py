"""Web servers for benchmarks: keypool's own, or an app to compare it with, on the same server."""

import http.client
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil

from webhook.__main__ import OPTIONS

KEYPOOL = "webhook.__main__:app"


@contextmanager
def served(folder: Path, app: str = KEYPOOL) -> Iterator[tuple[str, psutil.Process]]:
    """Serve an app with one process of granian's; give its address and that process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "granian", *OPTIONS, f"--port={port}", "--workers=1", app]
    with (folder / "web.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _await(f"http://127.0.0.1:{port}/healthz")
            yield f"http://127.0.0.1:{port}", psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait()


def memory_mb(server: psutil.Process) -> float:
    """Say how much memory the largest of a server's processes takes."""
    processes = [server, *server.children(recursive=True)]
    return max(process.memory_info().rss for process in processes) / (1 << 20)


def rate(address: str, requests: Sequence[bytes], *, senders: int = 8) -> float:
    """Send ready-made HTTP requests from some connections at once; say how many a second.

    Raises:
        RuntimeError: one was not answered with 2xx.
    """
    waiting, refused = iter(requests), []
    taking = threading.Lock()

    def send() -> None:
        with Connection(address) as connection:
            while True:
                with taking:
                    request = next(waiting, None)
                if request is None:
                    return
                if (status := connection.ask(request)) >= http.client.MULTIPLE_CHOICES:
                    refused.append(status)

    threads = [threading.Thread(target=send) for _ in range(senders)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = time.perf_counter() - begun
    if refused:
        raise RuntimeError(f"{len(refused)} of {len(requests)} were refused: {set(refused)}")
    return len(requests) / taken


class Connection:
    """A connection that sends bytes as they are: a client's own work would be most of the cost."""

    def __init__(self, address: str) -> None:
        url = urlsplit(address)
        self._socket = socket.create_connection((str(url.hostname), int(url.port or 80)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, request: bytes) -> int:
        """Send one request, read its whole answer, and give the status."""
        self._socket.sendall(request)
        answer = b""
        while (end := answer.find(b"\r\n\r\n")) < 0:
            answer += self._receive()
        head = answer[:end].lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        left = end + 4 + length - len(answer)
        while left > 0:
            left -= len(self._receive())
        return int(head.split(b" ", 2)[1])

    def _receive(self) -> bytes:
        if not (block := self._socket.recv(1 << 16)):
            raise ConnectionError("the server hung up")
        return block


def _await(url: str) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            if httpx.get(url, timeout=2, trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise TimeoutError(url)
