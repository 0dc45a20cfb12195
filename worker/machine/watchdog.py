"""Ends this process once it stands still, so that whoever supervises it starts another.

The C thread that keeps the time needs no lock of Python's: a loop that never returns is ended, too.
"""

import faulthandler
import sys

PATIENCE = 600.0  # seconds without a sign of life; more than twice the longest task

_watched = False


def watch() -> None:
    """Expect signs of life of this process from now on: `alive`, again and again."""
    global _watched
    _watched = True
    alive()


def alive() -> None:
    """Give a sign of life. Without another for `PATIENCE`, the process prints its stacks and exits with 1."""
    if _watched:
        faulthandler.dump_traceback_later(PATIENCE, exit=True, file=sys.__stderr__ or 2)


def rest() -> None:
    """Expect no signs of life until `watch` is called again."""
    global _watched
    _watched = False
    faulthandler.cancel_dump_traceback_later()
