"""Charts in one style: colours that colour-blind people can distinguish, and alternative texts.

Titles, units and labels are English messages, said here in the language of the locale. A mark that is
hatched stands for a day or month that is not over, or not wholly in the period.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from textwrap import fill
from typing import TYPE_CHECKING, Any

import babel

from worker.languages.phrasebooks import Phrasebook, phrasebook
from worker.reporting import calendars, canvas, lettering, showing

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

# Okabe and Ito's colours, distinct with every kind of colour blindness, and by lightness in grey.
BLUE, SKY, ORANGE, VERMILION = "#0072B2", "#8CC8EA", "#E69F00", "#D55E00"
TALL, ROW = 3.4, 0.36
TALLEST = 9.0  # more does not fit on a printed page
COLUMN = 14  # letters of a name that fit below an upright bar
HATCH = "/////"
FEW = 6  # bars; fewer leave room beside them
QUALIFIERS = ("organization", "pool_id", "id")  # columns that tell two rows of one name apart

Parts = Mapping[str, tuple[Sequence[float], str]]  # by label: values, and their colour


def chart(
    title: str,
    alternative: str,
    draw: Callable[["Axes"], None],
    *,
    locale: babel.Locale,
    height: float = TALL,
) -> "Figure":
    """Draw a chart with a title and an alternative text."""

    def draw_all(figure: "Figure") -> None:
        axes = figure.add_subplot()
        axes.set_title(_say(title, locale))
        draw(axes)

    return canvas.page(draw_all, alternative, height=height)


def nothing(title: str, why: str | None = None) -> "Figure":
    """Give a chart of nothing: it is shown as a sentence, which says why if that is known."""
    from matplotlib.figure import Figure

    figure = Figure()
    figure.set_label(title)
    figure.set_gid(why)
    return figure


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
    """Draw a bar per row: name and count, by default the frame's first two columns.

    Where two names are alike, the row's organization is added, or its id.
    """
    if frame.empty:
        return nothing(title)
    named, counts = name or str(frame.columns[0]), frame[count or frame.columns[1]].tolist()
    names = labelled(frame, named, locale)
    return bars(
        title,
        f"{_say(title, locale)}: {listed(names, counts, locale)}.",
        names,
        {unit: (counts, colour)},
        unit=unit,
        locale=locale,
        upright=upright,
    )


def labelled(frame: "pd.DataFrame", name: str, locale: babel.Locale) -> list[str]:
    """Give a label for each row of a frame, each of its own; a course's has its title."""
    names = [showing.cell(name, value, {}, locale) for value in frame[name]]
    titles = frame.attrs.get("titles", {}) if name == "course" else {}
    names = [lettering.titled(one, titles[one]) if one in titles else one for one in names]
    more = [frame[column].tolist() for column in QUALIFIERS if column in frame and column != name]
    return lettering.labels(names, *more)


def counted_days(
    title: str,
    frame: "pd.DataFrame",
    locale: babel.Locale,
    *,
    unit: str,
    whole: date | None = None,
) -> "Figure":
    """Draw a frame with a row per day: the day, its count, and the mean of seven days.

    The axis goes from the first day that has something to the last. Days after `whole` are not over.
    """
    each, counts, means = (frame[column].tolist() for column in frame.columns)
    busy = [place for place, n in enumerate(counts) if n]
    if not busy:
        return nothing(title)
    shown = slice(busy[0], busy[-1] + 1)
    book, best = _book(locale), counts.index(max(counts))
    alternative = book.say(
        "{title}: {total} from {first} to {last}, at most {most} on {day}.",
        title=_say(title, locale),
        total=showing.number(sum(counts), locale),
        first=book.short_day(each[busy[0]]),
        last=book.short_day(each[busy[-1]]),
        most=showing.number(counts[best], locale),
        day=book.short_day(each[best]),
    )
    return days(
        title,
        alternative,
        [showing.bare(day) for day in each[shown]],
        counts[shown],
        [float(mean) for mean in means[shown]],
        unit=unit,
        locale=locale,
        whole=whole,
        beyond=(busy[0] > 0, busy[-1] + 1 < len(each)),
    )


def listed(names: Sequence[str], counts: Sequence[int], locale: babel.Locale) -> str:
    """List names with their counts, as text."""
    return ", ".join(f"{n} {showing.number(c, locale)}" for n, c in zip(names, counts, strict=True))


def bars(
    title: str,
    alternative: str,
    names: Sequence[str],
    parts: Parts,
    *,
    unit: str,
    locale: babel.Locale,
    upright: bool = False,
) -> "Figure":
    """Draw a stacked bar per name (see `labelled`), of parts, with its total: as many bars as names."""
    places = range(len(names))

    def draw(axes: "Axes") -> None:
        totals = _stack(axes, parts, locale, upright=upright)
        for place, total in enumerate(totals):
            _write_total(axes, place, total, showing.number(total, locale), upright)
        if upright:
            axes.set_xticks(places, [fill(name, COLUMN) for name in names])
            axes.set_xlim(*_roomy(len(names)))
        else:
            axes.set_yticks(places, names)
        axes.grid(visible=False, axis="x" if upright else "y")
        _count(axes, unit, locale, along="y" if upright else "x")
        if not upright:
            axes.set_ylim(len(names) - 0.4, -0.6)
        if len(parts) > 1:
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(parts), borderpad=0)

    height = TALL if upright else 1.1 + ROW * len(names)
    return chart(title, alternative, draw, locale=locale, height=height)


def days(
    title: str,
    alternative: str,
    days: Sequence[date],
    counts: Sequence[int],
    means: Sequence[float],
    *,
    unit: str,
    locale: babel.Locale,
    whole: date | None = None,
    beyond: tuple[bool, bool] = (False, False),
) -> "Figure":
    """Draw a count per day, and its mean over seven days as a line that ends on the last whole day.

    `beyond` says whether the period has days before the first, and after the last, that have nothing.
    """
    over = [day for day in days if whole is None or day <= whole]
    book = _book(locale)

    def draw(axes: "Axes") -> None:
        known = len(over)
        x: Any = range(len(days))
        if known:
            axes.bar(x[:known], counts[:known], color=SKY, width=0.85, label=book.say("Each day"))
        if known < len(days):
            label = book.say("Not over yet")
            axes.bar(x[known:], counts[known:], color=SKY, width=0.85, hatch=HATCH, label=label)
        alone = "o" if known == 1 else ""
        mean = book.say("Mean of 7 days") if known else None
        axes.plot(x[:known], means[:known], color=BLUE, linewidth=1.8, label=mean, marker=alone)
        axes.set_xticks(*calendars.ticks(days, locale))
        axes.set_xlim(*((-0.9, len(days) - 0.1) if len(days) > 3 else (-3, len(days) + 2)))
        axes.set_xlabel(calendars.beyond(book, days, beyond))
        axes.grid(visible=False, axis="x")
        _count(axes, unit, locale, along="y")
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, borderpad=0)

    return chart(title, alternative, draw, locale=locale)


def steps(
    title: str,
    alternative: str,
    x: Sequence[int],
    shares: Sequence[float],
    *,
    band: tuple[Sequence[float], Sequence[float]],
    along: str,
    locale: babel.Locale,
) -> "Figure":
    """Draw a share as a step line, up to one, in the band of its lowest and highest values."""

    def draw(axes: "Axes") -> None:
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        axes.fill_between(x, *band, step="post", color=SKY, alpha=0.45, linewidth=0)
        axes.step(x, shares, where="post", color=BLUE, linewidth=1.8)
        axes.set_ylim(0, 1)
        axes.set_xlim(0, max(x))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        axes.yaxis.set_major_formatter(
            FuncFormatter(lambda share, _: showing.percent(share, locale, decimals=0))
        )
        axes.set_xlabel(_say(along, locale))
        axes.set_ylabel(_book(locale).say("share of keys redeemed"))

    return chart(title, alternative, draw, locale=locale)


def spans(
    title: str,
    alternative: str,
    names: Sequence[str],
    spans: Sequence[tuple[date, date, date]],
    *,
    solid: Sequence[bool],
    locale: babel.Locale,
) -> "Figure":
    """Draw a span of days per name (see `labelled`), with a mark within it; one not solid is hollow."""

    first, last = min(span[0] for span in spans), max(span[2] for span in spans)
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]

    def draw(axes: "Axes") -> None:
        for place, (span, is_solid) in enumerate(zip(spans, solid, strict=True)):
            begin, at, end = ((day - first).days for day in span)
            axes.plot([begin, end], [place, place], color=SKY, linewidth=7, solid_capstyle="butt")
            fill = BLUE if is_solid else "white"
            axes.plot([at], [place], "o", color=BLUE, markerfacecolor=fill, markersize=7)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xticks(*calendars.ticks(days, locale))
        axes.grid(visible=False, axis="y")

    return chart(title, alternative, draw, locale=locale, height=1.1 + ROW * len(names))


def heat(
    title: str,
    alternative: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: "NDArray[np.float64]",
    *,
    along: str,
    locale: babel.Locale,
    write: Callable[[float], str] | None = None,
) -> "Figure":
    """Draw a heat map, darker for more; with `write`, with the values."""

    def draw(axes: "Axes") -> None:
        shades = axes.imshow(values, cmap="Blues", aspect="auto", vmin=0)
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yticks(range(len(rows)), rows)
        axes.set_xlabel(_say(along, locale))
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        darkest = max((v for v in values.ravel().tolist() if v == v), default=0)
        if write is None:
            axes.figure.colorbar(shades, ax=axes, pad=0.02, aspect=12).outline.set_visible(False)
        else:
            for place, value in enumerate(values.ravel().tolist()):
                row, column = divmod(place, len(columns))
                shade = "white" if value > 0.6 * darkest else canvas.INK
                words = "" if value != value else write(value)
                axes.text(column, row, words, ha="center", va="center", fontsize=7.5, color=shade)

    return chart(title, alternative, draw, locale=locale, height=1.2 + 0.32 * len(rows))


def months(
    alternative: str,
    charts: Mapping[str, tuple[Sequence[date], Parts, str]],
    *,
    locale: babel.Locale,
    unfinished: Mapping[date, tuple[int, int]] | None = None,
) -> "Figure":
    """Draw one chart per title: stacked bars by month, with a unit; what is below zero is below it.

    `unfinished` gives, for months that are not wholly counted, how many of their days are, and have;
    they are hatched.
    """
    wide = len(charts) <= 3  # more stand two beside one another, so that all fit on a printed page
    lines = len(charts) if wide else -(-len(charts) // 2)
    partly = unfinished or {}

    def draw_all(figure: "Figure") -> None:
        grid = figure.subplots(lines, 1 if wide else 2, squeeze=False).ravel().tolist()
        for axes, (title, (firsts, parts, unit)) in zip(grid, charts.items(), strict=False):
            axes.set_title(title)
            hatched = [place for place, first in enumerate(firsts) if first in partly]
            _stack(axes, parts, locale, upright=True, hatched=hatched)
            axes.set_xlim(*_roomy(len(firsts)))
            every = -(-len(firsts) // (14 if wide else 7))  # more names do not fit side by side
            axes.set_xticks(range(len(firsts))[::every], calendars.months(firsts[::every], locale))
            axes.grid(visible=False, axis="x")
            _count(axes, unit, locale, along="y", whole=False)
        for axes in grid[len(charts) :]:
            axes.set_visible(False)
        _explain(figure, next(iter(charts.values()))[1], partly, locale)

    return canvas.page(
        draw_all, alternative, height=min((2.5 if wide else 2.2) * lines + 0.3, TALLEST)
    )


def _roomy(bars: int) -> tuple[float, float]:
    """Give the ends of an axis on which few bars do not become walls."""
    beside = max(0.6, (FEW - bars) / 2)
    return -beside, bars - 1 + beside


def _stack(
    axes: "Axes",
    parts: Parts,
    locale: babel.Locale,
    *,
    upright: bool,
    hatched: Sequence[int] = (),
) -> list[float]:
    """Draw parts upon one another, those below zero downwards, and give each bar's total."""
    size = len(next(iter(parts.values()))[0])
    above, below = [0.0] * size, [0.0] * size
    for label, (values, colour) in parts.items():
        begin = [a if v >= 0 else b for v, a, b in zip(values, above, below, strict=True)]
        how: dict[str, Any] = {"color": colour, "label": _say(label, locale)}
        if upright:
            drawn = axes.bar(range(size), values, bottom=begin, width=0.72, **how)
        else:
            drawn = axes.barh(range(size), values, left=begin, height=0.72, **how)
        for place in hatched:
            drawn.patches[place].set_hatch(HATCH)
        above = [max(v, 0) + a for v, a in zip(values, above, strict=True)]
        below = [min(v, 0) + b for v, b in zip(values, below, strict=True)]
    return [sum(row) for row in zip(*(values for values, _ in parts.values()), strict=True)]


def _explain(
    figure: "Figure", parts: Parts, partly: Mapping[date, tuple[int, int]], locale: babel.Locale
) -> None:
    """Say once, above the charts, what each colour is, and what is hatched."""
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=colour) for _, colour in parts.values()]
    labels = [_say(label, locale) for label in parts]
    if partly:
        book = _book(locale)
        told = [
            book.say("{month}: {count} of {days} days", month=book.month(m), count=some, days=all_)
            for m, (some, all_) in partly.items()
        ]
        handles.append(Patch(facecolor=canvas.GREY, hatch=HATCH))
        labels.append("; ".join(told))
    figure.legend(handles, labels, loc="outside upper right", ncols=len(labels), borderpad=0)


def _write_total(axes: "Axes", place: int, total: float, words: str, upright: bool) -> None:
    at, shift = ((place, total), (0, 4)) if upright else ((total, place), (5, 0))
    axes.annotate(
        words,
        at,
        xytext=shift if total >= 0 else (-shift[0], -shift[1]),
        textcoords="offset points",
        ha="center" if upright else "left" if total >= 0 else "right",
        va="center" if not upright else "bottom" if total >= 0 else "top",
        fontsize=8.5,
        color=canvas.INK,
    )


def _count(
    axes: "Axes", unit: str, locale: babel.Locale, *, along: str, whole: bool = True
) -> None:
    """Have an axis count from zero, or from below it, a little beyond the longest bar."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    def written(value: Any, _: int | None) -> str:
        return showing.number(round(value) if whole else round(value, 2), locale)

    upright = along == "y"
    axis = axes.yaxis if upright else axes.xaxis
    axis.set_major_locator(MaxNLocator(nbins=6, integer=whole))
    axis.set_major_formatter(FuncFormatter(written))
    (axes.set_ylabel if upright else axes.set_xlabel)(_say(unit, locale))
    ends = axes.dataLim.intervaly if upright else axes.dataLim.intervalx
    least, most = min(0.0, *ends.tolist()), max(0.0, *ends.tolist())
    (axes.set_ylim if upright else axes.set_xlim)(
        least * 1.1, most * 1.1 or (0.0 if least else 1.0)
    )
    if least < 0:
        (axes.axhline if upright else axes.axvline)(0, color=canvas.GREY, linewidth=0.8)


def _book(locale: babel.Locale) -> Phrasebook:
    return phrasebook(str(locale))


def _say(message: str, locale: babel.Locale) -> str:
    """Say one of our messages in a language; what is none is left as it is."""
    return _book(locale).translate(message)
