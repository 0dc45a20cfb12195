"""Charts: bars by day on an axis, with their values for the mouse, the keyboard and screen readers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from apiflask import APIBlueprint
from flask import request

from webhook.console.words import number

CHOICES = (7, 30, 90)  # days that a chart can show
WIDTH, HEIGHT = 20, 100  # of a day's place in the drawing
STEPS = (2, 4, 6, 8, 10)  # an axis ends at one of these, times a power of ten: its half is whole


class Point(NamedTuple):
    """A day's value, as it is said, the list that is behind it, and what was refused beside."""

    day: date
    value: float
    words: str
    address: str = ""
    refused: float = 0


@dataclass(frozen=True)
class Chart:
    """Bars by day; `top` is where the axis ends, `legend` what a bar's lower and upper part are."""

    title: str
    summary: str
    points: Sequence[Point]
    top: float
    legend: Sequence[str] = ()

    @property
    def ticks(self) -> list[str]:
        """What the axis says, from the top down."""
        return [number(f"{share * self.top:g}") for share in (1, 0.5, 0)]

    @property
    def width(self) -> int:
        """How wide the drawing is."""
        return WIDTH * len(self.points)

    def height(self, value: float) -> float:
        """Give how tall a value is drawn; whatever is not nothing can be seen."""
        return max(round(HEIGHT * max(value, 0) / self.top, 1), 1.5 if value else 0)


def install(blueprint: APIBlueprint) -> None:
    """Make the choice of days available in a blueprint's templates."""
    blueprint.add_app_template_global(days_shown)
    blueprint.add_app_template_global(lambda: CHOICES, "days_to_show")


def point(day: date, value: float, words: str, address: str = "", refused: float = 0) -> Point:
    """Make a day's point, which says its day."""
    return Point(day, value, f"{day:%a} {day.day} {day:%b}: {words}", address, refused)


def chart(title: str, points: Sequence[Point], legend: Sequence[str] = ()) -> Chart:
    """Make a chart of at least a day, whose axis ends at a round number."""
    last = f"{title} a day, the last {len(points)} days"
    highest = max(points, key=_whole)
    most = _whole(highest)
    summary = f"{last}; the most: {highest.words}" if most > 0 else f"{last}; none"
    return Chart(last, summary, points, _top(most), legend)


def days_shown() -> int:
    """Give how many days the page's charts show: as its address says, else 30."""
    asked = request.args.get("days", "")
    return int(asked) if asked in map(str, CHOICES) else 30


def _whole(point: Point) -> float:
    return point.value + point.refused


def _top(most: float) -> float:
    power = 1.0
    while most > STEPS[-1] * power:
        power *= 10
    return next(step for step in STEPS if step * power >= most) * power
