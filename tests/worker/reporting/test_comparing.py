"""What is said of a change is true of any numbers: of none, of one, and of those below zero."""

import re
from datetime import date, timedelta
from decimal import Decimal

import babel
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.languages.phrasebooks import LANGUAGES, Phrasebook, phrasebook
from worker.reporting import comparing, reading, showing
from worker.reporting.question import Question

ENGLISH = phrasebook("en")
DAYS = st.dates(date(1990, 1, 1), date(2100, 1, 1))
COUNTS = st.integers(-(10**6), 10**6)
NUMBER = r"(-?[\d,]+)"
PARTS = st.dictionaries(st.sampled_from("ABCDEF"), st.tuples(COUNTS, COUNTS))


def asked(first: date, last: date, *, today: date = date(2200, 1, 1)) -> Question:
    now = pd.Timestamp(today, tz="UTC").to_pydatetime()
    return Question("Alder", first, last, "UTC", "en", now, today)


def read(text: str) -> int:
    return int(text.replace(",", "").replace("\u2212", "-"))


def told(parts, book: Phrasebook = ENGLISH) -> str:
    total = sum(now for now, _ in parts.values())
    said = f"There were {total:,} keys" if total else "There was no key"
    return comparing.sentence(said, parts, lambda n: f"{n:,}", book, then="on the day before")


@given(PARTS)
def test_the_opening_sentence_says_what_is_so(parts):
    said = told(parts)

    now, before = (sum(pair[place] for pair in parts.values()) for place in (0, 1))
    total, _, most = said.removesuffix(".").partition("; ")
    figure, _, then = total.partition(", ")
    assert figure == (f"There were {now:,} keys" if now else "There was no key")
    if moved := re.fullmatch(rf"(up|down) from {NUMBER} on the day before", then):
        assert read(moved[2]) == before != 0
        assert (moved[1] == "up") == (now > before)
        assert now != before
    elif then == "the same as on the day before":
        assert now == before
    else:
        assert then == "after none on the day before"
        assert (before, now != 0) == (0, True)
    assert_said_of_the_most(most, parts)


def assert_said_of_the_most(most: str, parts: dict[str, tuple[int, int]]) -> None:
    shifts = sorted((abs(now - before) for now, before in parts.values()), reverse=True)
    if len(shifts) < 2 or shifts[0] == shifts[1]:
        assert most == ""
    elif leads := re.fullmatch(rf"(\w) leads with {NUMBER}", most):
        assert not any(before for _, before in parts.values())
        assert read(leads[2]) == parts[leads[1]][0] == max(now for now, _ in parts.values()) > 0
    else:
        number = r"(-?[\d,]+|none)"
        moved = re.fullmatch(rf"(\w) changed most, from {number} to {number}", most)
        assert moved
        before, now = (0 if one == "none" else read(one) for one in moved.groups()[1:])
        assert (now, before) == parts[moved[1]]
        assert abs(now - before) == shifts[0]
        assert "0" not in moved.groups()


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"A": (5430, 0)}, "5,430 keys, after none on the day before."),
        ({"A": (5430, 0), "B": (7, 0)}, "5,437 keys, after none on the day before; A leads with 5,430."),
        ({"A": (8, 0), "B": (7, 6)}, "15 keys, up from 6 on the day before; A changed most, from none to 8."),
        ({}, "no key, the same as on the day before."),
    ],
)  # fmt: skip
def test_the_opening_sentence_is_one_that_a_person_would_write(parts, said):
    assert told(parts) == f"There {'was' if not parts else 'were'} {said}"


@given(PARTS, st.sampled_from(LANGUAGES))
def test_the_opening_sentence_is_said_in_every_language(parts, language):
    said = told(parts, phrasebook(language))

    assert said.endswith(".")
    assert not re.search("∞|nan|{", said)


@given(
    st.one_of(COUNTS, st.decimals(-100, 100, places=2), st.none(), st.just(float("nan"))),
    st.one_of(COUNTS, st.decimals(-100, 100, places=2), st.none(), st.just(float("nan"))),
)
def test_a_change_is_said_only_where_it_has_a_meaning(now, before):
    said = showing.change(now, before, babel.Locale("en"))

    if now is None or before is None or now != now or before != before or before <= 0 or now < 0:
        assert said == ""
    elif times := re.fullmatch(r"×([\d,]+)", said):
        assert read(times[1]) == round(Decimal(now) / Decimal(before)) >= 10
    else:
        shift = round(Decimal(now) / Decimal(before) - 1, 2) * 100
        assert said == f"{'+' if shift > 0 else '±' if not shift else '-'}{abs(shift):.0f}%"


@given(DAYS, st.integers(0, 800))
def test_the_period_before_has_as_many_days_and_ends_where_this_one_begins(first, length):
    question = asked(first, first + timedelta(days=length))

    before, year = question.before(), question.year_before()

    assert before.last == first - timedelta(days=1)
    assert before.last - before.first == question.last - first
    assert (year is None) == (length >= 350)
    if year:
        assert (year.last.month, year.first.year) == (question.last.month, first.year - 1)


def test_what_is_compared_ends_with_the_last_whole_day():
    question = asked(date(2026, 3, 1), date(2026, 3, 31), today=date(2026, 3, 11))

    whole = question.ended()

    assert whole is not None
    assert (whole.first, whole.last) == (date(2026, 3, 1), date(2026, 3, 10))
    assert (whole.before().first, whole.before().last) == (date(2026, 2, 19), date(2026, 2, 28))
    assert asked(date(2026, 3, 11), date(2026, 3, 11), today=date(2026, 3, 11)).ended() is None


def test_months_that_are_not_wholly_counted_say_how_many_days_are():
    question = asked(date(2026, 1, 20), date(2026, 3, 31), today=date(2026, 3, 4))

    told = question.unfinished([date(2026, 1, 1), date(2026, 2, 1), date(2026, 3, 1)])

    assert told == {date(2026, 1, 1): (12, 31), date(2026, 3, 1): (3, 31)}


def figures(rows: list[dict[str, object]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    frame.attrs["figures"] = True
    return frame


def test_earlier_figures_stand_beside_each_large_one():
    counts = {date(2026, 3, 1): (120, 10), date(2026, 1, 29): (100, 0), date(2025, 3, 1): (1, 5)}

    def count(question: Question) -> pd.DataFrame:
        keys, refused = counts[question.first]
        return figures([{"attempts": keys, "refused": refused}])

    frame = comparing.beside(asked(date(2026, 3, 1), date(2026, 3, 31)), count)

    page = showing.table(frame, babel.Locale("en"))
    assert re.findall("<dd.*?</dd>", page) == [
        "<dd>120</dd>",
        '<dd class="beside">before 100 (+20%)</dd>',
        '<dd class="beside">a year before 1 (×120)</dd>',
        "<dd>10</dd>",
        '<dd class="beside">before 0</dd>',
        '<dd class="beside">a year before 5 (+100%)</dd>',
    ]
    assert "Before: 29 January 2026 to 28 February 2026, beside 1 March 2026 to" in page


def test_of_a_period_without_rows_counts_are_zero_and_shares_and_waits_are_unknown():
    now = {"attempts": 3, "refused_share": 0.5, "days_for_half": 7}

    frame = comparing.beside(
        asked(date(2026, 3, 1), date(2026, 3, 31)),
        lambda question: figures(
            [now] if question.first.month == 3 and question.first.year == 2026 else []
        ),
    )

    page = showing.table(frame, babel.Locale("en"))
    before = re.findall('<dd class="beside">(before.*?)</dd>', page)
    assert before == ["before 0", "before –", "before –"]


def test_amounts_are_compared_currency_by_currency():
    def revenue(question: Question) -> pd.DataFrame:
        rows = {
            3: [{"currency": "EUR", "revenue": Decimal(20)}, {"currency": "JPY", "revenue": Decimal(7)}],
            1: [{"currency": "EUR", "revenue": Decimal(10)}],
        }  # fmt: skip
        return figures(rows.get(question.first.month, []) if question.first.year == 2026 else [])

    frame = comparing.beside(asked(date(2026, 3, 1), date(2026, 3, 31)), revenue)

    page = showing.table(frame, babel.Locale("en"))
    assert re.findall("<dd.*?</dd>", page)[:2] == [
        "<dd>€20.00</dd>", '<dd class="beside">before €10.00 (+100%)</dd>'
    ]  # fmt: skip
    assert "<dt>Revenue, JPY</dt><dd>¥7</dd>" in page
    assert '<dd class="beside">before ¥0</dd>' in page


def revenue(rows: list[tuple[str, str, int, int]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["course", "currency", "redemptions", "revenue"])


def opening(now: pd.DataFrame, before: pd.DataFrame, **asked_of: date) -> str:
    question = asked(date(2026, 3, 1), date(2026, 3, 31), **asked_of)
    return comparing.changed(
        question,
        lambda book, amount, currency: (
            f"Revenue in {currency} was {showing.money(amount, str(currency), book.locale)}"
        ),
        lambda of: now if of.first == question.first else before,
        name="course",
        count="revenue",
    ).sentence


def test_the_sentence_on_revenue_is_of_the_currency_in_which_most_redemptions_came_or_went():
    now = revenue([("A", "EUR", 9, 5), ("B", "EUR", 9, 5), ("A", "USD", 2, 100)])
    before = revenue(
        [("A", "EUR", 9, 5), ("B", "EUR", 2, 1), ("A", "USD", 1, 1), ("A", "AUD", 3, 70)]
    )

    said = opening(now, before)

    assert said == (
        "Revenue in EUR was €10.00, up from €6.00 in the 31 days before; "
        "B changed most, from €1.00 to €5.00."
    )


def test_the_sentence_says_up_to_which_day_it_counts_where_the_period_is_not_over():
    now, before = revenue([("A", "EUR", 1, 5)]), revenue([])

    said = opening(now, before, today=date(2026, 3, 11))

    assert said == "Revenue in EUR was €5.00 up to 10 March 2026, after none in the 10 days before."


def test_a_code_in_the_sentence_stays_whole_and_reads_from_left_to_right():
    said = comparing.Opening("Go < on (NLP-150) leads.", frozenset(["NLP-150"]))

    assert said._repr_html_() == (
        '<p class="opening">Go &lt; on <bdi class="code">(NLP-150)</bdi> leads.</p>'
    )


@pytest.fixture(autouse=True)
def _no_titles(monkeypatch):
    monkeypatch.setattr(reading, "frame", lambda _: pd.DataFrame({"course": [], "title": []}))
