"""What each outcome says to a learner, in each language."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from worker.languages.phrasebooks import LANGUAGES, phrasebook
from worker.redemption import outcomes
from worker.redemption.outcomes import Facts
from worker.tables.labels import LaunchOutcome, RedemptionOutcome

NOW = datetime(2026, 11, 28, 10, 10, tzinfo=UTC)
ENDS = NOW + timedelta(days=90)
OVER = NOW - timedelta(days=1)
STARTS = datetime(2026, 11, 30, 23, tzinfo=UTC)  # 1 Dec in Berlin
CLOSED = datetime(2026, 10, 31, 23, tzinfo=UTC)  # the end of 31 Oct in Berlin


def said(outcome: str, language: str = "en", **facts: Any) -> str:
    told = Facts("Europe/Berlin", now=NOW, **facts)
    return outcomes.message(phrasebook(language), outcome, told)


def test_every_outcome_has_its_sentence():
    assert set(outcomes.SENTENCES) >= {*RedemptionOutcome, *LaunchOutcome, "ended"}


@pytest.mark.parametrize("outcome", sorted(outcomes.SENTENCES))
def test_every_outcome_has_a_sentence_of_its_own_in_every_language(outcome):
    sentences = {said(outcome, language=language) for language in LANGUAGES}

    assert len(sentences) == len(LANGUAGES)
    assert all(sentence.endswith(".") and "{" not in sentence for sentence in sentences)


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("en", "The key is redeemed. Access ends on 26 Feb 2027, 11:10 (Europe/Berlin)."),
        ("de", "Der Schlüssel ist eingelöst."
               " Der Zugang endet am 26. Feb. 2027, 11:10 (Europe/Berlin)."),
        ("fr", "La clé est utilisée. L’accès prend fin le 26 févr. 2027, 11:10 (Europe/Berlin)."),
        ("es", "La clave está canjeada. El acceso termina el 26 feb 2027, 11:10 (Europe/Berlin)."),
    ],
)  # fmt: skip
def test_a_redeemed_key_says_when_access_ends(language, sentence):
    assert said("redeemed", language=language, ends=ENDS) == sentence


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("en", "The key cannot be redeemed before 1 Dec 2026 (Europe/Berlin)."),
        ("de", "Der Schlüssel kann nicht vor dem 1. Dez. 2026 (Europe/Berlin) eingelöst werden."),
        ("fr", "La clé ne peut pas être utilisée avant le 1 déc. 2026 (Europe/Berlin)."),
        ("es", "La clave no se puede canjear antes del 1 dic 2026 (Europe/Berlin)."),
    ],
)
def test_a_key_that_cannot_be_redeemed_yet_says_from_when(language, sentence):
    assert said("pool_not_started", language=language, limit=STARTS) == sentence


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("en", "The key could be redeemed until the end of 31 Oct 2026 (Europe/Berlin)."),
        ("de", "Der Schlüssel konnte bis zum Ablauf des 31. Okt. 2026 (Europe/Berlin)"
               " eingelöst werden."),
        ("fr", "La clé pouvait être utilisée jusqu’à la fin du 31 oct. 2026 (Europe/Berlin)."),
        ("es", "La clave se podía canjear hasta el final del 31 oct 2026 (Europe/Berlin)."),
    ],
)  # fmt: skip
def test_a_key_whose_time_is_over_says_until_when(language, sentence):
    assert said("pool_expired", language=language, limit=CLOSED) == sentence


def test_a_pool_whose_end_was_put_off_is_told_without_a_day_to_come():
    assert said("pool_expired", limit=STARTS) == "The key's time to be redeemed is over."


def test_a_key_of_ones_own_says_when_access_ends_or_ended():
    before = "You redeemed this key before."

    assert said("already_yours", ends=ENDS) == (
        f"{before} Access ends on 26 Feb 2027, 11:10 (Europe/Berlin)."
    )
    assert said("already_yours", ends=OVER) == (
        f"{before} Access ended on 27 Nov 2026, 11:10 (Europe/Berlin)."
    )


def test_a_launch_after_the_end_says_when_access_ended():
    assert said("assignment_expired", ends=OVER) == (
        "Access ended on 27 Nov 2026, 11:10 (Europe/Berlin)."
    )
    assert (
        said("assignment_expired", ends=ENDS) == "Access to the course had ended."
    )  # extended since
