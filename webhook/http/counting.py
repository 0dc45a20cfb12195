"""What this process counted is added to the sums of all, by a thread of its own."""

import os
import threading
import time
from collections.abc import Callable

from worker import broker, requests
from worker.logs import log

CARRY_SECONDS = 5.0


class Carrier:
    """A thread that carries counts to the broker every few seconds."""

    def __init__(self) -> None:
        self._process = 0
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Have a thread in this process; of no cost once there is one."""
        if self._process == (pid := os.getpid()):
            return
        with self._lock:
            if self._process != pid:
                self._process = pid
                threading.Thread(target=self._carry, name="carrier", daemon=True).start()

    def _carry(self) -> None:
        while True:
            time.sleep(CARRY_SECONDS)
            _carry(broker.carry)
            _carry(requests.carry)


def _carry(what: Callable[[], None]) -> None:
    """Carry something; where that fails, the next round is another, and needs the thread."""
    try:
        what()
    except Exception as error:
        log.warning("counts not carried", error=type(error).__name__)


carrier = Carrier()
