import re
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sqlalchemy import text

from worker.pools import codes

# Worked out from the sum of weighted values in docs/keys.md, which is not how the code does it.
VECTORS = {
    "A00000000000000": "R",
    "A00000000000001": "T",
    "KEYP00100000000": "Z",
    "ZZZZZZZZZZZZZZZ": "N",
}

SYMBOLS = st.sampled_from(codes.ALPHABET)
GENERATED = st.builds(
    lambda first, rest: first + rest + codes.check_symbol(first + rest),
    st.sampled_from(codes.ALPHABET[10:]),
    st.text(SYMBOLS, min_size=14, max_size=14),
)
IN_A_KEY = "ABCXYZabcxyz0189-_. "
WELL_FORMED = st.from_regex(
    re.compile(r"[A-Za-z0-9][A-Za-z0-9_. -]{6,62}[A-Za-z0-9]", re.ASCII), fullmatch=True
).filter(lambda code: len(codes.canonical(code)) >= 8)


def drawn(count: int) -> list[str]:
    return [code.decode() for code in codes.draw(codes.first_letters(count))]


@given(GENERATED, st.integers(0, 15), SYMBOLS)
def test_every_single_wrong_symbol_is_caught(code, place, wrong):
    assume(code[place] != wrong)
    mistyped = code[:place] + wrong + code[place + 1 :]
    assume(mistyped[0] in codes.ALPHABET[10:])

    assert codes.is_mistyped(mistyped)


@given(GENERATED, st.integers(0, 14))
def test_every_swap_of_neighbours_is_caught(code, place):
    left, right = code[place], code[place + 1]
    assume(left != right)
    mistyped = code[:place] + right + left + code[place + 2 :]
    assume(mistyped[0] in codes.ALPHABET[10:])

    assert codes.is_mistyped(mistyped)


def test_the_check_symbol_catches_each_error_in_each_place_of_one_code():
    code = codes.canonical(drawn(1)[0])
    wrong = [
        code[:place] + symbol + code[place + 1 :]
        for place in range(16)
        for symbol in codes.ALPHABET
        if symbol != code[place]
    ]

    assert [w for w in wrong if codes.check_symbol(w[:-1]) == w[-1]] == []


@given(GENERATED)
def test_a_generated_code_is_not_mistyped(code):
    assert not codes.is_mistyped(code)
    assert codes.refusal(code) is None


@pytest.mark.parametrize(("symbols", "check"), VECTORS.items())
def test_the_check_symbol_is_as_published(symbols, check):
    assert codes.check_symbol(symbols) == check


@given(GENERATED)
def test_a_code_read_with_lookalikes_is_the_code(code):
    typed = code.replace("0", "O").replace("1", "l")

    assert codes.lookalike(typed) == code
    assert not codes.is_mistyped(typed)


@pytest.mark.parametrize(
    "code", ["", "K7QM", "1234-5678-9012-3456", "UUUU-UUUU-UUUU-UUUU", "ABCD-EFGH-JKMN-PQRSTV"]
)
def test_what_does_not_look_generated_is_not_mistyped(code):
    assert not codes.is_mistyped(code)


@given(WELL_FORMED)
def test_a_canonical_form_is_its_own(code):
    form = codes.canonical(code)

    assert codes.canonical(form) == form
    assert form.isascii()
    assert form.isalnum()


@given(GENERATED, st.data())
def test_case_spaces_and_hyphens_make_no_difference(code, data):
    gaps = data.draw(
        st.lists(st.sampled_from(["", " ", "-", "--", " - "]), min_size=16, max_size=16)
    )
    typed = "".join(symbol + gap for symbol, gap in zip(code.lower(), gaps, strict=True))

    assert codes.canonical(typed) == code


FULL_WIDTH = str.maketrans({chr(ascii): chr(ascii + 0xFEE0) for ascii in range(0x21, 0x7F)})
UNSEEN = ["", "\u200b", "\ufeff", "\u00ad", "\u200f", "\n", "\r\n", "\t"]


@given(GENERATED, st.data())
def test_full_width_letters_and_what_cannot_be_seen_make_no_difference(code, data):
    wide = data.draw(st.lists(st.booleans(), min_size=16, max_size=16))
    gaps = data.draw(st.lists(st.sampled_from(UNSEEN), min_size=16, max_size=16))
    symbols = (s.translate(FULL_WIDTH) if w else s for s, w in zip(code, wide, strict=True))
    typed = "".join(symbol + gap for symbol, gap in zip(symbols, gaps, strict=True))

    assert codes.canonical(typed) == codes.canonical(codes.typed(typed)) == code
    assert codes.typed(typed) == code


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("SHORT-7", "It has 7 characters; a key has 8 to 64."),
        ("X" * 65, "It has 65 characters; a key has 8 to 64."),
        ("=1+1+1+1+1", "“=” cannot be in a key"),
        ("ABCD\0EFGH", "The character U+0000 cannot be in a key"),
        ("SCHLÜSSEL-1", "“Ü” cannot be in a key"),
        ("ABCD\tEFGH", "The character U+0009 cannot be in a key"),
        ("A-B-C-D-E", "It has fewer than 8 letters and digits."),
        ("-ABCDEFGH", "It must begin and end with a letter or digit."),
        ("ABCDEFGH.", "It must begin and end with a letter or digit."),
        ("", "It has 0 characters; a key has 8 to 64."),
    ],
)
def test_what_cannot_be_a_key_is_refused_with_its_reason(code, reason):
    assert str(codes.refusal(code)).startswith(reason)


@given(WELL_FORMED)
def test_whatever_has_the_form_of_a_key_can_be_one(code):
    assert codes.refusal(code) is None


@given(st.lists(st.text(IN_A_KEY + "=ÄßİK\n\t\0ＡｂⅧ①²ﬁ½ſ\u200b\ufeff", max_size=70), max_size=20))
def test_the_python_and_the_database_agree_on_what_can_be_a_key(law, lines):
    lines = [line.replace("\0", "") for line in lines]

    allowed = [(allowed, canonical) for allowed, canonical, _ in law(lines)]

    assert allowed == [(codes.refusal(line) is None, codes.canonical(line)) for line in lines]


def test_python_and_sql_agree_on_every_character_that_stands_for_letters(law):
    standing = [c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.decomposition(c)]

    found = [canonical for _, canonical, _ in law(standing)]

    assert found == [codes.canonical(character) for character in standing]
    assert sum(map(bool, found)) > 1_000


NEARLY_GENERATED = st.builds(
    lambda code, place, symbol: code[:place] + symbol + code[place + 1 :],
    GENERATED,
    st.integers(0, 15),
    st.sampled_from(codes.ALPHABET + "OILUoilu-Ä０"),
)


@given(st.lists(GENERATED | NEARLY_GENERATED | st.text(IN_A_KEY, max_size=20), max_size=20))
def test_python_and_the_database_agree_on_what_is_mistyped(law, lines):
    mistyped = [wrong for _, _, wrong in law(lines)]

    assert mistyped == [codes.is_mistyped(line) for line in lines]


@pytest.fixture(scope="module")
def law(database):
    """What schema.sql says of lines: may each be a key, its canonical form, and is that mistyped."""
    from worker.database.connections import session

    with session() as opened:
        (check,) = opened.scalars(
            text("""SELECT pg_get_expr(conbin, conrelid) FROM pg_constraint
                     WHERE conname = 'key_code_is_well_formed'""")
        )
        query = text(
            f"SELECT {check}, canonical, is_mistyped(canonical)"
            " FROM (SELECT code, canonical_code(code) AS canonical"
            " FROM unnest(CAST(:lines AS text[])) AS code) AS line"
        )
        yield lambda lines: [tuple(row) for row in opened.execute(query, {"lines": lines})]


def test_generated_codes_are_different_and_of_the_one_form():
    made = drawn(20_000)

    assert len(set(made)) == 20_000
    assert all(
        re.fullmatch(r"[A-Z][0-9A-Z]{3}(-[0-9A-Z]{4}){3}", code) and not codes.is_mistyped(code)
        for code in made
    )
    assert not set("ILOU") & set("".join(made))


def test_every_symbol_comes_up_as_often_as_chance_says():
    made = np.array([list(codes.canonical(code)) for code in drawn(20_000)])

    for place, symbols in enumerate(made.T):
        kinds, counts = np.unique(symbols, return_counts=True)
        expected = 20_000 / (22 if place == 0 else 32)
        assert len(kinds) == (22 if place == 0 else 32)
        # chi square: 31 degrees of freedom stay below 100 but once in 10^8
        assert ((counts - expected) ** 2 / expected).sum() < 100


def test_as_many_codes_are_drawn_with_each_first_letter_as_are_asked_for():
    made = codes.draw([3, 0, 1, *[0] * 19])

    assert sorted(code.decode()[0] for code in made) == ["A", "A", "A", "C"]


def test_codes_come_in_no_order():
    made = drawn(1000)

    assert made != sorted(made)


def test_no_code_is_drawn_where_none_is_asked_for():
    assert drawn(0) == []
