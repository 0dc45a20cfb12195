"""The table of words, which docs/keys.md shows."""

from tests.conftest import SCHEMA
from worker.pools.reading import Meaning
from worker.pools.reading.words import HEADINGS, LANGUAGES, listed, meaning_of, spellings


def test_every_meaning_has_words_in_every_language():
    assert {meaning: tuple(words) for meaning, words in HEADINGS.items()} == dict.fromkeys(
        Meaning, LANGUAGES
    )


def test_no_word_has_two_meanings():
    seen: dict[str, Meaning] = {}

    for meaning, languages in HEADINGS.items():
        for word in (word for words in languages.values() for word in listed(words)):
            for spelled in spellings(word):
                assert seen.setdefault(spelled, meaning) is meaning, word


def test_every_word_is_known_in_any_spelling():
    for meaning, languages in HEADINGS.items():
        for word in (word for words in languages.values() for word in listed(words)):
            assert meaning_of(f" {word.upper()}: ") is meaning, word


def test_the_documents_show_the_table():
    documented = (SCHEMA.parent / "docs" / "keys.md").read_text()

    for meaning, languages in HEADINGS.items():
        words = "; ".join(f"**{language}** {words}" for language, words in languages.items())
        assert f"| `{meaning}` | {' '.join(words.split())} |" in documented
