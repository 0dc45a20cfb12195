"""Progress of long work: a bar on a terminal, else plain lines, both on standard error."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

EVERY = 5  # seconds between plain lines


@contextmanager
def bar(total: int, doing: str) -> Iterator[Callable[[int], None]]:
    """Show progress towards `total`; the block gets a function to call with the amount done."""
    if sys.stderr.isatty():
        with _drawn(total, doing) as advance:
            yield advance
    else:
        yield _spoken(total, doing)


def over(items: Iterable[T], total: int, doing: str) -> Iterator[T]:
    """Yield items, and show how many were taken."""
    with bar(total, doing) as advance:
        for done, item in enumerate(items, 1):
            yield item
            advance(done)


@contextmanager
def _drawn(total: int, doing: str) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    )  # fmt: skip
    # Lines printed meanwhile go above the bar, if they go to the terminal too.
    console, above = Console(stderr=True), sys.stdout.isatty()
    with Progress(*columns, console=console, redirect_stdout=above) as shown:
        task = shown.add_task(doing, total=total)
        yield lambda done: shown.update(task, completed=done)


def _spoken(total: int, doing: str) -> Callable[[int], None]:
    said_at = time.monotonic()

    def advance(done: int) -> None:
        nonlocal said_at
        if time.monotonic() > said_at + EVERY or done == total:
            said_at = time.monotonic()
            print(f"{doing}: {done:,} of {total:,}", file=sys.stderr, flush=True)

    return advance
