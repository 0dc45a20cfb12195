"""A line to a server that can be cut or frozen, as networks and servers are."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Line:
    """A TCP port that leads to another server's address, while nothing is wrong."""

    def __init__(self, target: str | tuple[str, int]) -> None:
        self._target = target
        self._flows = threading.Event()
        self._flows.set()
        self._changes = threading.Lock()
        self._open: list[socket.socket] = []
        self._listener: socket.socket
        self.port = 0
        self.mend()

    def freeze(self) -> None:
        """Accept everything and carry nothing."""
        self._flows.clear()

    def thaw(self) -> None:
        """Carry again, what was held back too."""
        self._flows.set()

    def cut(self) -> None:
        """End all connections and refuse new ones."""
        with self._changes:  # whoever is just let in is among those that end
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes whoever accepts
            self._listener.close()
            for end in self._open:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            self._open.clear()

    def mend(self) -> None:
        """Take connections again, at the same port."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                with self._changes:
                    if listener.fileno() < 0:  # cut meanwhile
                        near.close()
                        return
                    self._let_in(near)

    def _let_in(self, near: socket.socket) -> None:
        far = self._connect()
        self._open += [near, far]
        for source, sink in ((near, far), (far, near)):
            threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _connect(self) -> socket.socket:
        if isinstance(self._target, tuple):
            return socket.create_connection(self._target)
        far = socket.socket(socket.AF_UNIX)
        far.connect(self._target)
        return far

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._flows.wait()
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def line(target: str | tuple[str, int]) -> Iterator[Line]:
    """Lay a line for a while."""
    laid = Line(target)
    try:
        yield laid
    finally:
        laid.thaw()
        laid.cut()
