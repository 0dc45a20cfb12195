"""How a notebook shows tables and pictures: as HTML without external resources."""

import base64
import html
import io
from collections.abc import Hashable
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import babel
from babel import dates, numbers

from worker.database.cells import guarded
from worker.languages.phrasebooks import phrasebook
from worker.reporting import personal

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NOTHING = '<p class="nothing">Nothing yet: no row in this period.</p>'
MISSING = "–"
MAX_ROWS = 200  # rows of a table shown on the page
BRIEF = 16  # characters; a column of texts up to this length is not wrapped
CODES = ("outcome", "answer", "status", "state")  # columns whose codes are shown in words


def register(locale: babel.Locale) -> None:
    """Show every DataFrame and Figure of this kernel in a locale; does nothing outside a kernel."""
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return
    shell = get_ipython()
    if shell is None or shell.display_formatter is None:
        return
    formatter = shell.display_formatter.formatters["text/html"]
    formatter.for_type_by_name("pandas", "DataFrame", lambda frame: table(frame, locale))
    formatter.for_type_by_name("pandas.core.frame", "DataFrame", lambda frame: table(frame, locale))
    formatter.for_type_by_name("matplotlib.figure", "Figure", picture)


class Sentence(str):
    """A sentence that a notebook shows as it is."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self)}</p>"


def table(frame: "pd.DataFrame", locale: babel.Locale) -> str:
    """Give a DataFrame as an HTML table, or as large figures if it is marked as `figures`.

    An empty one says why it is, if it knows it (`nothing`).
    """
    if frame.empty:
        return _nothing(frame.attrs.get("nothing"))
    show = _figures if frame.attrs.get("figures") else _rows
    return show(frame, locale)


def picture(figure: "Figure") -> str:
    """Give a figure as an embedded image; its label is the alternative text.

    One without axes is of nothing.
    """
    if not figure.axes:
        return _nothing(figure.get_gid())
    drawn = io.BytesIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    data = base64.b64encode(drawn.getvalue()).decode()
    label = html.escape(str(figure.get_label()), quote=True)
    return f'<figure><img alt="{label}" src="data:image/svg+xml;base64,{data}"></figure>'


def _nothing(why: str | None) -> str:
    return f'<p class="nothing">{html.escape(why)}</p>' if why else NOTHING


def number(value: int | float | Decimal, locale: babel.Locale) -> str:
    """Format a number with the locale's separators and at most two decimals."""
    return str(numbers.format_decimal(value, format="#,##0.##", locale=locale))


def money(amount: Decimal, currency: str, locale: babel.Locale) -> str:
    """Format an amount with its currency's decimals."""
    return str(numbers.format_currency(amount, currency, locale=locale))


def percent(share: float | Decimal, locale: babel.Locale, *, decimals: int = 1) -> str:
    """Format a share of one as a percentage."""
    digits = "#,##0." + "0" * decimals if decimals else "#,##0"
    pattern = locale.percent_formats[None].pattern.replace("#,##0", digits)
    return str(numbers.format_percent(share, format=pattern, locale=locale))


def day(value: date, locale: babel.Locale, form: str = "medium") -> str:
    """Format a day, or its month, in the locale."""
    return str(dates.format_date(bare(value), format=form, locale=locale))


def bare(value: date) -> date:
    """Give the day of what may be a day or an instant."""
    return value.date() if isinstance(value, datetime) else value


def _rows(frame: "pd.DataFrame", locale: babel.Locale) -> str:
    shown = frame.head(MAX_ROWS)
    records = shown.to_dict("records")
    cells = [[cell(name, value, row, locale) for name, value in row.items()] for row in records]
    people = personal.named(frame)
    columns = [
        _column(list(shown[name]), [row[n] for row in cells], person=name in people)
        for n, name in enumerate(shown.columns)
    ]
    head = "".join(
        f'<th scope="col"{side}>{html.escape(heading(name, locale))}</th>'
        for name, side in zip(frame.columns, columns, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{side}>{html.escape(text)}</td>" for text, side in zip(row, columns, strict=True)
        )
        + "</tr>"
        for row in cells
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return _download(frame) + table + _rest(frame, locale)


def _rest(frame: "pd.DataFrame", locale: babel.Locale) -> str:
    if len(frame) <= MAX_ROWS:
        return ""
    rows = f"The first {number(MAX_ROWS, locale)} of {number(len(frame), locale)} rows"
    return f'<p class="rest">{rows}{"; the CSV has all" if "download" in frame.attrs else ""}.</p>'


def _download(frame: "pd.DataFrame") -> str:
    if not (name := frame.attrs.get("download")):
        return ""
    harmless = frame.map(lambda value: guarded(value) if isinstance(value, str) else value)
    data = base64.b64encode(harmless.to_csv(index=False).encode()).decode()
    return (
        f'<p><a download="{html.escape(name, quote=True)}" '
        f'href="{personal.CSV_PREFIX}{data}">Save this list as CSV</a></p>'
    )


def _column(values: list[Any], texts: list[str], *, person: bool) -> str:
    if all(map(_is_number, values)):
        return ' class="number"'
    brief = max(map(len, texts)) <= BRIEF
    kinds = [*[personal.MARK] * person, *["brief"] * brief]
    return f' class="{" ".join(kinds)}"' if kinds else ""


def _figures(frame: "pd.DataFrame", locale: babel.Locale) -> str:
    row = frame.to_dict("records")[0]
    parts = "".join(
        f"<div><dt>{html.escape(heading(name, locale))}</dt>"
        f"<dd>{html.escape(cell(name, value, row, locale))}</dd></div>"
        for name, value in row.items()
    )
    return f'<dl class="figures">{parts}</dl>'


def words(name: Hashable) -> str:
    """Give a column's name, or an outcome, in words: with spaces, capitalised."""
    spaced = str(name).replace("_", " ")
    return spaced[:1].upper() + spaced[1:]


def heading(name: Hashable, locale: babel.Locale) -> str:
    """Give a column's name, or an outcome, in the locale's language."""
    return phrasebook(str(locale)).translate(words(name))


def cell(name: Hashable, value: Any, row: dict[Hashable, Any], locale: babel.Locale) -> str:
    """Format one value: shares as percentages, amounts in their row's currency, codes in words."""
    if value is None or value != value:
        return MISSING
    if _is_number(value):
        if str(name).endswith("share"):
            return percent(value, locale)
        if isinstance(value, Decimal) and isinstance(row.get("currency"), str):
            return money(value, row["currency"], locale)
        return number(value, locale)
    if isinstance(value, date):
        return day(value, locale, "MMM y" if str(name).endswith("month") else "medium")
    return heading(value, locale) if name in CODES else str(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)
