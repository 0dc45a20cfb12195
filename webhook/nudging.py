"""Hints to the worker, sent beside the requests that ask for them: many requests, one hint."""

import os
import threading

from worker import tasks


class Nudger:
    """A thread that nudges whenever it was asked to since it last did."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._lock = threading.Lock()
        self._process = 0

    def ask(self) -> None:
        """Have the worker nudged, soon: what was committed before is seen. Never waits."""
        self._asked.set()
        if self._process != os.getpid():
            self._start()

    def _start(self) -> None:
        with self._lock:
            if self._process != os.getpid():
                self._process = os.getpid()
                threading.Thread(target=self._nudge, name="nudger", daemon=True).start()

    def _nudge(self) -> None:
        while self._asked.wait():
            self._asked.clear()
            tasks.nudge_settle()
