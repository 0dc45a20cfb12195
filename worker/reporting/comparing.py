"""The period before, and the year before, beside a period's figures; and what changed most, in a sentence.

What is counted over a period is compared up to the last whole day, so that a day that has just begun is no
decline. What is as it stood at the period's end (`as_it_stood`) needs no whole day.
"""

import html
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from worker.languages.phrasebooks import Phrasebook
from worker.reporting import showing
from worker.reporting.question import Question

if TYPE_CHECKING:
    import pandas as pd

Figures = Callable[[Question], "pd.DataFrame"]
Row = dict[Hashable, Any]


@dataclass(frozen=True)
class Opening:
    """The sentence that a report opens with."""

    sentence: str

    def _repr_html_(self) -> str:
        return f'<p class="opening">{html.escape(self.sentence)}</p>'


def beside(question: Question, read: Figures, *, as_it_stood: bool = False) -> "pd.DataFrame":
    """Read figures, and those of the period before and of the year before, to be shown beside them.

    Rows are of one currency each, where the figures have one.
    """
    frame = read(question)
    whole = question if as_it_stood else question.ended()
    if frame.empty or whole is None:
        return frame
    earlier = _stood if as_it_stood else _earlier
    now = frame if whole == question else read(whole)
    frame.attrs["compared"] = [
        {"mark": mark, "said": said, "rows": _matched(frame, read(then), now)}
        for mark, said, then in earlier(whole, question.words)
    ]
    return frame


def _earlier(whole: Question, book: Phrasebook) -> list[tuple[str, str, Question]]:
    """Give the periods to compare with: a mark for each, what it stands for, and its question."""
    before, year = whole.before(), whole.year_before()
    said = book.say("Before: {before}, beside {period}.", before=before.period, period=whole.period)
    told = [(book.say("before"), said, before)]
    if year:
        said = book.say("A year before: {period}.", period=year.period)
        told.append((book.say("a year before"), said, year))
    return told


def _stood(whole: Question, book: Phrasebook) -> list[tuple[str, str, Question]]:
    """Give the same for figures as they stood at a period's end: what is told is its day."""
    before, year = whole.before(), whole.year_before()
    said = book.say("Before: at the end of {day}.", day=book.day(before.last))
    told = [(book.say("before"), said, before)]
    if year:
        said = book.say("A year before: at the end of {day}.", day=book.day(year.last))
        told.append((book.say("a year before"), said, year))
    return told


def _matched(
    frame: "pd.DataFrame", then: "pd.DataFrame", now: "pd.DataFrame"
) -> list[tuple[Row, Row]]:
    thens, nows = ({row.get("currency"): row for row in _records(one)} for one in (then, now))
    nothing: Row = {}
    return [
        (thens.get(row.get("currency"), _zeros(row)), nows.get(row.get("currency"), nothing))
        for row in _records(frame)
    ]


def changed(
    question: Question,
    figure: str,
    read: Figures,
    *,
    name: str,
    count: str,
    as_it_stood: bool = False,
) -> "Opening":
    """Say how much there was of a figure (a message), how that changed, and where it changed most.

    What is read has `count` by `name`, and by currency where the figure is an amount.
    """
    whole, book = question if as_it_stood else question.ended(), question.words
    if whole is None:
        return Opening(book.say("No day of this period is over yet."))
    now, before = read(whole), read(whole.before())
    titles = now.attrs.get("titles", {}) | before.attrs.get("titles", {})
    parts = _paired(_records(now), _records(before), name, count)
    currency = max(sorted(parts, key=str), key=lambda one: _shift(parts[one]), default=None)
    label = book.say(figure) if currency is None else f"{book.say(figure)} ({currency})"

    def write(value: Any) -> str:
        if currency is not None:
            return showing.money(Decimal(value), currency, book.locale)
        return showing.number(value, book.locale)

    named = {
        f"{titles[one]} ({one})" if one in titles else one: pair
        for one, pair in parts.get(currency, {}).items()
    }
    return Opening(sentence(label, named, write, book))


def sentence(
    figure: str,
    parts: Mapping[str, tuple[Any, Any]],
    write: Callable[[Any], str],
    book: Phrasebook,
) -> str:
    """Say what a figure is and was, and which of its parts (now, before) changed most.

    It has no percentages and no nouns to count, so it is true of any numbers: none, one, below zero.
    """
    now, before = (sum(column) for column in zip(*parts.values(), strict=True)) if parts else (0, 0)
    said = _total(figure, now, before, write, book)
    name, (is_, was) = max(
        parts.items(), key=lambda part: abs(part[1][0] - part[1][1]), default=("", (0, 0))
    )
    if len(parts) < 2 or is_ == was:
        return f"{said}."
    most = book.say(
        "{name} changed most: {now} instead of {before}",
        name=name,
        now=write(is_),
        before=write(was),
    )
    return f"{said}; {most}."


def _total(
    figure: str, now: Any, before: Any, write: Callable[[Any], str], book: Phrasebook
) -> str:
    if now == before == 0:
        return book.say("{figure}: none, and none in the period before", figure=figure)
    if before == 0:
        return book.say("{figure}: {now}; none in the period before", figure=figure, now=write(now))
    if now == before:
        return book.say("{figure}: {now}, as in the period before", figure=figure, now=write(now))
    values = {"figure": figure, "now": write(now), "difference": write(abs(now - before))}
    if now > before:
        return book.say("{figure}: {now}, {difference} more than in the period before", **values)
    return book.say("{figure}: {now}, {difference} less than in the period before", **values)


def _paired(
    now: list[Row], before: list[Row], name: str, count: str
) -> dict[str | None, dict[str, tuple[Any, Any]]]:
    """Give, by currency (None without), each name's count now and before."""
    parts: dict[str | None, dict[str, tuple[Any, Any]]] = {}
    for row in now:
        parts.setdefault(row.get("currency"), {})[str(row[name])] = (row[count], 0)
    for row in before:
        named = parts.setdefault(row.get("currency"), {})
        named[str(row[name])] = (named.get(str(row[name]), (0, 0))[0], row[count])
    return parts


def _shift(parts: Mapping[str, tuple[Any, Any]]) -> Decimal:
    """Say how much a sum changed beside the larger of both: from 0 to 2."""
    now, before = (Decimal(sum(column)) for column in zip(*parts.values(), strict=True))
    most = max(abs(now), abs(before))
    return abs(now - before) / most if most else Decimal(0)


def _zeros(row: Row) -> Row:
    """Give the figures of a period without rows: counts and sums are zero, shares unknown."""
    return {
        name: value if name == "currency" else None if str(name).endswith("share") else value * 0
        for name, value in row.items()
        if value is not None and value == value
    }


def _records(frame: "pd.DataFrame") -> list[Row]:
    return frame.to_dict("records")
