"""The period before, and the year before, beside a period's figures; and what changed most, in a sentence.

What is counted over a period is compared up to the last whole day, so that a day that has just begun is no
decline. What is as it stood at the period's end (`as_it_stood`) needs no whole day.
"""

import html
import re
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
# Says a figure, its currency named if it is an amount: “3 keys were redeemed”, “No key was redeemed”.
Said = Callable[[Phrasebook, Any, str | None], str]
Parted = Mapping[str | None, Mapping[str, tuple[Any, Any]]]  # by currency and name: now, before

UNKNOWN = re.compile("share$|^days")  # columns that mean nothing where nothing is
WEIGHT = "redemptions"
YEAR = (365, 366)  # days


@dataclass(frozen=True)
class Opening:
    """The sentence that a report opens with, and the codes in it, which stay whole."""

    sentence: str
    codes: frozenset[str] = frozenset()

    def _repr_html_(self) -> str:
        told = html.escape(self.sentence)
        for code in self.codes:
            told = told.replace(html.escape(f"({code})"), showing.code(f"({code})"))
        return f'<p class="opening">{told}</p>'


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
    said: Said,
    read: Figures,
    *,
    name: str,
    count: str,
    as_it_stood: bool = False,
) -> "Opening":
    """Say how much there was of a figure, how that changed, and where it changed most.

    What is read has `count` by `name`, and by currency where the figure is an amount: it is said of the
    currency whose `redemptions` changed most, because amounts of two currencies cannot be compared.
    """
    whole, book = question if as_it_stood else question.ended(), question.words
    if whole is None:
        return Opening(book.say("No day of this period is over yet."))
    now, before = read(whole), read(whole.before())
    parts = _paired(_records(now), _records(before), name, count)
    currency = _foremost(_paired(_records(now), _records(before), name, WEIGHT), parts)

    def write(value: Any) -> str:
        if currency is not None:
            return showing.money(Decimal(value), currency, book.locale)
        return showing.number(value, book.locale)

    titles = now.attrs.get("titles", {}) | before.attrs.get("titles", {})
    named = {
        f"{titles[one]} ({one})" if one in titles else one: pair
        for one, pair in parts.get(currency, {}).items()
    }
    total = said(book, sum(pair[0] for pair in named.values()), currency)
    if whole.last < question.last:
        total = book.say("{said} up to {day}", said=total, day=book.day(whole.last))
    then = _at_the_end(whole, book) if as_it_stood else _time_before(whole, book)
    return Opening(sentence(total, named, write, book, then=then), frozenset(titles))


def keys_redeemed(book: Phrasebook, count: int, _: str | None) -> str:
    """Say how many keys were redeemed."""
    if not count:
        return book.say("No key was redeemed")
    return book.say_count("{count} key was redeemed", "{count} keys were redeemed", count)


def sentence(
    said: str,
    parts: Mapping[str, tuple[Any, Any]],
    write: Callable[[Any], str],
    book: Phrasebook,
    *,
    then: str,
) -> str:
    """Go on from what is said of a figure: what it was then, and which of its parts (now, before) changed most.

    It has no percentages, and names no part where two changed alike, so it is true of any numbers: none,
    one, below zero.
    """
    most = _most(parts, write, book)
    total = _total(said, parts, write, book, then)
    return f"{total}; {most}." if most else f"{total}."


def _total(
    said: str,
    parts: Mapping[str, tuple[Any, Any]],
    write: Callable[[Any], str],
    book: Phrasebook,
    then: str,
) -> str:
    now, before = (sum(column) for column in zip(*parts.values(), strict=True)) if parts else (0, 0)
    if now == before:
        return book.say("{said}, the same as {then}", said=said, then=then)
    if before == 0:
        return book.say("{said}, after none {then}", said=said, then=then)
    values = {"said": said, "before": write(before), "then": then}
    if now > before:
        return book.say("{said}, up from {before} {then}", **values)
    return book.say("{said}, down from {before} {then}", **values)


def _most(
    parts: Mapping[str, tuple[Any, Any]], write: Callable[[Any], str], book: Phrasebook
) -> str:
    """Say which of several parts changed most; nothing where none did, or two did alike."""
    ranked = sorted(parts, key=lambda name: abs(parts[name][0] - parts[name][1]), reverse=True)
    shifts = [abs(parts[name][0] - parts[name][1]) for name in ranked]
    if len(ranked) < 2 or shifts[0] == shifts[1]:
        return ""
    name, (now, before) = ranked[0], parts[ranked[0]]
    if now > 0 and not any(was for _, was in parts.values()):
        return book.say("{name} leads with {now}", name=name, now=write(now))
    if before == 0:
        return book.say("{name} changed most, from none to {now}", name=name, now=write(now))
    if now == 0:
        return book.say(
            "{name} changed most, from {before} to none", name=name, before=write(before)
        )
    return book.say(
        "{name} changed most, from {before} to {now}",
        name=name,
        before=write(before),
        now=write(now),
    )


def _time_before(whole: Question, book: Phrasebook) -> str:
    """Say when the period before was, as one says it after a figure."""
    days = (whole.last - whole.first).days + 1
    if days in YEAR:
        return book.say("in the year before")
    return book.say_count("on the day before", "in the {count} days before", days)


def _at_the_end(whole: Question, book: Phrasebook) -> str:
    return book.say("at the end of {day}", day=book.day(whole.before().last))


def _foremost(weights: Parted, parts: Parted) -> str | None:
    """Give the currency whose weight, or else whose sum, changed most; None without currencies."""

    def changes(currency: str | None) -> tuple[Any, Decimal]:
        weight = sum(abs(now - before) for now, before in weights[currency].values())
        return weight, _shift(parts[currency])

    return max(sorted(parts, key=str), key=changes, default=None)


def _paired(now: list[Row], before: list[Row], name: str, count: str) -> Parted:
    """Give, by currency (None without), each name's count now and before; 0 of what is not counted."""
    parts: dict[str | None, dict[str, tuple[Any, Any]]] = {}
    for row in now:
        parts.setdefault(row.get("currency"), {})[str(row[name])] = (row.get(count, 0), 0)
    for row in before:
        named = parts.setdefault(row.get("currency"), {})
        named[str(row[name])] = (named.get(str(row[name]), (0, 0))[0], row.get(count, 0))
    return parts


def _shift(parts: Mapping[str, tuple[Any, Any]]) -> Decimal:
    """Say how much a sum changed beside the larger of both: from 0 to 2."""
    now, before = (Decimal(sum(column)) for column in zip(*parts.values(), strict=True))
    most = max(abs(now), abs(before))
    return abs(now - before) / most if most else Decimal(0)


def _zeros(row: Row) -> Row:
    """Give the figures of a period without rows: counts and sums are zero, shares and waits unknown."""
    return {
        name: value if name == "currency" else None if UNKNOWN.search(str(name)) else value * 0
        for name, value in row.items()
        if value is not None and value == value
    }


def _records(frame: "pd.DataFrame") -> list[Row]:
    return frame.to_dict("records")
