"""Hints to the worker, sent by a thread of their own: many requests share one hint."""

import os
import threading
import time

from flask import Response, after_this_request

from worker import tasks

COALESCE_SECONDS = 0.005  # seconds; requests within this time share one hint


class Nudger:
    """A thread that nudges each task that was asked for since its last round."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = threading.Event()
        self._tasks: set[str] = set()
        self._process = 0

    def ask(self, task: str) -> None:
        """Have a task nudged soon; the task will see what was committed before. Never waits."""
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
            time.sleep(COALESCE_SECONDS)


nudger = Nudger()


def after_commit(task: str) -> None:
    """Nudge a task after the request's transaction."""

    @after_this_request
    def _ask(response: Response) -> Response:
        nudger.ask(task)
        return response
