"""A small proxy on a loopback port, whose connections can be reset, go silent, or break midway.

A hole that swallows what is sent ends with a reset, for the bytes are gone. A network loses packets, and TCP
sends them again: to either side a cut that heals is a stall, and nobody is told of it.
"""

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Literal

Mode = Literal["pass", "reset", "hole", "half", "stall"]
LINGER = struct.pack("ii", 1, 0)  # a close becomes a reset


class Proxy:
    """Forwards to a port or a socket's path; `struck` counts the lines that its mode hit."""

    def __init__(self, target: Callable[[], socket.socket]) -> None:
        self._target, self.mode, self.struck = target, "pass", 0
        self._lines: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    @contextmanager
    def struck_by(self, mode: Mode) -> Iterator[None]:
        """Let a mode rule; afterwards every line that may have lost bytes is reset."""
        self.mode = mode
        if mode == "reset":
            self._reset_all()
        try:
            yield
        finally:
            self.mode = "pass"
            if mode != "stall":
                self._reset_all()

    def close(self) -> None:
        """Stop listening and hang up."""
        self._listener.close()
        self._reset_all()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        if self.mode == "reset":
            self._strike()
            return _reset(client)
        self._withhold()
        try:
            server = self._target()
        except OSError:
            return _reset(client)
        with self._lock:
            self._lines |= {client, server}
        back = threading.Thread(target=self._pump, args=(server, client, True), daemon=True)
        back.start()
        self._pump(client, server, False)
        back.join()
        with self._lock:
            self._lines -= {client, server}
        client.close()
        server.close()
        return None

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._withhold()
                if self.mode == "hole":
                    self._strike()
                elif self.mode == "half" and answers:
                    self._strike()
                    sink.sendall(data[: len(data) // 2])
                    break
                else:
                    sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _withhold(self) -> None:
        if self.mode == "stall":
            self._strike()
        while self.mode == "stall":
            time.sleep(0.02)

    def _strike(self) -> None:
        with self._lock:
            self.struck += 1

    def _reset_all(self) -> None:
        with self._lock:
            lines, self._lines = self._lines, set()
            if self.mode != "pass":
                self.struck += len(lines)
        for line in lines:
            with suppress(OSError):
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
                line.shutdown(socket.SHUT_RDWR)


def to_port(port: int) -> Callable[[], socket.socket]:
    """Connect to a loopback port."""
    return lambda: socket.create_connection(("127.0.0.1", port), timeout=None)


def to_path(path: str | os.PathLike[str]) -> Callable[[], socket.socket]:
    """Connect to a socket in the file system."""

    def connect() -> socket.socket:
        line = socket.socket(socket.AF_UNIX)
        line.connect(os.fspath(path))
        return line

    return connect


def _reset(line: socket.socket) -> None:
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
    line.close()
