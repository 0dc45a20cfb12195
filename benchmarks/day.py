"""`python -m benchmarks.day`: a day of redemptions against measured rates, by a small simulation of queues.

Every second so many webhooks come in. Each part takes what waits before it, as many a second as it can, and
hands it to the next. What webs cannot take waits at the senders, who send it again.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

A_DAY = 86_400  # seconds
PEAKS = (8, 13, 20)  # hours at which a course begins everywhere
PEAK_SECONDS = 900

Rates = NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """A part of the system, and how many redemptions a second it can take."""

    name: str
    rate: float


@dataclass(frozen=True)
class Queue:
    """What waited before a part: at most, for how long at most, and the seconds in which anything waited."""

    part: Part
    waiting: float
    oldest: float
    seconds: int
    busy: float


def arrivals(redemptions: int, *, peak: float = 10) -> Rates:
    """Give how many come in each second: more by day than by night, `peak` times the mean at peaks."""
    seconds = np.arange(A_DAY)
    flow = 1 - np.cos(2 * np.pi * seconds / A_DAY)  # mean 1
    at_peak = np.zeros(A_DAY, dtype=bool)
    for hour in PEAKS:
        at_peak[hour * 3600 : hour * 3600 + PEAK_SECONDS] = True
    rest = A_DAY - peak * at_peak.sum()  # what the peaks leave, in seconds of the mean
    flow[~at_peak] *= rest / flow[~at_peak].sum()
    flow[at_peak] = peak
    return flow * redemptions / A_DAY


def through(coming: Rates, parts: Sequence[Part]) -> list[Queue]:
    """Send a day's arrivals through parts, one behind the other, and give what waited before each."""
    queues = []
    for part in parts:
        queue, coming = _before(part, coming)
        queues.append(queue)
    return queues


def _before(part: Part, coming: Rates) -> tuple[Queue, Rates]:
    came = np.cumsum(coming)
    # What a queue that is never emptied below nothing has let through: a running minimum (Lindley).
    capacity = part.rate * np.arange(1, len(coming) + 1)
    gone = capacity + np.minimum.accumulate(np.minimum(came - capacity, 0.0))
    waiting = came - gone
    queue = Queue(
        part=part,
        waiting=float(waiting.max()),
        oldest=float(waiting.max() / part.rate),
        seconds=int((waiting > 1).sum()),
        busy=float(gone[-1] / capacity[-1]),
    )
    return queue, np.diff(gone, prepend=0.0)


def said(queues: Sequence[Queue]) -> str:
    """Give the table of docs/scale.md."""
    rows = [
        f"| {q.part.name} | {q.part.rate:,.0f}/s | {q.busy:.0%} | {q.waiting:,.0f} | {q.oldest:,.0f} s"
        f" | {q.seconds / 60:,.0f} min |"
        for q in queues
    ]
    head = "| part | can take | busy | waiting at most | oldest | waited during |"
    return "\n".join([head, "|---|---|---|---|---|---|", *rows])


def part(written: str) -> Part:
    """Read a part as NAME=RATE.

    Raises:
        ValueError: it is not written so, or the rate is not above 0.
    """
    name, _, rate = written.partition("=")
    if not float(rate) > 0:
        raise ValueError
    return Part(name, float(rate))


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.day", description=__doc__)
    parser.add_argument(
        "parts", nargs="+", type=part, metavar="NAME=RATE", help="in the order of the way through"
    )
    parser.add_argument("--redemptions", type=int, default=10_000_000)
    parser.add_argument("--peak", type=float, default=10, help="times the mean")
    given = parser.parse_args()
    queues = through(arrivals(given.redemptions, peak=given.peak), given.parts)
    sys.stdout.write(f"{said(queues)}\n")


if __name__ == "__main__":
    main()
