"""Charts show what they are given: a mark a row, each with its number, whatever the rows are called."""

import warnings
from datetime import date, timedelta
from typing import Any

import babel
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from worker.languages import scripts
from worker.languages.phrasebooks import phrasebook
from worker.reporting import calendars, drawing, lettering, showing

ENGLISH = babel.Locale("en")
FIRST = date(2026, 1, 1)
# Whatever the database can store as a name: any character but NUL and half of a surrogate pair.
NAMES = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60),
    st.sampled_from(["Pool", "$x^2$", "a $ b", "Pool" * 20, "Pool" * 20 + "!", "東京", "شركة", ""]),
)
ROWS = st.lists(
    st.tuples(NAMES, st.integers(0, 10**9), st.sampled_from(["Alder", "Borealis"])),
    min_size=1,
    max_size=12,
)


def widths(axes: Axes) -> list[float]:
    return [patch.get_width() for patch in axes.patches]


def labels(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


@given(ROWS)
def test_a_chart_has_as_many_marks_as_rows_each_with_its_number_and_its_name(rows):
    frame = pd.DataFrame(rows, columns=["pool", "keys", "organization"])

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as of a letter that no font has
        figure = drawing.counted("Keys", frame, ENGLISH, unit="keys")

    [axes] = figure.axes
    counts = [keys for _, keys, _ in rows]
    assert widths(axes) == counts
    assert [patch.get_y() + patch.get_height() / 2 for patch in axes.patches] == pytest.approx(
        list(axes.get_yticks())
    )
    assert [text.get_text() for text in axes.texts] == [showing.number(n, ENGLISH) for n in counts]
    named = labels(axes)
    assert len(set(named)) == len(rows)
    for (name, *_), label in zip(rows, named, strict=True):
        assert label.startswith(lettering.shorten(name).rstrip("…"))


def test_pools_of_one_name_are_told_apart_by_their_organizations_and_then_their_ids():
    organizations = ["Alder", "Borealis", "Borealis", "Alder"]
    frame = pd.DataFrame(
        {"pool": ["Spring"] * 3 + ["Autumn"], "keys": [3, 2, 1, 1], "organization": organizations}
    )

    apart = drawing.labelled(frame, "pool", ENGLISH)
    by_id = drawing.labelled(frame.assign(pool_id=[7, 8, 9, 10]), "pool", ENGLISH)

    assert apart == ["Spring · Alder", "Spring · Borealis · 2", "Spring · Borealis · 3", "Autumn"]
    assert by_id == ["Spring · Alder", "Spring · Borealis · 8", "Spring · Borealis · 9", "Autumn"]


def test_a_course_is_labelled_by_its_title_as_far_as_that_fits_and_its_code():
    courses = ["RS", "JA-1", "TYPO", "C" * 30]
    frame = pd.DataFrame({"course": courses, "attempts": [4, 3, 2, 1]})
    frame.attrs["titles"] = {"RS": "Rust", "JA-1": "東京" * 9, "C" * 30: "Long code"}

    assert drawing.labelled(frame, "course", ENGLISH) == [
        "Rust (RS)",
        "東京東京東京東京東京東京東京東… (JA-1)",
        "TYPO",
        "C" * 30,
    ]


def test_a_name_that_is_too_long_is_cut_by_what_it_takes_on_the_axis():
    assert lettering.shorten("x" * 38) == "x" * 38
    assert lettering.shorten("x" * 39) == "x" * 37 + "…"
    assert lettering.shorten("東" * 20) == "東" * 18 + "…"
    assert lettering.shorten("a\nb\u200b 🚀") == "a b <U+1F680>"
    assert lettering.shorten(" \u200b") == lettering.UNNAMED


@pytest.mark.parametrize("name", ["Pay $5 now", "$\\frac{$", "a $ b $ c", "$x^2$", "日本 $", "$م$"])
def test_a_dollar_in_somebodys_words_is_drawn_as_it_is(name):
    frame = pd.DataFrame({"pool": ["Other", name], "keys": [3, 4]})

    figure = drawing.counted(name, frame, ENGLISH, unit="keys")

    [axes] = figure.axes
    assert axes.get_title(loc="left") == name
    assert labels(axes) == ["Other", name]
    assert not any(label.get_parse_math() for label in axes.get_yticklabels())
    assert "<svg" not in showing.picture(figure)


def test_letters_are_drawn_in_the_fonts_of_invoices():
    families = lettering.families("Pool 東京 ไทย عربي")

    assert families == ["DejaVu Sans", "keypool DroidSansFallback", "keypool NotoSansThai"]
    assert {scripts.font_of(c) for c in "عربي"} == {scripts.WIDE}


def months(revenue: list[float], unbilled: list[float], **options: Any) -> Axes:
    firsts = [date(2026, month, 1) for month in range(1, len(revenue) + 1)]
    parts = {"Invoiced": (revenue, drawing.BLUE), "Unbilled": (unbilled, drawing.ORANGE)}
    charts = {"Revenue, EUR": (firsts, parts, "EUR")}
    return drawing.months("Revenue.", charts, locale=ENGLISH, **options).axes[0]


def test_a_month_below_zero_is_drawn_below_zero():
    axes = months([100.0, -50.0, 20.0], [10.0, -5.0, -30.0])

    heights = [(patch.get_y(), patch.get_height()) for patch in axes.patches]
    assert heights == [(0, 100), (0, -50), (0, 20), (100, 10), (-50, -5), (0, -30)]
    low, high = axes.get_ylim()
    assert low < -55
    assert high > 110


def test_a_month_that_is_not_wholly_counted_is_hatched_and_said():
    axes = months([5.0, 6.0], [0.0, 1.0], unfinished={date(2026, 2, 1): (3, 28)})

    assert [bool(patch.get_hatch()) for patch in axes.patches] == [False, True, False, True]
    [legend] = axes.figure.legends
    assert [t.get_text() for t in legend.get_texts()] == [
        "Invoiced", "Unbilled", "February 2026: 3 of 28 days"
    ]  # fmt: skip


def test_a_single_month_is_a_bar_and_no_wall():
    axes = months([100.0], [10.0])

    left, right = axes.get_xlim()
    assert (axes.patches[0].get_width() / (right - left)) < 0.2


def test_a_legend_names_nothing_that_is_not_drawn():
    figure = drawing.counted_days(
        "Keys", per_day([1]), ENGLISH, unit="keys", whole=FIRST - timedelta(1)
    )

    [axes] = figure.axes
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["Not over yet"]


def test_eight_currencies_fit_on_a_printed_page():
    parts = {"Invoiced": ([1.0], drawing.BLUE)}
    charts = {f"Revenue, {n}": ([FIRST], parts, "XXX") for n in range(8)}

    figure = drawing.months("Revenue.", charts, locale=ENGLISH)

    assert figure.get_size_inches()[1] <= drawing.TALLEST
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(charts)


def per_day(counts: list[int]) -> pd.DataFrame:
    days = pd.to_datetime([FIRST + timedelta(days=n) for n in range(len(counts))])
    return pd.DataFrame({"day": days, "redeemed": counts, "mean_of_7_days": [1.0] * len(counts)})


@given(st.lists(st.integers(0, 3), min_size=1, max_size=800), st.integers(-2, 800), st.booleans())
def test_an_axis_spans_the_days_that_have_something_and_names_no_other(counts, over, german):
    locale = babel.Locale("de" if german else "en")
    whole = FIRST + timedelta(days=over)

    figure = drawing.counted_days("Keys", per_day(counts), locale, unit="keys", whole=whole)

    busy = [n for n, count in enumerate(counts) if count]
    if not busy:
        assert figure.axes == []
        return
    [axes] = figure.axes
    shown = counts[busy[0] : busy[-1] + 1]
    assert [patch.get_height() for patch in axes.patches] == shown
    whole_days = max(0, min(over - busy[0] + 1, len(shown)))
    hatched = [bool(patch.get_hatch()) for patch in axes.patches]
    assert hatched == [False] * whole_days + [True] * (len(shown) - whole_days)
    assert len(axes.lines[0].get_xdata()) == whole_days
    first = FIRST + timedelta(days=busy[0])
    for tick, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True):
        assert 0 <= tick < len(shown)
        named = first + timedelta(days=int(tick))
        day = phrasebook(str(locale)).day_of_month(named)
        month = calendars.written(named, "LLL", locale)
        assert label.get_text().split("\n")[0] == (day if len(shown) <= calendars.SEASON else month)
    assert ("nothing" in axes.get_xlabel() or "nichts" in axes.get_xlabel()) == (
        len(shown) < len(counts)
    )


def test_bars_keep_their_colours_where_they_are_stacked():
    parts = {"Redeemed": ([1, 2], drawing.BLUE), "Refused": ([3, 4], drawing.VERMILION)}

    [axes] = drawing.bars(
        "Attempts", "Attempts.", ["A", "A"], parts, unit="attempts", locale=ENGLISH
    ).axes

    assert [(patch.get_x(), patch.get_width()) for patch in axes.patches] == [
        (0, 1), (0, 2), (1, 3), (2, 4)
    ]  # fmt: skip
    assert [to_hex(p.get_facecolor()).upper() for p in axes.patches[::2]] == [
        drawing.BLUE, drawing.VERMILION
    ]  # fmt: skip
