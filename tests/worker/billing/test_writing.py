"""Text on paper: every letter of every script, in the order in which it is read."""

import io
import re
import unicodedata
from itertools import pairwise
from typing import cast

import pytest
from fpdf.fonts import TTFFont
from pypdf import PdfReader

from worker.billing import writing
from worker.billing.writing import Paper, isolated
from worker.languages import scripts

# Unicode's recommended scripts (UAX 31, table 5), and some that are in use besides; a line of each.
LINES = {
    "Arabic": "شركة التدريب المتقدم",
    "Armenian": "Հայերեն դասընթաց",
    "Bengali": "বাংলা প্রশিক্ষণ",
    "Bopomofo": "ㄅㄆㄇㄈ",
    "Cyrillic": "Академія навчання й розвитку",
    "Devanagari": "हिन्दी पाठ्यक्रम।",
    "Ethiopic": "አማርኛ ትምህርት",
    "Georgian": "ქართული კურსი",
    "Greek": "Ελληνική Ακαδημία",
    "Gujarati": "ગુજરાતી તાલીમ",
    "Gurmukhi": "ਪੰਜਾਬੀ ਸਿਖਲਾਈ",
    "Hangul": "한국어 교육 센터",
    "Han": "云计算培训中心「基础」",
    "Hebrew": "האקדמיה לטכנולוגיה",
    "Hiragana": "ひらがなのけんしゅう。",
    "Katakana": "クラウドセンター",
    "Kannada": "ಕನ್ನಡ ತರಬೇತಿ",
    "Khmer": "ភាសាខ្មែរ",
    "Lao": "ພາສາລາວ",
    "Latin": "Łódź, Việt Nam, Þórshöfn, Çeşme, Ğ",
    "Malayalam": "മലയാളം പരിശീലനം",
    "Myanmar": "မြန်မာ သင်တန်း",
    "Oriya": "ଓଡ଼ିଆ ତାଲିମ",
    "Sinhala": "සිංහල පුහුණුව",
    "Tamil": "தமிழ் பயிற்சி",
    "Telugu": "తెలుగు శిక్షణ",
    "Thaana": "ދިވެހި",
    "Thai": "ศูนย์ฝึกอบรมภาษาไทย",
    "Tibetan": "བོད་སྐད།",
    "Canadian Aboriginal": "ᐃᓄᒃᑎᑐᑦ",
    "Cherokee": "ᏣᎳᎩ",
    "Javanese": "ꦧꦱꦗꦮ",
    "Mongolian": "ᠮᠣᠩᠭᠣᠯ",
    "N'Ko": "ߒߞߏ",
    "Persian, with joiners": "می\u200cخواهم",
    "Syriac": "ܣܘܪܝܝܐ",
    "Tifinagh": "ⵜⵉⴼⵉⵏⴰⵖ",
    "Yi": "ꆈꌠꉙ",
}
# Written as letters and marks of their own, which are one letter on paper.
PARTED = "ELŐD Café Ńandé"


def page(words: str, *, bold: bool = False) -> bytes:
    paper = new()
    paper.add_page()
    paper.write_text(words, bold=bold)
    return bytes(paper.output())


def new() -> Paper:
    return Paper(foot="", page_of="", language="en")


def read(document: bytes) -> str:
    """Read a page as whoever copies from it does: what is to be copied goes before what is drawn."""
    [first] = PdfReader(io.BytesIO(document)).pages
    content = first.get_contents()
    told = re.findall(
        rb"ActualText <FEFF([0-9A-F]+)>", content.get_data() if content is not None else b""
    )
    if told:
        return " ".join(bytes.fromhex(one.decode()).decode("utf-16-be") for one in told)
    return first.extract_text().strip()


def order(words: str) -> str:
    """The runs of a line from the left to the right, as each is read."""
    return "|".join(run.text for run in new().runs(words))


@pytest.mark.parametrize("bold", [False, True])
@pytest.mark.parametrize("script", LINES)
def test_a_line_of_each_script_is_drawn_and_read_back(script, bold, caplog):
    line = LINES[script]

    told = read(page(isolated(line), bold=bold))

    letters = [c for c in unicodedata.normalize("NFC", line) if not c.isspace() and c != "\u200c"]
    assert [c for c in told if not c.isspace() and c != "\u200c"] == letters
    assert "missing" not in caplog.text


@pytest.mark.parametrize("script", LINES)
def test_each_letter_of_each_script_has_a_glyph(script):
    paper = new()

    runs = paper.runs(isolated(LINES[script]))

    drawn = {(run.place.font, c) for run in runs for c in run.text if c not in scripts.JOINERS}
    assert [pair for pair in sorted(drawn) if not paper._has(*pair)] == []
    assert "<U+" not in "".join(run.text for run in runs)


def test_letters_and_their_marks_are_one_letter_however_they_were_typed():
    typed = unicodedata.normalize("NFD", PARTED)

    assert read(page(typed)) == PARTED


def test_what_no_font_has_is_named_by_its_code_point():
    assert read(page("Rocket 🚀 𠮷")) == "Rocket <U+1F680> <U+20BB7>"


def test_what_nobody_sees_takes_no_place_and_breaks_no_line():
    assert order("Acad\u200be\ufeffmy\x00\n\tB\u202e") == "Academy B"


@pytest.mark.parametrize("face", ["", "B"])
def test_the_small_font_is_a_part_of_the_wide_one(face):
    paper = new()
    paper._load(scripts.WIDE)
    small, wide = (
        cast("TTFFont", paper.fonts[name.lower() + face])
        for name in (writing.MAIN.font, scripts.WIDE)
    )

    characters = set(small.cmap)

    assert {ord(c) for c in "Aßŋ Ωώ Жїґ €’–·…"} <= characters
    assert [chr(c) for c in characters if small.cw[c] != wide.cw[c]] == []


def test_names_in_arabic_and_hebrew_are_bold_where_names_are():
    runs = new().runs(isolated("שרון"))

    assert [run.place.font for run in runs] == ["DejaVuSans"]
    [first] = PdfReader(io.BytesIO(page(isolated("שרון"), bold=True))).pages
    fonts = first["/Resources"]["/Font"].values()
    assert any(font["/BaseFont"].endswith("DejaVuSansBold") for font in fonts)


def test_only_scripts_that_need_it_are_shaped():
    shaped = {
        script
        for script, line in LINES.items()
        if any(run.place.shaped for run in new().runs(isolated(line)))
    }

    assert shaped.isdisjoint(
        {"Armenian", "Bopomofo", "Cyrillic", "Ethiopic", "Georgian", "Greek", "Hangul", "Han",
         "Hiragana", "Katakana", "Latin", "Cherokee", "Canadian Aboriginal", "Tifinagh", "Yi"}
    )  # fmt: skip
    assert shaped >= {"Arabic", "Hebrew", "Devanagari", "Tamil", "Thai", "Khmer", "Myanmar"}


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        # The name goes from the right to the left, its number and what is in Latin within it too.
        (f"{isolated('שרון 2026')}, 5 May", "2026|שרון |, 5 May"),
        (f"{isolated('شركة Cloud 101')} · 12.50", "Cloud 101|شركة | · 12.50"),
        (f"Void: {isolated('כתובת (שגויה) 7')}", "Void: 7|כתובת (שגויה) "),
        # Two names with a number between them: neither takes the number along.
        (f"{isolated('אבא')} 12 {isolated('אמא')}", "אבא| 12 |אמא"),
        # As it would be without: the number would stand between the other way round.
        ("אבא 12 אמא", " אמא|12|אבא "),
        ("Plain 12 text", "Plain 12 text"),
    ],
)
def test_runs_stand_in_the_order_of_the_page(words, seen):
    assert order(words) == seen


def test_a_name_cannot_break_out_of_its_isolation():
    name = "שרון\u2069 2026\u202e"

    assert isolated(name) == "\u2068שרון 2026\u202e\u2069"
    assert order(f"{isolated(name)} 5").replace("|", "") == "2026שרון  5"


def test_lines_are_broken_at_spaces_and_no_line_is_too_wide():
    paper = new()
    words = "Kubernetes for beginners and for those who come back " * 5

    lines = paper.wrapped(words, size=9, width=60)

    assert " ".join(lines).split() == words.split()
    assert len(lines) > 5
    assert all(paper.width_of(line, size=9) <= 60 for line in lines)


@pytest.mark.parametrize("word", ["W" * 300, "クラウド" * 60, "ศูนย์ฝึกอบรม" * 20, "شركة" * 60])
def test_a_word_that_is_too_long_is_broken_and_loses_nothing(word):
    paper = new()

    lines = paper.wrapped(isolated(word), size=9, width=80)

    assert "".join(lines).translate(writing.UNISOLATED) == word
    assert len(lines) > 1
    assert all(paper.width_of(line, size=9) <= 80 for line in lines)


def test_a_name_from_the_right_goes_on_from_the_right_in_the_next_line():
    paper = new()

    lines = paper.wrapped(f"Void: {isolated('כתובת שגויה ' * 20)} end", size=9, width=80)

    assert len(lines) > 2
    assert all(line.count("\u2068") == line.count("\u2069") for line in lines)


def test_amounts_and_codes_stay_in_one_line():
    paper = new()
    amount = "19\u00a0% of 1\u202f234,50\u00a0€"

    lines = paper.wrapped(f"{'x ' * 30}{amount} (K8S-101) Berlin-Mitte", size=9, width=64)

    assert [line for line in lines if "19\u00a0%" in line]
    assert [line for line in lines if "1\u202f234,50\u00a0€" in line]
    assert [line for line in lines if "(K8S-101)" in line]


def test_no_line_begins_with_an_ideographic_full_stop():
    paper = new()

    lines = paper.wrapped("研修「入門」、応用。" * 20, size=9, width=47)

    assert [line[0] for line in lines if line[0] in "」、。"] == []


def test_lines_go_on_on_the_next_page():
    paper = new()
    paper.add_page()

    for row in range(80):
        paper.write_lines(f"Row {row}")

    pages = [one.extract_text() for one in PdfReader(io.BytesIO(bytes(paper.output()))).pages]
    rows = [int(n) for text in pages for n in re.findall(r"Row (\d+)", text)]
    assert len(pages) == 2
    assert all(after == before + 1 for before, after in pairwise(rows))
    assert len(rows) == 80
