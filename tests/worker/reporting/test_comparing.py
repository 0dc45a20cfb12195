"""What is said of a change is true of any numbers: of none, of one, and of those below zero."""

import re
from datetime import date, timedelta
from decimal import Decimal

import babel
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.languages.phrasebooks import LANGUAGES, phrasebook
from worker.reporting import comparing, reading, showing
from worker.reporting.question import Question

ENGLISH = phrasebook("en")
DAYS = st.dates(date(1990, 1, 1), date(2100, 1, 1))
COUNTS = st.integers(-(10**6), 10**6)
PARTS = st.dictionaries(st.sampled_from("ABCDEF"), st.tuples(COUNTS, COUNTS))


def asked(first: date, last: date, *, today: date = date(2200, 1, 1)) -> Question:
    now = pd.Timestamp(today, tz="UTC").to_pydatetime()
    return Question("Alder", first, last, "UTC", "en", now, today)


def read(text: str) -> int:
    return int(text.replace(",", "").replace("\u2212", "-"))


@given(PARTS)
def test_the_opening_sentence_says_what_is_so(parts):
    said = comparing.sentence("Keys", parts, lambda n: f"{n:,}", ENGLISH)

    now, before = (sum(pair[place] for pair in parts.values()) for place in (0, 1))
    total, _, most = (
        said.removesuffix(".").partition("; ") if "; none" not in said else (said, "", "")
    )
    number = r"(-?[\d,]+)"
    if more := re.fullmatch(
        rf"Keys: {number}, {number} (more|less) than in the period before", total
    ):
        assert before != 0
        assert read(more[1]) == now
        assert read(more[2]) * (1 if more[3] == "more" else -1) == now - before != 0
    elif same := re.fullmatch(rf"Keys: {number}, as in the period before", total):
        assert read(same[1]) == now == before != 0
    elif "; none in the period before" in said:
        assert (before, now != 0) == (0, True)
        assert said.startswith(f"Keys: {now:,};")
    else:
        assert said.startswith("Keys: none, and none in the period before")
        assert now == before == 0
    if moved := re.search(rf"(?:^|; )(\w) changed most: {number} instead of {number}", said):
        pair = parts[moved[1]]
        assert (read(moved[2]), read(moved[3])) == pair
        assert abs(pair[0] - pair[1]) == max(abs(a - b) for a, b in parts.values()) > 0
    else:
        assert len(parts) < 2 or all(a == b for a, b in parts.values())
    assert not most or moved


@given(PARTS, st.sampled_from(LANGUAGES))
def test_the_opening_sentence_is_said_in_every_language(parts, language):
    said = comparing.sentence("Keys", parts, str, phrasebook(language))

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


def test_the_sentence_on_revenue_is_of_the_currency_that_changed_most(monkeypatch):
    now = pd.DataFrame(
        {"course": ["A", "B", "A"], "currency": ["EUR", "EUR", "USD"], "revenue": [5, 5, 100]}
    )
    before = pd.DataFrame(
        {"course": ["A", "B", "A"], "currency": ["EUR", "EUR", "USD"], "revenue": [5, 1, 101]}
    )
    question = asked(date(2026, 3, 1), date(2026, 3, 31))

    opening = comparing.changed(
        question,
        "Revenue",
        lambda asked: now if asked == question else before,
        name="course",
        count="revenue",
    )

    assert opening.sentence == (
        "Revenue (EUR): €10.00, €4.00 more than in the period before; "
        "B changed most: €5.00 instead of €1.00."
    )


@pytest.fixture(autouse=True)
def _no_titles(monkeypatch):
    monkeypatch.setattr(reading, "frame", lambda _: pd.DataFrame({"course": [], "title": []}))
