"""Sentences, dates and amounts in the languages of the catalogues."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from worker.languages import phrasebooks
from worker.languages.phrasebooks import LANGUAGES, phrasebook

INSTANT = datetime(2027, 2, 26, 10, 10, tzinfo=UTC)
ENDS = "Access ends {when}."


def test_four_languages_are_there_from_the_start():
    assert set(LANGUAGES) >= {"en", "de", "fr", "es"}


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ("en", "Access ends soon."),
        ("de", "Der Zugang endet soon."),
        ("fr-CH", "L’accès prend fin soon."),
        ("es_MX", "El acceso termina soon."),
    ],
)
def test_a_message_is_said_in_the_language_with_its_values(tag, said):
    assert phrasebook(tag).say(ENDS, when="soon") == said


@pytest.mark.parametrize("tag", [None, "", "ja", "klingon", "x" * 60, "-"])
def test_what_has_no_catalogue_is_english_throughout(tag):
    book = phrasebook(tag)

    assert (book.language, book.day(date(2026, 9, 5))) == ("en", "5 September 2026")
    assert book.money(Decimal("1234.5"), "EUR", decimals=2) == "€1,234.50"
    assert book.say(ENDS, when="soon") == "Access ends soon."


def test_braces_in_a_value_stay_as_they_are():
    said = phrasebook("de").say(ENDS, when="{when} {0}")

    assert said.endswith("endet {when} {0}.")


@pytest.mark.parametrize(
    ("tag", "day", "short", "month", "moment"),
    [
        ("en", "26 February 2027", "26 Feb 2027", "February 2027", "26 Feb 2027, 11:10"),
        ("en-US", "February 26, 2027", "Feb 26, 2027", "February 2027", "Feb 26, 2027, 11:10 AM"),
        ("de", "26. Februar 2027", "26. Feb. 2027", "Februar 2027", "26. Feb. 2027, 11:10"),
        ("fr", "26 février 2027", "26 févr. 2027", "février 2027", "26 févr. 2027, 11:10"),
        ("es", "26 de febrero de 2027", "26 feb 2027", "febrero de 2027", "26 feb 2027, 11:10"),
    ],
)
def test_days_months_and_instants_are_written_as_the_language_does(tag, day, short, month, moment):
    book, when = phrasebook(tag), date(2027, 2, 26)

    assert (book.day(when), book.short_day(when), book.month(when)) == (day, short, month)
    assert book.moment(INSTANT, "Europe/Berlin").replace("\u202f", " ") == moment


@pytest.mark.parametrize(
    ("tag", "currency", "decimals", "amount", "money"),
    [
        ("en", "USD", 2, "1,234.50", "$1,234.50"),
        ("de", "EUR", 2, "1.234,50", "1.234,50\u00a0€"),
        ("fr-CH", "CHF", 2, "1'234,50", "1'234,50\u00a0CHF"),
        ("es", "KWD", 3, "1.234,500", "1.234,500\u00a0KWD"),
        ("en", "KWD", 3, "1,234.500", "KWD\u00a01,234.500"),
        ("en", "JPY", 0, "1,234", "¥1,234"),
    ],
)
def test_amounts_have_exactly_the_decimals_of_their_currency(
    tag, currency, decimals, amount, money
):
    book = phrasebook(tag)

    assert book.amount(Decimal("1234.50"), decimals=decimals) == amount
    assert book.money(Decimal("1234.50"), currency, decimals=decimals) == money


def test_rates_are_written_as_the_language_does():
    assert [phrasebook(tag).percent(Decimal("7.75")) for tag in ("en", "fr")] == [
        "7.75\u00a0%",
        "7,75\u00a0%",
    ]


def test_a_count_has_the_plural_form_that_the_language_has_for_it(tmp_path, monkeypatch):
    (tmp_path / "fr.po").write_text(
        'msgid "{count} key"\nmsgid_plural "{count} keys"\n'
        'msgstr[0] "{count} clé"\nmsgstr[1] "{count} de clés"\nmsgstr[2] "{count} clés"\n'
    )
    monkeypatch.setattr(phrasebooks, "CATALOGUES", tmp_path)
    phrasebooks._catalogue.cache_clear()

    said = [
        phrasebook(tag).say_count("{count} key", "{count} keys", count)
        for tag in ("en", "fr")
        for count in (0, 1, 1200)
    ]

    phrasebooks._catalogue.cache_clear()
    assert said == ["0 keys", "1 key", "1,200 keys", "0 clé", "1 clé", "1\u202f200 clés"]


@pytest.mark.parametrize(
    ("language", "said"), [("en", "8 Jan"), ("de", "8. Jan"), ("fr", "8 janv"), ("es", "8 ene")]
)
def test_a_day_of_an_axis_is_written_as_its_language_does(language, said):
    assert phrasebook(language).day_of_month(date(2026, 1, 8)) == said
