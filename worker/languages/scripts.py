"""Which of our fonts has a character, by its script: for invoices, charts and printed reports."""

import re
import unicodedata
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path

from worker.languages.characters import INVISIBLE

FONTS = Path(__file__).parent / "fonts"

# Which font has a script that the main ones lack, by the first word of its characters' names.
WIDE = "DejaVuSans"
CJK = "DroidSansFallback"
FALLBACKS = {
    **dict.fromkeys(
        ("BOPOMOFO", "CJK", "FULLWIDTH", "HALFWIDTH", "HANGUL", "HIRAGANA", "IDEOGRAPHIC",
         "KATAKANA", "KATAKANA-HIRAGANA"),
        CJK,
    ),
    **{
        script: f"NotoSans{script.title()}"
        for script in ("BENGALI", "CHEROKEE", "DEVANAGARI", "ETHIOPIC", "GUJARATI", "GURMUKHI",
                       "JAVANESE", "KANNADA", "KHMER", "LAO", "MALAYALAM", "MONGOLIAN", "MYANMAR",
                       "ORIYA", "SINHALA", "SYRIAC", "TAMIL", "TELUGU", "THAANA", "THAI", "YI")
    },
    "TIBETAN": "NotoSerifTibetan",
}  # fmt: skip

JOINERS = "\u200c\u200d"  # they say how the letters beside them are shaped
CONTROL = re.compile(r"[\0-\x1f\x7f-\x9f\u2028\u2029]+")


def drawable(text: str, known: Callable[[str], object], *, kept: str = JOINERS) -> str:
    """Leave out what nobody sees, but for what is `kept`; name by its code point what no font has."""
    plain = unicodedata.normalize("NFC", CONTROL.sub(" ", text))
    seen = [c for c in plain if c in kept or not INVISIBLE.match(c)]
    return "".join(c if c in kept or known(c) else f"<U+{ord(c):04X}>" for c in seen)


@cache
def script(character: str) -> str:
    """Give the script of a character, as its name begins; what is of every script is Latin."""
    named = unicodedata.name(character, "").partition(" ")[0]
    letter = character.isalpha() or unicodedata.category(character)[0] == "M"
    return named if letter or named in FALLBACKS else "LATIN"


def candidates(character: str) -> list[str]:
    """Give the fonts that may have a character, beside the main one: the likeliest first."""
    own = FALLBACKS.get(script(character))
    return [*([own] if own else []), WIDE, CJK]


@cache
def characters(font: str) -> frozenset[int]:
    """Give the code points that a font has."""
    import uharfbuzz as harfbuzz

    return frozenset(harfbuzz.Face(harfbuzz.Blob.from_file_path(regular(font))).unicodes)


@cache
def font_of(character: str) -> str | None:
    """Give the font that has a character, the wide one if it does; None where none has."""
    fonts = (WIDE, *candidates(character))
    return next((font for font in fonts if ord(character) in characters(font)), None)


def part(font: str, characters: Collection[str]) -> bytes:
    """Give a font with some of its characters alone, and what shapes them."""
    import uharfbuzz as harfbuzz

    face = harfbuzz.Face(harfbuzz.Blob.from_file_path(regular(font)))
    chosen = harfbuzz.SubsetInput()
    chosen.unicode_set.update(ord(character) for character in characters)
    return bytes(harfbuzz.subset(face, chosen).blob.data)


def regular(font: str) -> Path:
    """Give the file of a font's regular face."""
    plain = FONTS / f"{font}.ttf"
    return plain if plain.exists() else FONTS / f"{font}-Regular.ttf"


def bold(font: str) -> Path | None:
    """Give the file of a font's bold face; None where it has none."""
    path = FONTS / f"{font}-Bold.ttf"
    return path if path.exists() else None
