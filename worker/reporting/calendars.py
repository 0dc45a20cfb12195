"""Days and months on an axis: which of them are named, and how."""

from collections.abc import Sequence
from datetime import date

import babel
from babel import dates

from worker.languages.phrasebooks import Phrasebook, phrasebook

SEASON = 130  # days; a longer axis is labelled with months
MOST_DAYS, MOST_MONTHS = 9, 12  # labels that fit beside one another


def months(firsts: Sequence[date], locale: babel.Locale) -> list[str]:
    """Label months; the year is below its first month."""
    years = [first.year for first in firsts]
    return [
        written(first, "LLL", locale) + (f"\n{first:%Y}" if first.year not in years[:place] else "")
        for place, first in enumerate(firsts)
    ]


def ticks(days: Sequence[date], locale: babel.Locale) -> tuple[list[int], list[str]]:
    """Give the places of days that an axis names, and their names: all of them are on it."""
    if len(days) <= SEASON:
        places = list(range(0, len(days), -(-len(days) // MOST_DAYS)))
        return places, [phrasebook(str(locale)).day_of_month(days[place]) for place in places]
    firsts = [place for place, day in enumerate(days) if day.day == 1]
    places = firsts[:: -(-len(firsts) // MOST_MONTHS)]
    return places, months([days[place] for place in places], locale)


def beyond(book: Phrasebook, days: Sequence[date], empty: tuple[bool, bool]) -> str:
    """Say whether the period has days before the first of these, and after the last, that have nothing."""
    before, after = empty
    first, last = book.short_day(days[0]), book.short_day(days[-1])
    if before and after:
        return book.say("nothing before {first}, and nothing after {last}", first=first, last=last)
    if before:
        return book.say("nothing before {first}", first=first)
    return book.say("nothing after {last}", last=last) if after else ""


def written(day: date, form: str, locale: babel.Locale) -> str:
    """Write a day by one of CLDR's patterns, without the dot of a shortened name."""
    return str(dates.format_date(day, form, locale=locale)).rstrip(".")
