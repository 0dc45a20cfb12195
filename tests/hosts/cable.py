"""A long, bad line: frames between two TAP devices, each of them late, and some of them lost.

The kernel's own (`tc … netem`) is a module that not every system has.
"""

import fcntl
import os
import random
import select
import struct
import threading
import time
from collections import deque

TUNSETIFF = 0x400454CA
TAP = 0x0002 | 0x1000  # without a header before each frame
FRAME = 2048  # bytes
LOSS = 0.05  # of the frames, in each direction
DELAY = 0.1  # seconds, in each direction: 200 ms for a question and its answer


class Cable:
    """A thread that carries frames until it is closed; its two ends are devices of these names."""

    def __init__(self, *names: str, seed: int = 1) -> None:
        self._chance = random.Random(seed)  # noqa: S311  # to be repeated, not secret
        self._ends = [_tap(name) for name in names]
        self._late: deque[tuple[float, int, bytes]] = deque()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._carry, name="cable", daemon=True)
        self.lost = 0
        self._thread.start()

    def close(self) -> None:
        """Stop, and take both devices away."""
        self._ending.set()
        self._thread.join()
        for end in self._ends:
            os.close(end)

    def _carry(self) -> None:
        while not self._ending.is_set():
            due = self._late[0][0] - time.monotonic() if self._late else DELAY
            readable, _, _ = select.select(self._ends, [], [], max(0.0, due))
            for end in readable:
                self._take(end)
            while self._late and self._late[0][0] <= time.monotonic():
                _, other, frame = self._late.popleft()
                _put(other, frame)

    def _take(self, end: int) -> None:
        frame = os.read(end, FRAME)
        other = self._ends[1 - self._ends.index(end)]
        if self._chance.random() < LOSS:
            self.lost += 1
        else:
            self._late.append((time.monotonic() + DELAY, other, frame))


def _tap(name: str) -> int:
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH22x", name.encode(), TAP))
    return end


def _put(end: int, frame: bytes) -> None:
    """Put a frame on the line; one that is down, or full, loses it."""
    try:
        os.write(end, frame)
    except OSError:
        return
