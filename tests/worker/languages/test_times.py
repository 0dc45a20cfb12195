"""When something is, in words of four languages."""

from datetime import UTC, datetime

import pytest

from worker.languages import times
from worker.languages.phrasebooks import phrasebook

WITHIN = datetime(2027, 2, 26, 10, 10, tzinfo=UTC)
MIDNIGHT = datetime(2026, 12, 31, 23, tzinfo=UTC)  # in Berlin


@pytest.mark.parametrize(
    ("language", "within", "whole"),
    [
        ("en", "on 26 Feb 2027, 11:10 (Europe/Berlin)",
         "at the end of 31 Dec 2026 (Europe/Berlin)"),
        ("de", "am 26. Feb. 2027, 11:10 (Europe/Berlin)",
         "mit Ablauf des 31. Dez. 2026 (Europe/Berlin)"),
        ("fr", "le 26 févr. 2027, 11:10 (Europe/Berlin)",
         "à la fin du 31 déc. 2026 (Europe/Berlin)"),
        ("es", "el 26 feb 2027, 11:10 (Europe/Berlin)",
         "al final del 31 dic 2026 (Europe/Berlin)"),
    ],
)  # fmt: skip
def test_an_end_is_an_instant_or_the_end_of_a_day(language, within, whole):
    book = phrasebook(language)

    assert times.on(book, WITHIN, "Europe/Berlin") == within
    assert times.on(book, MIDNIGHT, "Europe/Berlin") == whole


@pytest.mark.parametrize(
    ("language", "within", "whole"),
    [
        ("en", "until 26 Feb 2027, 10:10 (UTC)", "until the end of 31 Dec 2026 (Europe/Berlin)"),
        ("de", "bis zum 26. Feb. 2027, 10:10 (UTC)",
         "bis zum Ablauf des 31. Dez. 2026 (Europe/Berlin)"),
        ("fr", "jusqu’au 26 févr. 2027, 10:10 (UTC)",
         "jusqu’à la fin du 31 déc. 2026 (Europe/Berlin)"),
        ("es", "hasta el 26 feb 2027, 10:10 (UTC)",
         "hasta el final del 31 dic 2026 (Europe/Berlin)"),
    ],
)  # fmt: skip
def test_something_goes_on_until_an_instant_or_the_end_of_a_day(language, within, whole):
    book = phrasebook(language)

    assert times.until(book, WITHIN, "UTC") == within
    assert times.until(book, MIDNIGHT, "Europe/Berlin") == whole


@pytest.mark.parametrize(
    ("language", "within", "whole"),
    [
        ("en", "before 26 Feb 2027, 10:10 (UTC)", "before 1 Jan 2027 (Europe/Berlin)"),
        ("de", "vor dem 26. Feb. 2027, 10:10 (UTC)", "vor dem 1. Jan. 2027 (Europe/Berlin)"),
        ("fr", "avant le 26 févr. 2027, 10:10 (UTC)", "avant le 1 janv. 2027 (Europe/Berlin)"),
        ("es", "antes del 26 feb 2027, 10:10 (UTC)", "antes del 1 ene 2027 (Europe/Berlin)"),
    ],
)  # fmt: skip
def test_something_comes_before_an_instant_or_a_day(language, within, whole):
    book = phrasebook(language)

    assert times.before(book, WITHIN, "UTC") == within
    assert times.before(book, MIDNIGHT, "Europe/Berlin") == whole


def test_a_day_whose_midnight_is_skipped_begins_and_ends_as_any_other():
    first = datetime(2027, 4, 29, 22, tzinfo=UTC)  # 01:00 of 30 Apr 2027 in Cairo

    assert times.before(phrasebook("en"), first, "Africa/Cairo") == (
        "before 30 Apr 2027 (Africa/Cairo)"
    )
    assert times.on(phrasebook("en"), first, "Africa/Cairo") == (
        "at the end of 29 Apr 2027 (Africa/Cairo)"
    )
