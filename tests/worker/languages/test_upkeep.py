"""The catalogues against the code: every message is there, whole, and none is left over."""

import ast
from string import Formatter

import pytest
from babel.messages.catalog import Message

from worker.languages import phrasebooks, upkeep
from worker.languages.phrasebooks import CATALOGUES, LANGUAGES

TRANSLATED = LANGUAGES[1:]


def texts(words: str | tuple[str, ...]) -> tuple[str, ...]:
    return (words,) if isinstance(words, str) else words


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def fits(message: Message) -> bool:
    """Whether each form of a translation has the placeholders of its message, but for a count."""
    wanted = set().union(*map(placeholders, texts(message.id)))
    return all(
        placeholders(form) in (wanted, wanted - {"count"} if len(texts(message.id)) > 1 else wanted)
        for form in texts(message.string)
    )


def messages(language: str) -> list[Message]:
    return [message for message in upkeep.read(language) if message.id]


def test_the_messages_of_modules_and_of_templates_are_gathered():
    gathered = {message.id: message for message in upkeep.messages() if message.id}

    assert len(gathered) > 10
    assert all(message.locations for message in gathered.values())


@pytest.mark.parametrize("language", TRANSLATED)
def test_no_translation_says_everything_twice(language):
    forms = [form for message in messages(language) for form in texts(message.string)]

    assert [form for form in forms if form[: len(form) // 2] == form[(len(form) + 1) // 2 :]] == []


def said() -> set[str]:
    """What the modules say, as Python reads them: within f-strings, too, where gettext's tools do not look."""
    calls = [
        node
        for room in ("worker", "webhook")
        for path in (upkeep.HOUSE / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    ]
    return {
        call.args[0].value
        for call in calls
        if getattr(call.func, "attr", getattr(call.func, "id", "")) in upkeep.KEYWORDS
        and call.args
        and isinstance(call.args[0], ast.Constant)
    }


def test_no_message_is_said_where_it_is_not_gathered():
    gathered = {texts(message.id)[0] for message in upkeep.messages() if message.id}

    assert said() - gathered == set()


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_catalogue_is_as_make_languages_writes_it(language):
    assert (CATALOGUES / f"{language}.po").read_bytes() == upkeep.updated(language)


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_message_of_the_code_is_in_every_catalogue_and_no_other(language):
    assert {message.id for message in messages(language)} == {
        message.id for message in upkeep.messages() if message.id
    }


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_message_is_translated_with_the_same_placeholders(language):
    untranslated = [m.id for m in messages(language) if not all(texts(m.string)) or m.fuzzy]
    differing = [m.id for m in messages(language) if not fits(m)]

    assert untranslated == []
    assert differing == []


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_translation_begins_and_ends_as_its_message(language):
    def ends(text: str) -> tuple[bool, bool, bool]:
        return text != text.strip(), text.endswith("."), text.endswith(":")

    differing = [
        m.id for m in messages(language) if ends(texts(m.id)[0]) != ends(texts(m.string)[0])
    ]

    assert differing == []


def test_another_language_is_one_file_more(tmp_path, monkeypatch):
    monkeypatch.setattr(upkeep, "CATALOGUES", tmp_path)

    begun = upkeep.updated("it").decode()

    assert '"Language: it\\n"' in begun
    assert begun.count("\nmsgid ") == len([m for m in upkeep.messages() if m.id])
    assert ("en", *sorted(path.stem for path in CATALOGUES.glob("*.po"))) == phrasebooks.LANGUAGES
