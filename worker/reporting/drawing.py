"""Charts in one style: colours that colour-blind people can distinguish, and alternative texts."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any

import babel
from babel import dates

from worker.reporting import showing

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

# Okabe and Ito's colours, distinct with every kind of colour blindness, and by lightness in grey.
BLUE, SKY, ORANGE, VERMILION, INK, GREY = (
    "#0072B2", "#8CC8EA", "#E69F00", "#D55E00", "#1f2933", "#6b7785",
)  # fmt: skip
WIDTH = 8.4  # inches; the page's column
TALL, ROW, EMPTY = 3.4, 0.36, 0.9
LONGEST_NAME = 38
SEASON = 130  # days; a longer axis is labelled with months

STYLE: Any = {
    "svg.fonttype": "path",
    "svg.hashsalt": "keypool",
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": "#c3cad3",
    "axes.labelcolor": GREY,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "grid.color": "#e6eaef",
    "grid.linewidth": 0.8,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "font.family": ["DejaVu Sans"],
}


def chart(
    title: str, alternative: str, draw: Callable[["Axes"], None], *, height: float = TALL
) -> "Figure":
    """Draw a chart with a title and an alternative text."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(title)
        draw(axes)
        figure.set_label(alternative)
        # Ticks and the legend are drawn later, and need the style too.
        take_literally(figure)
        figure.canvas.draw()
    return figure


def take_literally(figure: "Figure") -> None:
    """Have a $ in somebody's words be a dollar, and no formula: ticks do not follow the style."""
    from matplotlib.text import Text

    for axes in figure.axes:
        axes.get_xticklabels()  # makes the labels, which are otherwise made later
        axes.get_yticklabels()
    for text in figure.findobj(Text):
        text.set_parse_math(False)


def nothing(title: str) -> "Figure":
    """Draw an empty chart that says that there is no data yet."""

    def draw(axes: "Axes") -> None:
        axes.axis("off")
        axes.text(0, 0.5, "Nothing yet in this period.", color=GREY, transform=axes.transAxes)

    return chart(title, f"{title}: nothing yet in this period.", draw, height=EMPTY)


def counted(
    title: str,
    frame: "pd.DataFrame",
    locale: babel.Locale,
    *,
    unit: str,
    name: str | None = None,
    count: str | None = None,
    colour: str = BLUE,
    upright: bool = False,
) -> "Figure":
    """Draw a bar per row: name and count, by default the frame's first two columns."""
    if frame.empty:
        return nothing(title)
    names, counts = (
        frame[column or frame.columns[place]].tolist() for place, column in enumerate((name, count))
    )
    return bars(
        title,
        f"{title}: {listed(names, counts, locale)}.",
        names,
        {unit: (counts, colour)},
        unit=unit,
        locale=locale,
        upright=upright,
    )


def counted_days(title: str, frame: "pd.DataFrame", locale: babel.Locale, *, unit: str) -> "Figure":
    """Draw a frame with a row per day: the day, its count, and the mean of seven days."""
    if frame.empty:
        return nothing(title)
    each, counts, means = (frame[column].tolist() for column in frame.columns)
    total, best = showing.number(sum(counts), locale), counts.index(max(counts))
    alternative = (
        f"{title}: {total} from {each[0]:%Y-%m-%d} to {each[-1]:%Y-%m-%d}, "
        f"at most {showing.number(counts[best], locale)} on {each[best]:%Y-%m-%d}."
    )
    return days(
        title, alternative, each, counts, [float(m) for m in means], unit=unit, locale=locale
    )


def listed(names: Sequence[str], counts: Sequence[int], locale: babel.Locale) -> str:
    """List names with their counts, as text."""
    return ", ".join(f"{n} {showing.number(c, locale)}" for n, c in zip(names, counts, strict=True))


def bars(
    title: str,
    alternative: str,
    names: Sequence[str],
    parts: Mapping[str, tuple[Sequence[int], str]],
    *,
    unit: str,
    locale: babel.Locale,
    upright: bool = False,
) -> "Figure":
    """Draw a stacked bar per name, of parts (label: values, colour), with its total."""

    def draw(axes: "Axes") -> None:
        shown = [shorten(name) for name in names]
        begin = [0] * len(shown)
        for label, (values, colour) in parts.items():
            if upright:
                axes.bar(shown, values, bottom=begin, color=colour, label=label, width=0.72)
            else:
                axes.barh(shown, values, left=begin, color=colour, label=label, height=0.72)
            begin = [sum(pair) for pair in zip(begin, values, strict=True)]
        for place, total in enumerate(begin):
            _write_total(axes, place, total, showing.number(total, locale), upright)
        axes.grid(visible=False, axis="x" if upright else "y")
        _count(axes, unit, locale, along="y" if upright else "x")
        if not upright:
            axes.invert_yaxis()
        if len(parts) > 1:
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(parts), borderpad=0)

    height = TALL if upright else 1.1 + ROW * len(names)
    return chart(title, alternative, draw, height=height)


def days(
    title: str,
    alternative: str,
    days: Sequence[date],
    counts: Sequence[int],
    means: Sequence[float],
    *,
    unit: str,
    locale: babel.Locale,
) -> "Figure":
    """Draw a count per day, and its mean over seven days as a line."""

    def draw(axes: "Axes") -> None:
        from matplotlib.dates import AutoDateLocator
        from matplotlib.ticker import FuncFormatter

        x: Any = days
        axes.bar(x, counts, color=SKY, width=0.85, label="Each day")
        alone = "o" if len(days) == 1 else ""
        axes.plot(x, means, color=BLUE, linewidth=1.8, label="Mean of 7 days", marker=alone)
        axes.xaxis.set_major_locator(AutoDateLocator(minticks=min(len(days), 4), maxticks=10))
        axes.xaxis.set_major_formatter(FuncFormatter(partial(_day, locale, len(days))))
        axes.grid(visible=False, axis="x")
        _count(axes, unit, locale, along="y")
        axes.margins(x=0.01 if len(days) > 3 else 1.5)
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderpad=0)

    return chart(title, alternative, draw)


def steps(
    title: str,
    alternative: str,
    x: Sequence[int],
    shares: Sequence[float],
    *,
    along: str,
    locale: babel.Locale,
) -> "Figure":
    """Draw a share as a step line, up to one."""

    def draw(axes: "Axes") -> None:
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        axes.step(x, shares, where="post", color=BLUE, linewidth=1.8)
        axes.fill_between(x, shares, step="post", color=SKY, alpha=0.35, linewidth=0)
        axes.set_ylim(0, 1)
        axes.set_xlim(0, max(x))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        axes.yaxis.set_major_formatter(
            FuncFormatter(lambda share, _: showing.percent(share, locale, decimals=0))
        )
        axes.set_xlabel(along)
        axes.set_ylabel("share of keys redeemed")

    return chart(title, alternative, draw)


def spans(
    title: str,
    alternative: str,
    names: Sequence[str],
    spans: Sequence[tuple[date, date, date]],
    *,
    solid: Sequence[bool],
    locale: babel.Locale,
) -> "Figure":
    """Draw a span of days per name, with a mark within it; a mark that is not solid is hollow."""

    def draw(axes: "Axes") -> None:
        from matplotlib.dates import AutoDateLocator, date2num
        from matplotlib.ticker import FuncFormatter

        days = [[float(date2num(day)) for day in span] for span in spans]
        for place, ((first, at, last), is_solid) in enumerate(zip(days, solid, strict=True)):
            axes.plot([first, last], [place, place], color=SKY, linewidth=7, solid_capstyle="butt")
            fill = BLUE if is_solid else "white"
            axes.plot([at], [place], "o", color=BLUE, markerfacecolor=fill, markersize=7)
        first, last = min(span[0] for span in days), max(span[2] for span in days)
        axes.set_yticks(range(len(names)), [shorten(name) for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.xaxis.set_major_locator(AutoDateLocator(minticks=3, maxticks=8))
        axes.xaxis.set_major_formatter(FuncFormatter(partial(_day, locale, int(last - first) + 1)))
        axes.grid(visible=False, axis="y")

    return chart(title, alternative, draw, height=1.1 + ROW * len(names))


def heat(
    title: str,
    alternative: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: "NDArray[np.float64]",
    *,
    along: str,
    write: Callable[[float], str] | None = None,
) -> "Figure":
    """Draw a heat map, darker for more; with `write`, with the values."""

    def draw(axes: "Axes") -> None:
        shades = axes.imshow(values, cmap="Blues", aspect="auto", vmin=0)
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yticks(range(len(rows)), rows)
        axes.set_xlabel(along)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        darkest = max((v for v in values.ravel().tolist() if v == v), default=0)
        if write is None:
            axes.figure.colorbar(shades, ax=axes, pad=0.02, aspect=12).outline.set_visible(False)
        else:
            for place, value in enumerate(values.ravel().tolist()):
                row, column = divmod(place, len(columns))
                shade = "white" if value > 0.6 * darkest else INK
                words = "" if value != value else write(value)
                axes.text(column, row, words, ha="center", va="center", fontsize=7.5, color=shade)

    return chart(title, alternative, draw, height=1.2 + 0.32 * len(rows))


def months(
    alternative: str,
    charts: Mapping[str, tuple[Sequence[date], Mapping[str, tuple[Sequence[float], str]], str]],
    *,
    locale: babel.Locale,
) -> "Figure":
    """Draw one chart per title, above one another: stacked bars by month, with a unit."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 2.5 * len(charts)), layout="constrained")
        places = figure.subplots(len(charts), squeeze=False)[:, 0]
        for axes, (title, (firsts, parts, unit)) in zip(places, charts.items(), strict=True):
            axes.set_title(title)
            x, begin = range(len(firsts)), [0.0] * len(firsts)
            for label, (values, colour) in parts.items():
                axes.bar(x, values, bottom=begin, color=colour, label=label, width=0.72)
                begin = [sum(pair) for pair in zip(begin, values, strict=True)]
            every = -(-len(firsts) // 14)  # more names do not fit side by side
            axes.set_xticks(x[::every], _named(firsts[::every], locale))
            axes.grid(visible=False, axis="x")
            _count(axes, unit, locale, along="y")
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(parts), borderpad=0)
        figure.set_label(alternative)
        take_literally(figure)
        figure.canvas.draw()
    return figure


def _named(firsts: Sequence[date], locale: babel.Locale) -> list[str]:
    """Label months; the year is below its first month."""
    years = [first.year for first in firsts]
    return [
        _month(first, locale) + (f"\n{first:%Y}" if first.year not in years[:place] else "")
        for place, first in enumerate(firsts)
    ]


def _month(first: date, locale: babel.Locale) -> str:
    return str(dates.format_date(first, "LLL", locale=locale)).rstrip(".")


def shorten(name: str) -> str:
    """Shorten a name that is too long for an axis."""
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1].rstrip() + "…"


def _day(locale: babel.Locale, span: int, at: float, _: int | None = None) -> str:
    """Label a day on an axis of so many days: with month and year if there are many."""
    from matplotlib.dates import num2date

    form = "yMMM" if span > SEASON else "MMMd"
    return str(dates.format_skeleton(form, num2date(at).date(), locale=locale))


def _write_total(axes: "Axes", place: int, total: int, words: str, upright: bool) -> None:
    at, shift = ((place, total), (0, 4)) if upright else ((total, place), (5, 0))
    axes.annotate(
        words,
        at,
        xytext=shift,
        textcoords="offset points",
        ha="center" if upright else "left",
        va="bottom" if upright else "center",
        fontsize=8.5,
        color=INK,
    )


def _count(axes: "Axes", unit: str, locale: babel.Locale, *, along: str) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    def written(value: Any, _: int | None) -> str:
        return showing.number(round(value), locale)

    axis = axes.yaxis if along == "y" else axes.xaxis
    axis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axis.set_major_formatter(FuncFormatter(written))
    (axes.set_ylabel if along == "y" else axes.set_xlabel)(unit)
    most = (axes.dataLim.y1 if along == "y" else axes.dataLim.x1) or 1
    (axes.set_ylim if along == "y" else axes.set_xlim)(0, most * 1.1)
