"""The language that is asked for, and those that are answered in."""

from contextvars import Context, copy_context

import pytest

from worker.languages import readers


@pytest.mark.parametrize(
    ("asked", "own", "spoken"),
    [
        (None, "de", "de"),
        (None, None, "en"),
        ("fr", "de", "fr"),
        (
            "fr",
            "fr-CH",
            "fr_CH",
        ),  # their own country's dates and amounts, where it is their language
        ("en", "ja", "en"),
    ],
)
def test_the_language_asked_for_comes_before_their_own(asked, own, spoken):
    def ask() -> str:
        readers.begin(asked)
        return str(readers.book_for(own).locale)

    assert copy_context().run(ask) == spoken


def test_a_reader_knows_the_languages_of_the_answer():
    def ask() -> set[str]:
        readers.begin(None)
        readers.book_for("de-CH")
        readers.book_for("ja")
        return readers.current().answered

    assert copy_context().run(ask) == {"de", "en"}


def test_outside_a_request_no_language_is_asked_for():
    assert Context().run(lambda: readers.current().asked) is None
