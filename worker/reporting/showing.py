"""How a notebook shows tables, figures and pictures: as HTML without external resources.

A frame's `attrs` say more about it:
    figures: its rows are shown large;
    nothing: a sentence that says why it has no rows;
    rows: how many rows are shown; the page then says how many there are, and offers all as CSV;
    download: the name of its CSV, which is offered in any case;
    whole: the frame that its CSV has, where its last row stands for many;
    aside: columns that its CSV alone has, for want of room on the page;
    sums: columns that are summed below the table, by currency where it has one;
    titles: the titles of its courses, by their codes;
    links: for a column, the path of the console's page of a value, such as "/console/pools/{}";
    compared: figures of other periods, shown beside its own (`worker.reporting.comparing`).
"""

import base64
import html
import io
import re
import sys
from collections.abc import Callable, Hashable, Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import babel
from babel import dates, numbers

from worker.database.cells import guarded
from worker.languages.phrasebooks import LETTERS_AND_DIGITS, phrasebook
from worker.reporting import personal
from worker.settings import settings

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Row = dict[Hashable, Any]

ENGLISH = babel.Locale("en")
MISSING = "–"
TABLE = "table.csv"  # what a table that has no name of its own is saved as
MAX_ROWS = 200  # rows of a table shown on the page
BRIEF = 16  # characters; a column of texts up to this length is not wrapped
# Columns of long texts, and the class of the page's style that gives each some room.
ROOMY = {
    "course": "course",
    "organization": "organization",
    "forecast": "said",
    "likely": "said",
    "what": "said",
}
TAG = re.compile("<[^<>]*>")
WHOLE = 34  # characters; a code up to this length is not wrapped, because it fits beside the other columns
MANIFOLD = 10  # from so many times as much on, a change is said as a factor
# Columns whose values are ours and said in words: codes, and names of groups.
CODES = ("outcome", "answer", "status", "state", "compared", "launched", "first_launch",
         "redeemed_after", "account", "based_on")  # fmt: skip


class Sentence(str):
    """A sentence that a notebook shows as it is."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self)}</p>"


class Nothing(Sentence):
    """A sentence that says that there is nothing: its question counts as unanswered."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return f'<p class="nothing">{html.escape(self)}</p>'


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
    shows: list[tuple[str, str, Callable[[Any], str]]] = [
        ("pandas", "DataFrame", lambda frame: table(frame, locale)),
        ("pandas.core.frame", "DataFrame", lambda frame: table(frame, locale)),
        ("matplotlib.figure", "Figure", lambda figure: picture(figure, locale)),
    ]
    for module, name, show in shows:
        kind = getattr(sys.modules.get(module), name, None)
        if kind is None:
            formatter.for_type_by_name(module, name, show)
        else:  # a question before may have registered another locale
            formatter.for_type(kind, show)


def table(frame: "pd.DataFrame", locale: babel.Locale) -> str:
    """Give a DataFrame as an HTML table, or as large figures if it is marked as `figures`."""
    if frame.empty:
        return nothing(locale, why=frame.attrs.get("nothing"))
    show = _figures if frame.attrs.get("figures") else _rows
    return show(frame, locale)


def nothing(locale: babel.Locale, *, why: str | None = None) -> str:
    """Say that there is nothing; with the sentence that says why, where there is one."""
    sentence = why or nothing_said(locale)
    return f'<p class="nothing{" why" if why else ""}">{html.escape(sentence)}</p>'


def nothing_said(locale: babel.Locale) -> str:
    """Say that there is nothing, in a sentence."""
    return phrasebook(str(locale)).say("Nothing yet: no row in this period.")


def picture(figure: "Figure", locale: babel.Locale = ENGLISH) -> str:
    """Give a figure as an embedded image; its label is the alternative text.

    One without axes is of nothing.
    """
    if not figure.axes:
        return nothing(locale, why=figure.get_gid())
    drawn = io.BytesIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    data = base64.b64encode(drawn.getvalue()).decode()
    label = html.escape(str(figure.get_label()), quote=True)
    return f'<figure><img alt="{label}" src="data:image/svg+xml;base64,{data}"></figure>'


def number(value: int | float | Decimal, locale: babel.Locale) -> str:
    """Format a number with the locale's separators and at most two decimals."""
    return str(numbers.format_decimal(_unsigned(value, 2), format="#,##0.##", locale=locale))


def money(amount: Decimal, currency: str, locale: babel.Locale) -> str:
    """Format an amount with its currency's decimals; a currency's letters stand apart from its digits."""
    written = str(numbers.format_currency(amount, currency, locale=locale))
    return LETTERS_AND_DIGITS.sub("\u00a0", written)


def percent(share: float | Decimal, locale: babel.Locale, *, decimals: int = 1) -> str:
    """Format a share of one as a percentage."""
    digits = "#,##0." + "0" * decimals if decimals else "#,##0"
    pattern = locale.percent_formats[None].pattern.replace("#,##0", digits)
    return str(
        numbers.format_percent(_unsigned(share, decimals + 2), format=pattern, locale=locale)
    )


def _unsigned(value: int | float | Decimal, decimals: int) -> int | float | Decimal:
    """Give 0 for what is 0 when it is rounded: babel would leave its minus."""
    return 0 if abs(value) <= 0.5 * 10**-decimals else value


def change(now: Any, before: Any, locale: babel.Locale) -> str:
    """Say by how much a figure has changed: `+12 %`, `×31`; nothing where that has no meaning."""
    if not (_is_number(now) and _is_number(before) and now >= 0 and before > 0):
        return ""
    times = Decimal(now) / Decimal(before)
    if times >= MANIFOLD:
        return f"×{numbers.format_decimal(round(times), locale=locale)}"
    shift = round(times - 1, 2)
    return f"{'+' if shift > 0 else '±' if shift == 0 else ''}{percent(shift, locale, decimals=0)}"


def day(value: date, locale: babel.Locale, form: str = "medium") -> str:
    """Format a day, or its month, in the locale."""
    return str(dates.format_date(bare(value), format=form, locale=locale))


def bare(value: date) -> date:
    """Give the day of what may be a day or an instant."""
    return value.date() if isinstance(value, datetime) else value


def _rows(frame: "pd.DataFrame", locale: babel.Locale) -> str:
    aside = [name for name in frame.attrs.get("aside", ()) if name in frame]
    shown = frame.drop(columns=aside).head(frame.attrs.get("rows", MAX_ROWS))
    records = shown.to_dict("records")
    titles, links = frame.attrs.get("titles", {}), frame.attrs.get("links", {})
    cells = [
        [
            _marked(name, cell(name, value, row, locale), titles, links)
            for name, value in row.items()
        ]
        for row in records
    ]
    people = personal.named(frame)
    columns = [
        _column(name, list(shown[name]), [row[n] for row in cells], person=name in people)
        for n, name in enumerate(shown.columns)
    ]
    head = "".join(
        f'<th scope="col"{side}>{html.escape(heading(name, locale))}</th>'
        for name, side in zip(shown.columns, columns, strict=True)
    )
    body = "".join(_line(row, columns) for row in cells)
    sums = "".join(_line(map(html.escape, row), columns) for row in _summed(frame, locale))
    foot = f"<tfoot>{sums}</tfoot>" if sums else ""
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody>{foot}</table>"
    return _download(frame, locale) + table + _rest(frame, len(shown), locale)


def _line(marked: Iterable[str], columns: list[str]) -> str:
    cells = (f"<td{side}>{text}</td>" for text, side in zip(marked, columns, strict=True))
    return f"<tr>{''.join(cells)}</tr>"


def _marked(
    name: Hashable, text: str, titles: Mapping[str, str], links: Mapping[Hashable, str]
) -> str:
    """Give a cell's text as HTML: a course with its title, and a link where the console has a page of it."""
    if name == "course" and text in titles:
        return f"{html.escape(titles[text])} {code(f'({text})')}"
    if name not in links or text == MISSING:
        return code(text) if name == "course" else html.escape(text)
    address = settings().web_url(links[name].format(quote(text, safe="")))
    return f'<a href="{html.escape(address)}">{html.escape(text)}</a>'


def code(text: str) -> str:
    """Give a code as HTML: in one piece, and from left to right among letters that go the other way."""
    if len(text) > WHOLE:
        return html.escape(text)
    return f'<bdi class="code">{html.escape(text)}</bdi>'


def _summed(frame: "pd.DataFrame", locale: babel.Locale) -> list[list[str]]:
    """Give a total row for each currency that has several rows; without currencies, one of all."""
    sums = [name for name in frame.attrs.get("sums", ()) if name in frame]
    if not sums:
        return []
    parts = frame.groupby("currency") if "currency" in frame else [(None, frame)]
    rows = []
    for currency, part in parts:
        if len(part) > 1:
            totals: Row = {name: sum(part[name].tolist()) for name in sums}
            row: Row = {"currency": currency} | totals
            texts = [cell(name, row[name], row, locale) if name in row else "" for name in frame]
            rows.append([phrasebook(str(locale)).say("Total"), *texts[1:]])
    return rows


def _rest(frame: "pd.DataFrame", shown: int, locale: babel.Locale) -> str:
    if len(frame) <= shown:
        return ""
    said = phrasebook(str(locale)).say(
        "{shown} of {all} rows; the CSV has all.",
        shown=number(shown, locale),
        all=number(len(frame), locale),
    )
    return f'<p class="rest">{html.escape(said)}</p>'


def _download(frame: "pd.DataFrame", locale: babel.Locale) -> str:
    name = frame.attrs.get("download") or TABLE
    whole = frame.attrs.get("whole", frame)
    harmless = whole.map(lambda value: guarded(value) if isinstance(value, str) else value)
    data = base64.b64encode(harmless.to_csv(index=False).encode()).decode()
    said = phrasebook(str(locale)).say("Save this list as CSV")
    return (
        f'<p><a download="{html.escape(name, quote=True)}" '
        f'href="{personal.CSV_PREFIX}{data}">{html.escape(said)}</a></p>'
    )


def _column(name: Hashable, values: list[Any], cells: list[str], *, person: bool) -> str:
    if name not in ROOMY and all(_is_number(value) or value is None for value in values):
        return ' class="number"'
    brief = max(len(TAG.sub("", text)) for text in cells) <= BRIEF
    kinds = [*[personal.MARK] * person, *["brief"] * brief, ROOMY.get(str(name), "")]
    named = " ".join(filter(None, kinds))
    return f' class="{named}"' if named else ""


def _figures(frame: "pd.DataFrame", locale: babel.Locale) -> str:
    """Give each row's figures large, with those of other periods below them."""
    rows = frame.to_dict("records")
    compared = frame.attrs.get("compared", [])
    tiles = "".join(
        _tile(name, row, [others["rows"][place] for others in compared], compared, locale)
        for place, row in enumerate(rows)
        for name in row
        if name != "currency"
    )
    said = "".join(f"<p>{html.escape(others['said'])}</p>" for others in compared)
    note = f'<div class="compared">{said}</div>' if said else ""
    return f'<dl class="figures">{tiles}</dl>{note}'


def _tile(
    name: Hashable,
    row: Row,
    others: list[tuple[Row, Row]],
    compared: list[dict[str, Any]],
    locale: babel.Locale,
) -> str:
    currency = f", {row['currency']}" if isinstance(row.get("currency"), str) else ""
    beside = "".join(
        f'<dd class="beside">{html.escape(_beside(name, then, now, other["mark"], locale))}</dd>'
        for (then, now), other in zip(others, compared, strict=True)
    )
    return (
        f"<div><dt>{html.escape(heading(name, locale) + currency)}</dt>"
        f"<dd>{html.escape(cell(name, row[name], row, locale))}</dd>{beside}</div>"
    )


def _beside(name: Hashable, then: Row, now: Row, mark: str, locale: babel.Locale) -> str:
    is_share = str(name).endswith("share")
    changed = "" if is_share else change(now.get(name), then.get(name), locale)
    figure = cell(name, then.get(name), then, locale)
    return f"{mark} {figure}" + (f" ({changed})" if changed else "")


def words(name: Hashable) -> str:
    """Give a column's name, or an outcome, in words: with spaces, capitalised."""
    spaced = str(name).replace("_", " ")
    return spaced[:1].upper() + spaced[1:]


def heading(name: Hashable, locale: babel.Locale) -> str:
    """Give a column's name, or an outcome, in the locale's language."""
    return phrasebook(str(locale)).translate(words(name))


def cell(name: Hashable, value: Any, row: Row, locale: babel.Locale) -> str:
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
