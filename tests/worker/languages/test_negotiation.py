"""Which language an Accept-Language header asks for."""

import pytest

from worker.languages.negotiation import choose


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        ("de", "de"),
        ("fr;q=0.4, es;q=0.8, de;q=0.6", "es"),
        ("fr, de", "fr"),  # of equal ones the first written
        ("de-CH, fr;q=0.9", "de"),  # a language of a country is met by the language
        ("DE-at-1996", "de"),
        ("ja, pt-BR;q=0.9, es;q=0.1", "es"),
        ("ja, de;q=0", None),
        ("de;q=0, *;q=0.5", "en"),
        ("fr-CA;q=0, fr", "fr"),
        ("en;q=0, de;q=0.001", "de"),
        ("*", None),  # whoever takes any is told in the one that suits best
        ("ja", None),
        ("", None),
        (None, None),
        ("de;q=nonsense, fr;q=0.1", "fr"),
        (";;,,q=1", None),
    ],
)
def test_the_language_that_is_liked_best_of_those_offered_is_chosen(header, chosen):
    assert choose(header, ("en", "de", "fr", "es")) == chosen


def test_all_languages_with_a_catalogue_are_offered_by_default():
    assert [choose(tag) for tag in ("en-GB", "de", "fr", "es", "ja")] == [
        "en",
        "de",
        "fr",
        "es",
        None,
    ]
