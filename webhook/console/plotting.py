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
    """A day's value, as it is said, and the list that is behind it."""

    day: date
    value: float
    words: str
    address: str


@dataclass(frozen=True)
class Chart:
    """Bars by day; `top` is where the axis ends."""

    title: str
    summary: str
    points: Sequence[Point]
    top: float

    @property
    def ticks(self) -> list[str]:
        """What the axis says, from the top down."""
        return [number(f"{share * self.top:g}") for share in (1, 0.5, 0)]

    @property
    def width(self) -> int:
        """How wide the drawing is."""
        return WIDTH * len(self.points)

    def height(self, point: Point) -> float:
        """Give how tall a day's bar is; whatever is not nothing can be seen."""
        return max(round(HEIGHT * max(point.value, 0) / self.top, 1), 1.5 if point.value else 0)


def install(blueprint: APIBlueprint) -> None:
    """Make the choice of days available in a blueprint's templates."""
    blueprint.add_app_template_global(days_shown)
    blueprint.add_app_template_global(lambda: CHOICES, "days_to_show")


def chart(title: str, summary: str, points: Sequence[Point]) -> Chart:
    """Make a chart, whose axis ends at a round number."""
    most = max((point.value for point in points), default=0)
    power = 1.0
    while most > STEPS[-1] * power:
        power *= 10
    top = next(step for step in STEPS if step * power >= most) * power
    return Chart(title, summary, points, top)


def days_shown() -> int:
    """Give how many days the page's charts show: as its address says, else 30."""
    asked = request.args.get("days", "")
    return int(asked) if asked in map(str, CHOICES) else 30
