"""Text on paper: in which font each character stands, in which order, and what is shaped.

A text is split into runs. Most are drawn as they stand; only scripts whose letters join or move, and
letters with marks of their own, are shaped, which takes several times as long. Runs stand in the order
of Unicode's bidirectional algorithm (UAX 9) on a page that is read from the left.
"""

import codecs
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple, cast

from fpdf import FPDF
from fpdf.bidi import BidiParagraph
from fpdf.enums import TextDirection
from fpdf.fonts import TTFFont

from worker.languages import scripts
from worker.languages.scripts import JOINERS

# Scripts whose letters stand one after another as they are.
UNSHAPED = {
    "ARMENIAN", "BOPOMOFO", "CANADIAN", "CHEROKEE", "CJK", "CYRILLIC", "ETHIOPIC", "FULLWIDTH",
    "GEORGIAN", "GREEK", "HALFWIDTH", "HANGUL", "HIRAGANA", "IDEOGRAPHIC", "KATAKANA",
    "KATAKANA-HIRAGANA", "LATIN", "TIFINAGH", "YI",
}  # fmt: skip

FROM_THE_RIGHT = {"R", "AL", "AN"}  # classes of UAX 9
ISOLATE, END = "\u2068", "\u2069"
KEPT = JOINERS + ISOLATE + END
UNISOLATED = dict.fromkeys(map(ord, ISOLATE + END))
# What a line is broken between: words, their parts behind a hyphen between letters, and ideographs
# and kana with the punctuation that must not begin a line.
IDEOGRAPHS = "\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
CLOSING = "\u3001\u3002\u300d\u300f\u3011\uff01\uff09\uff0c\uff0e\uff1a\uff1b\uff1f"
SPACE, LETTER = r"[^\S\u00a0\u202f]", r"[^\W\d_]"  # a space that must not be broken at is none
PIECE = re.compile(
    rf"{SPACE}+|[{IDEOGRAPHS}][{CLOSING}]*"
    rf"|(?:(?!{SPACE})[^{IDEOGRAPHS}-]|-(?!{LETTER})|(?<!{LETTER})-)+-?|-"
)

INK, GREY, RULE, ALARM = (24, 28, 36), (104, 112, 124), (208, 212, 220), (176, 32, 32)
MARGIN, WIDTH = 18.0, 174.0  # mm, on A4
Colour = tuple[int, int, int]


class Place(NamedTuple):
    """Where a character stands: in which font, and whether it is shaped."""

    font: str
    shaped: bool


class Run(NamedTuple):
    """Characters beside one another in one font, in the order in which they are read."""

    text: str
    place: Place
    leftward: bool = False


# Most documents need no other, and one with few glyphs and tables is read and embedded in half the time.
MAIN = Place("DejaVuSansWestern", shaped=False)

# The characters of each font that this process has read: to read one takes longer than to print a page.
_characters: dict[str, frozenset[int]] = {}


def isolated(text: str) -> str:
    """Keep a name whole beside dates and amounts: what is read from the right turns nothing else."""
    return f"{ISOLATE}{text.translate(UNISOLATED)}{END}" if _turns(text) else text


class Paper(FPDF):
    """A4 pages that take text of any script.

    Attributes:
        on_each_page: what is drawn at the top of each page that begins, such as a table's head.
    """

    def __init__(
        self, *, foot: str, page_of: str, language: str, compliance: str | None = None
    ) -> None:
        """Begin with no page: `foot` stands below each, beside `page_of` with {page} and {pages}.

        `compliance` is the standard that it keeps to, such as PDF/A-3B.
        """
        super().__init__(format="A4", enforce_compliance=compliance)
        self.on_each_page: Callable[[], None] | None = None
        self._foot, self._page_of = foot, page_of
        self._fonts_of: dict[str, str | None] = {}
        self._plain: set[str] = set()
        self._runs: dict[str, tuple[Run, ...]] = {}
        self._widths: dict[tuple[Run, float, bool], float] = {}
        self.set_lang(language)
        self.set_margins(MARGIN, MARGIN)
        self.c_margin = 0.0  # so that text and rules share their edges
        self.set_auto_page_break(True, margin=24)
        self._load(MAIN.font)

    def header(self) -> None:
        """Draw what each page begins with."""
        if self.on_each_page:
            self.on_each_page()

    def footer(self) -> None:
        """Say whose page this is, and which of how many."""
        self.set_y(-15)
        self.write_text(
            self.fitted(self._foot, size=7.5, width=134), size=7.5, colour=GREY, width=134
        )
        page = self._page_of.format(page=self.page_no(), pages=self.str_alias_nb_pages)
        self.set_font(MAIN.font, "", 7.5)
        self.set_text_color(*GREY)
        self.cell(40, 4.6, page, align="R")

    def write_text(
        self,
        words: str,
        *,
        size: float = 9,
        bold: bool = False,
        colour: Colour = INK,
        width: float = WIDTH,
        height: float = 4.6,
        align: str = "L",
        ends: bool = False,
    ) -> None:
        """Write one line of text in a cell; `ends` goes on to the next line."""
        left, top = self.x, self.y
        x = left if align == "L" else left + width - self.width_of(words, size=size, bold=bold)
        self.set_text_color(*colour)
        for run in self.runs(words):
            self._draw(run, x, top + height / 2, size, bold)
            x += self._width(run, size, bold)
        self.set_xy(*((self.l_margin, top + height) if ends else (left + width, top)))

    def write_lines(
        self,
        words: str,
        *,
        size: float = 9,
        bold: bool = False,
        colour: Colour = INK,
        width: float = WIDTH,
        height: float = 0,
    ) -> None:
        """Write text in as many lines as it needs, on the next page where this one is full."""
        left, height = self.x, height or size * 0.52
        for line in self.wrapped(words, size=size, bold=bold, width=width):
            self.need(height)
            self.set_x(left)
            self.write_text(line, size=size, bold=bold, colour=colour, height=height, ends=True)

    def need(self, height: float) -> None:
        """Begin a page where so much does not fit on this one any more."""
        if self.will_page_break(height):
            self.add_page()

    def rule(self, *, left: float = MARGIN, weight: float = 0.2) -> None:
        """Draw a line across, from `left` to the right margin."""
        self.set_draw_color(*RULE)
        self.set_line_width(weight)
        self.line(left, self.get_y(), MARGIN + WIDTH, self.get_y())

    def width_of(self, words: str, *, size: float, bold: bool = False) -> float:
        """Give how wide a line of text is, in mm."""
        return sum(self._width(run, size, bold) for run in self.runs(words))

    def wrapped(self, words: str, *, size: float, width: float, bold: bool = False) -> list[str]:
        """Break text into lines of a width; a word that is too long by itself is broken, too."""

        def fits(line: str) -> bool:
            return self.width_of(line.rstrip(), size=size, bold=bold) <= width

        if fits(words) and "\n" not in words:
            return [words]
        lines: list[str] = []
        for paragraph in words.splitlines():
            lines.append("")
            for piece in _pieces(paragraph, fits):
                if lines[-1] and not fits(lines[-1] + piece):
                    lines.append("")
                lines[-1] += piece if lines[-1] else piece.lstrip()
        return _closed([line.rstrip() for line in lines])

    def fitted(self, words: str, *, size: float, width: float) -> str:
        """Cut text that is too long for one line, and say so by an ellipsis."""
        first, *more = self.wrapped(words, size=size, width=width - 3)
        return f"{first}…" if more else first

    def runs(self, words: str) -> tuple[Run, ...]:
        """Split a line of text into runs, from the left of the page to the right."""
        if words not in self._runs:
            self._runs[words] = self._split(words)
        return self._runs[words]

    def _split(self, words: str) -> tuple[Run, ...]:
        if self._plain.issuperset(words):
            return (Run(words, MAIN),) if words else ()
        text = self._drawable(words)
        if not _turns(text):
            text = text.translate(UNISOLATED)
        places = [place for letter in _letters(text) for place in self._places(letter)]
        if _turns(text):
            return tuple(_turned(text, places))
        if all(place == MAIN for place in places):
            self._plain.update(text)
        return tuple(_grouped(text, places))

    def _drawable(self, words: str) -> str:
        return scripts.drawable(words, self._font_of, kept=KEPT)

    def _places(self, letter: str) -> list[Place]:
        """Give a letter and its marks their place: in one font, where one has them all."""
        fonts = [font for c in letter if (font := self._font_of(c))]
        whole = [f for f in fonts if all(c in KEPT or self._has(f, c) for c in letter)]
        shaped = len(letter) > 1 or scripts.script(letter[0]) not in UNSHAPED
        font = (whole or fonts or [MAIN.font])[0]
        if len(letter) == 1 or whole:
            return [Place(font, shaped)] * len(letter)
        return [Place(self._font_of(c) or font, shaped) for c in letter]

    def _font_of(self, character: str) -> str | None:
        """Give the font that has a character, the main one if it does; None where none has."""
        if character not in self._fonts_of:
            fonts = (MAIN.font, *scripts.candidates(character))
            self._fonts_of[character] = next((f for f in fonts if self._has(f, character)), None)
        return self._fonts_of[character]

    def _has(self, font: str, character: str) -> bool:
        if font not in _characters:
            self._load(font)
            _characters[font] = frozenset(cast("TTFFont", self.fonts[font.lower()]).cmap)
        return ord(character) in _characters[font]

    def _load(self, font: str) -> None:
        """Add a font where it is not there yet, and its bold face where it has one."""
        if font.lower() in self.fonts:
            return
        self.add_font(font, "", scripts.regular(font))
        if bold := scripts.bold(font):
            self.add_font(font, "B", bold)

    def _draw(self, run: Run, x: float, middle: float, size: float, bold: bool) -> None:
        self._dress(run, size, bold)
        if not run.place.shaped:
            self.text(x, middle + 0.3 * self.font_size, run.text)
            return
        self._read_as("" if run.leftward else run.text)
        self.set_xy(x, middle - self.font_size / 2)
        self.cell(0, self.font_size, run.text, align="L")
        self._out("EMC")
        self.set_text_shaping(False)

    def _read_as(self, text: str) -> None:
        """Have what is drawn up to EMC copied as text, and not as its glyphs in their order.

        Readers turn Arabic and Hebrew by themselves.
        """
        encoded = (codecs.BOM_UTF16_BE + text.encode("utf-16-be")).hex().upper()
        self._out(f"/Span <</ActualText <{encoded}>>> BDC" if text else "/Span BMC")

    def _width(self, run: Run, size: float, bold: bool) -> float:
        key = (run, size, bold)
        if key not in self._widths:
            self._dress(run, size, bold)
            font = cast("TTFFont", self.current_font)
            shaping = self.text_shaping and self.text_shaping | {
                "fragment_direction": self.text_shaping["direction"]
            }
            _, points = font.get_text_width(run.text, size, shaping or None)
            self._widths[key] = points / self.k
            self.set_text_shaping(False)
        return self._widths[key]

    def _dress(self, run: Run, size: float, bold: bool) -> None:
        """Set the font of a run, and shape what is drawn until that is set off."""
        self._load(run.place.font)
        family = run.place.font.lower()
        self.set_font(family, "B" if bold and f"{family}B" in self.fonts else "", size)
        if run.place.shaped:
            direction = TextDirection.RTL if run.leftward else TextDirection.LTR
            self.set_text_shaping(True, direction=direction)


def _grouped(text: str, places: Sequence[Place]) -> Iterator[Run]:
    for place, some in groupby(zip(text, places, strict=True), key=lambda pair: pair[1]):
        yield Run("".join(character for character, _ in some), place)


def _turned(text: str, places: Sequence[Place]) -> Iterator[Run]:
    """Put characters into the order of the page; those read from the right are shaped.

    Their spaces are of the wide font, so that a name is one run.
    """
    paragraph = BidiParagraph(text, TextDirection.LTR, preserve_bn_chars=True)
    seen = [
        (one.character, one.embedding_level % 2 == 1, places[one.character_index])
        for one in paragraph.get_reordered_characters()
        if one.character not in (ISOLATE, END)
    ]
    for (leftward, place), some in groupby(seen, key=lambda one: (one[1], _beside(*one[1:]))):
        characters = [character for character, _, _ in some]
        yield Run("".join(characters[::-1] if leftward else characters), place, leftward)


def _beside(leftward: bool, place: Place) -> Place:
    """Give the place of a character among others that are read in its direction."""
    if not leftward:
        return place
    return Place(scripts.WIDE if place.font == MAIN.font else place.font, shaped=True)


def _pieces(paragraph: str, fits: Callable[[str], bool]) -> Iterator[str]:
    """Give what a line may be broken between; of a piece that fits no line, parts that do."""
    for piece in PIECE.findall(paragraph):
        part = ""
        for letter in [piece] if fits(piece) else _letters(piece):
            if part and not fits(part + letter):
                yield part
                part = ""
            part += letter
        yield part


def _letters(text: str) -> list[str]:
    """Part a text into letters, each with the marks and joiners behind it."""
    letters: list[str] = []
    for character in text:
        if letters and (character in JOINERS or unicodedata.category(character)[0] == "M"):
            letters[-1] += character
        else:
            letters.append(character)
    return letters


def _closed(lines: list[str]) -> list[str]:
    """Go on with a name that is read from the right in the line in which it goes on."""
    open_, closed = "", []
    for line in lines:
        whole = open_ + line
        open_ = ISOLATE if whole.count(ISOLATE) > whole.count(END) else ""
        closed.append(whole + END if open_ else whole)
    return closed


def _turns(text: str) -> bool:
    """Say whether any of a text is read from the right."""
    return not text.isascii() and any(unicodedata.bidirectional(c) in FROM_THE_RIGHT for c in text)
