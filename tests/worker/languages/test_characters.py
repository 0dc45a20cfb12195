import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.languages.characters import INVISIBLE, visible


@pytest.mark.parametrize(
    ("typed", "seen"),
    [
        ("plain", "plain"),
        ("ＦＵＬＬ－０００１", "FULL-0001"),
        ("jose\u0301", "josé"),
        ("e\u200d\u0301", "é"),
        ("a\u200b\ufeff\u200f\u00ad\u2060b", "ab"),
        ("日本\u3000語", "日本 語"),
        ("Ⅷ", "VIII"),
    ],
)
def test_what_looks_the_same_is_made_the_same(typed, seen):
    assert visible(typed) == seen


@given(st.text())
def test_what_is_visible_stays_so(text):
    assert visible(visible(text)) == visible(text)
    assert not INVISIBLE.search(visible(text))


def test_letters_and_digits_of_every_script_are_seen():
    hidden = [
        chr(point)
        for point in range(sys.maxunicode + 1)
        if unicodedata.category(chr(point)) in {"Lu", "Ll", "Lt", "Nd", "Nl", "Po", "Sc"}
        and INVISIBLE.search(chr(point))
    ]

    assert hidden == []
