"""Handling of SIGINT, SIGTERM and SIGHUP around work that must not be left half done."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AGAIN = 0.01  # seconds


@contextmanager
def undisturbed() -> Iterator[None]:
    """Defer terminating signals until the block is complete."""
    arrived: list[int] = []
    with _handling(ENDINGS, lambda number, _: arrived.append(number)):
        yield
    for number in arrived[:1]:
        signal.raise_signal(number)


@contextmanager
def exiting_when_told() -> Iterator[None]:
    """Raise SystemExit on signals that would end this process at once, so that it cleans up."""
    unhandled = [number for number in ENDINGS if signal.getsignal(number) == signal.SIG_DFL]
    with _handling(unhandled, lambda number, _: sys.exit(128 + number)), _heard_by_destructors():
        yield


@contextmanager
def _heard_by_destructors() -> Iterator[None]:
    """Send a signal again that ended nothing: what a destructor (`__del__`) raises is ignored."""
    before = sys.unraisablehook

    def send_again(ignored: "sys.UnraisableHookArgs") -> None:
        match ignored.exc_value:
            case SystemExit(code=int(code)) if code - 128 in ENDINGS:
                number = code - 128
            case KeyboardInterrupt():
                number = signal.SIGINT
            case _:
                before(ignored)
                return
        threading.Timer(AGAIN, os.kill, (os.getpid(), number)).start()

    sys.unraisablehook = send_again
    try:
        yield
    finally:
        sys.unraisablehook = before


@contextmanager
def interruptible() -> Iterator[None]:
    """Restore SIGINT, which shells ignore in the background jobs of a script."""
    with _handling([signal.SIGINT], signal.default_int_handler):
        yield


@contextmanager
def _handling(
    numbers: Sequence[int], handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread handles signals, and only it is interrupted by them
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, handled in before.items():
            signal.signal(number, handled)
