"""Letters on charts: names told from one another, short enough for an axis, in fonts that have them."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from worker.languages import scripts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST = 38  # columns of a name on an axis
BRIEFLY = 20  # columns of what tells two names apart
WIDE = ("W", "F")  # East Asian widths: letters that take two columns
UNNAMED = "–"
MAIN = "DejaVu Sans"  # comes with matplotlib
OURS = "keypool "  # before a font's name, so that the machine's own of that name is not taken


def labels(names: Sequence[object], *qualifiers: Sequence[object]) -> list[str]:
    """Give a label for each name, each of its own.

    Where two names would look the same, the first qualifier (an organization) is added, and where they
    still do the next (an id); at last their place in the list.
    """
    written = [shorten(str(name)) for name in names]
    for more in qualifiers:
        written = _told_apart(written, [shorten(str(one), BRIEFLY) for one in more])
    while len(set(written)) < len(written):
        written = _told_apart(written, [str(place) for place, _ in enumerate(written, 1)])
    return written


def _told_apart(written: Sequence[str], more: Sequence[str]) -> list[str]:
    times = Counter(written)
    return [
        f"{one} · {extra}" if times[one] > 1 else one
        for one, extra in zip(written, more, strict=True)
    ]


def titled(code: str, title: str) -> str:
    """Give a title with its code, cut so that both fit on an axis; the code alone where it fills that."""
    room = LONGEST - _columns(code) - len(" ()")
    return f"{shorten(title, room)} ({code})" if room >= BRIEFLY else code


def shorten(name: str, longest: int = LONGEST) -> str:
    """Give a name as it can be drawn, cut where it is too long for an axis."""
    drawn = scripts.drawable(name, scripts.font_of).strip() or UNNAMED
    if _columns(drawn) <= longest:
        return drawn
    cut = drawn
    while _columns(cut) >= longest:
        cut = cut[:-1]
    return cut.rstrip() + "…"


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in WIDE else 1 for c in text)


def dress(figure: "Figure") -> None:
    """Have every text in fonts that have its letters, and a $ in somebody's words be a dollar.

    Ticks follow neither the style's fonts nor its word on formulas.
    """
    from matplotlib.text import Text

    for axes in figure.axes:
        axes.get_xticklabels()  # makes the labels, which are otherwise made later
        axes.get_yticklabels()
    for text in figure.findobj(Text):
        if isinstance(text, Text):
            text.set_parse_math(False)
            text.set_fontfamily(families(text.get_text()))


def families(text: str) -> list[str]:
    """Give the font families that a text needs, the main one first."""
    fonts = dict.fromkeys(scripts.font_of(c) for c in text if not c.isascii())
    return [MAIN, *(_registered(font) for font in fonts if font and font != scripts.WIDE)]


@cache
def _registered(font: str) -> str:
    """Make one of our fonts known to matplotlib, and give its family there."""
    from dataclasses import replace

    from matplotlib.font_manager import fontManager, get_font, ttfFontProperty

    entry = ttfFontProperty(get_font(scripts.regular(font)))
    fontManager.ttflist.append(replace(entry, name=f"{OURS}{font}"))
    return f"{OURS}{font}"
