"""Watching a list: it is drawn again and again on a terminal until Ctrl-C."""

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from worker.cli import printing
from worker.cli.frame import wants_json
from worker.cli.system import system

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")

EVERY = 2  # seconds between two drawings


def watched(look: Callable[[], T], table: printing.Table) -> T | None:
    """Draw what `look` gives every two seconds until Ctrl-C; off a terminal, give it once to print."""
    if wants_json() or not sys.stdout.isatty():
        printing.warn("Without a terminal, or as JSON, the list is printed once.")
        return look()
    from rich.console import Console

    with system():
        redraw(look, table, Console())
    return None


def redraw(
    look: Callable[[], T],
    table: printing.Table,
    console: "Console",
    *,
    wait: Callable[[float], object] = time.sleep,
) -> None:
    """Draw what `look` gives, over what was drawn before, until it is interrupted."""
    from rich.live import Live

    try:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                live.update(table.drawn(look(), console.width), refresh=True)
                wait(EVERY)
    except KeyboardInterrupt:  # Ctrl-C is the normal end
        return
