"""Hints to the worker, sent beside the requests that ask for them: many requests, one hint."""

import os
import threading
import time

from flask import Response, after_this_request

from worker import tasks

REST = 0.005  # seconds: many requests at once are one hint


class Nudger:
    """A thread that nudges for each task that was asked for since it last did."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = threading.Event()
        self._tasks: set[str] = set()
        self._process = 0

    def ask(self, task: str) -> None:
        """Have the worker nudged, soon: what was committed before is seen. Never waits."""
        with self._lock:
            self._tasks.add(task)
            self._asked.set()
            if self._process != os.getpid():
                self._process = os.getpid()
                threading.Thread(target=self._nudge, name="nudger", daemon=True).start()

    def _nudge(self) -> None:
        while self._asked.wait():
            with self._lock:
                asked, self._tasks = self._tasks, set()
                self._asked.clear()
            for task in asked:
                tasks.nudge(task)
            time.sleep(REST)


nudger = Nudger()


def after_commit(task: str) -> None:
    """Nudge for a task once the request's transaction is over."""

    @after_this_request
    def _ask(response: Response) -> Response:
        nudger.ask(task)
        return response
