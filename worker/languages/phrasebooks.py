"""Sentences, dates and amounts in a reader's language: one gettext catalogue a language.

A message is written in English where it is said; `catalogues/` has its translations, which Babel
reads when a language is first asked for. Nothing is compiled beforehand.
"""

import copy
import gettext
import io
import re
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from functools import cache, lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_skeleton, format_time
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import NumberPattern, format_decimal

CATALOGUES = Path(__file__).parent / "catalogues"
SOURCE = "en"  # what messages are written in
LANGUAGES = (SOURCE, *sorted(path.stem for path in CATALOGUES.glob("*.po")))

# English without a country: the day comes first and hours go to 24, as elsewhere in keypool.
# English of a country (en-US) is written as that country does.
ENGLISH = {"yMMMd": "d MMM y", "MMMd": "d MMM", "long": "d MMMM y", "short": "HH:mm"}
# A currency's letters and the digits behind them; a mark of direction that no font draws.
LETTERS_AND_DIGITS = re.compile(r"(?<=[A-Za-z])(?=\d)")
MARK = "\u061c"


@cache
def language_name(tag: str) -> str:
    """Name a language of `LANGUAGES` as those who speak it do: `Deutsch`."""
    return str(Locale(tag).display_name).capitalize()


@lru_cache(maxsize=256)
def phrasebook(language: str | None) -> "Phrasebook":
    """Give the phrasebook of a language tag: `de`, `fr-CH`, `en_US`.

    A language without a catalogue, and what is no language, is English throughout: words, dates and
    amounts are never in two languages.
    """
    try:
        locale = Locale.parse((language or SOURCE).replace("-", "_"))
    except (UnknownLocaleError, ValueError):
        locale = Locale(SOURCE)
    return Phrasebook(locale if locale.language in LANGUAGES else Locale(SOURCE))


class Phrasebook:
    """One language: its words, and how it writes dates and amounts.

    Attributes:
        language: the catalogue's, such as `de`: what a Content-Language header says.
        locale: Babel's, with the country where one was named.
    """

    def __init__(self, locale: Locale) -> None:
        self.locale = locale
        self.language = locale.language
        self._forms: Mapping[str, str] = ENGLISH if str(locale) == SOURCE else {}

    def say(self, message: str, /, **values: object) -> str:
        """Say a message, with the values of its `{placeholders}`."""
        return _catalogue(self.language).gettext(message).format(**values)

    def translate(self, text: str) -> str:
        """Translate a text that may be one of the messages, such as a tax's label; else give it as it is."""
        return _catalogue(self.language).gettext(text) if text else text

    def say_count(self, one: str, many: str, count: int, /, **values: object) -> str:
        """Say how many: `one` or `many`, or whichever plural form the language has for a count.

        `{count}` is the count as the language writes it.
        """
        message = _catalogue(self.language).ngettext(one, many, count)
        return message.format(count=self.number(count), **values)

    def day(self, day: date) -> str:
        """Write a day in full: 26 February 2027."""
        return str(format_date(day, self._forms.get("long", "long"), locale=self.locale))

    def short_day(self, day: date) -> str:
        """Write a day with its month shortened: 26 Feb 2027."""
        return self._skeleton("yMMMd", day)

    def day_of_month(self, day: date) -> str:
        """Write a day without its year, its month shortened: 26 Feb."""
        return self._skeleton("MMMd", day).rstrip(".")

    def month(self, month: date) -> str:
        """Write a month of a year: February 2027."""
        return self._skeleton("yMMMM", month)

    def moment(self, instant: datetime, zone: str) -> str:
        """Write an instant in a time zone, to the minute: 26 Feb 2027, 11:10."""
        local = instant.astimezone(ZoneInfo(zone))
        form = self._forms.get("short", "short")
        clock = format_time(local, form, tzinfo=local.tzinfo, locale=self.locale)
        joined = str(self.locale.datetime_formats["medium"])
        return joined.replace("{1}", self.short_day(local.date())).replace("{0}", clock)

    def number(self, number: int | Decimal) -> str:
        """Write a number with as many decimals as it has."""
        return str(format_decimal(number, locale=self.locale))

    def percent(self, rate: Decimal) -> str:
        """Write a rate in percent, such as a tax's."""
        return f"{self.number(rate)}\u00a0%"

    def amount(self, amount: Decimal, *, decimals: int) -> str:
        """Write an amount without its currency, with exactly so many decimals (B2)."""
        pattern = _exact(self.locale.decimal_formats[None], decimals)
        return str(pattern.apply(amount, self.locale)).replace(MARK, "")

    def money(self, amount: Decimal, currency: str, *, decimals: int) -> str:
        """Write an amount with its currency, with exactly so many decimals (B2)."""
        pattern = _exact(self.locale.currency_formats["standard"], decimals)
        written = pattern.apply(amount, self.locale, currency=currency, currency_digits=False)
        return LETTERS_AND_DIGITS.sub("\u00a0", str(written).replace(MARK, ""))

    def _skeleton(self, skeleton: str, day: date) -> str:
        if form := self._forms.get(skeleton):
            return str(format_date(day, form, locale=self.locale))
        noon = datetime.combine(day, time(12))
        return str(format_skeleton(skeleton, noon, locale=self.locale))


@cache
def _catalogue(language: str) -> gettext.NullTranslations:
    """Read a language's catalogue, in gettext's compiled form so that it is asked as any other."""
    if language == SOURCE:
        return gettext.NullTranslations()
    with (CATALOGUES / f"{language}.po").open("rb") as file:
        catalogue = read_po(file, locale=language)
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


@lru_cache(maxsize=64)
def _exact(pattern: NumberPattern, decimals: int) -> NumberPattern:
    """Give a locale's pattern with the currency's own number of decimals."""
    exact = copy.copy(pattern)
    exact.frac_prec = (decimals, decimals)
    return exact
